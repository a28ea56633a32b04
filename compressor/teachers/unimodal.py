"""Teachers of one modality: what each is to the rest of the project, and the door to them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from compressor.preprocess.preprocessor import ImagePreprocessor, TextPreprocessor
from compressor.recipe.teacher import TextTeacher, TimmTeacher
from compressor.students.encoder import Model
from compressor.students.outline import Outline


class UnimodalEncoder(nn.Module):
    """One tower and nothing on top of it: rows keep the length that the tower gives them."""

    def __init__(self, tower: nn.Module, embed_dim: int) -> None:
        super().__init__()
        self.tower = tower
        self.embed_dim = embed_dim


class ImageRepresentation(UnimodalEncoder):
    """An image model's global representation."""

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, H, W) float32 -> (B, embed_dim) float32, of any length."""
        features: Tensor = self.tower(pixel_values)
        return features.float()


class TextRepresentation(UnimodalEncoder):
    """A text encoder's global representation."""

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 -> (B, embed_dim) float32, of any length."""
        features: Tensor = self.tower(input_ids)
        return features.float()


@dataclass(frozen=True)
class UnimodalModel:
    """What `Model` is for two towers: an encoder, its own preprocessing, its identity, where it came from.

    It sees images where its preprocessor is an `ImagePreprocessor`, and reads texts otherwise.
    """

    name: str
    encoder: ImageRepresentation | TextRepresentation
    preprocessor: ImagePreprocessor | TextPreprocessor
    fingerprint: str
    origin: str = ""


AnyTeacher = Model | UnimodalModel
"""What can be run as a teacher."""


def load_unimodal(section: TimmTeacher | TextTeacher, *, rehearse: bool = False) -> UnimodalModel:
    """The unimodal teacher of a recipe: frozen, in evaluation mode, with its own preprocessing.

    With `rehearse` weights that are not here are replaced by random ones in the real architecture; the log
    and `origin` say so.

    Raises:
        MissingResourceError: weights, configuration or tokeniser are not where they were looked for.
        ModelError: an unknown name, weights that do not fit, preprocessing that cannot be reproduced.
    """
    if isinstance(section, TimmTeacher):
        from compressor.teachers.timm_teacher import load_timm

        model = load_timm(section, rehearse=rehearse)
    else:
        from compressor.teachers.text_teacher import load_text

        model = load_text(section, rehearse=rehearse)
    model.encoder.eval().requires_grad_(False)
    return model


def missing_unimodal(section: TimmTeacher | TextTeacher) -> list[str]:
    """One sentence for each thing a unimodal teacher lacks; reads no weights. Raises `ModelError`."""
    if isinstance(section, TimmTeacher):
        from compressor.teachers.timm_teacher import missing_timm

        return missing_timm(section)
    from compressor.teachers.text_teacher import missing_text

    return missing_text(section)


def outline_unimodal(section: TimmTeacher | TextTeacher) -> Outline | None:
    """Size and cost without weights; None for a text teacher that is not here. Raises `ModelError`."""
    sees = isinstance(section, TimmTeacher)
    with torch.device("meta"), torch.no_grad():
        if isinstance(section, TimmTeacher):
            from compressor.teachers.timm_teacher import blank_timm

            blank: tuple[nn.Module, Tensor] | None = blank_timm(section)
        else:
            from compressor.teachers.text_teacher import blank_text

            blank = blank_text(section)
        if blank is None:
            return None
        tower, example = blank
        with FlopCounterMode(display=False) as counter:
            width = tower.eval()(example).shape[1]
    count, flops = sum(weight.numel() for weight in tower.parameters()), counter.get_total_flops()
    return Outline(
        {"image": count if sees else 0, "text": 0 if sees else count, "total": count},
        width,
        image_flops=flops if sees else 0,
        text_flops=0 if sees else flops,
    )

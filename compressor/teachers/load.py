"""One door to every teacher that can be run, and what is missing before it is opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from compressor.errors import MissingResourceError, ModelError
from compressor.recipe.blip import BlipRetrievalTeacher, BlipTeacher
from compressor.recipe.teacher import (
    CheckpointTeacher,
    EmbeddingsTeacher,
    EnsembleTeacher,
    OpenClipTeacher,
    TextTeacher,
    TimmTeacher,
    TransformersTeacher,
)
from compressor.recipe.teacher_base import SingleTeacher, TeacherBase
from compressor.students.checkpoint import CHECKPOINT_FILES
from compressor.students.encoder import Model
from compressor.students.hub import hub_answers, missing_on_hub
from compressor.students.naming import checkpoint_name
from compressor.teachers.unimodal import AnyTeacher, load_unimodal, missing_unimodal


def load_any_teacher(section: SingleTeacher, *, rehearse: bool = False) -> AnyTeacher:
    """A teacher of one modality or of two. Raises as `load_teacher` does."""
    if isinstance(section, TimmTeacher | TextTeacher):
        return load_unimodal(section, rehearse=rehearse)
    return load_teacher(section, rehearse=rehearse)


def load_teacher(section: SingleTeacher, *, rehearse: bool = False) -> Model:
    """The teacher of a recipe: frozen, in evaluation mode, with its own preprocessing.

    With `rehearse` weights that are not here are replaced by random ones in the real architecture; the log
    and `origin` say so. Stored embeddings are no model: see `compressor.teachers.embeddings`.

    Raises:
        MissingResourceError: weights or tokeniser are not where they were looked for.
        ModelError: weights, activation or preprocessing do not fit.
    """
    if isinstance(section, OpenClipTeacher):
        from compressor.teachers.open_clip_teacher import load_open_clip

        model = load_open_clip(section, rehearse=rehearse)
    elif isinstance(section, TransformersTeacher):
        from compressor.teachers.transformers_teacher import load_transformers

        model = load_transformers(section, rehearse=rehearse)
    elif isinstance(section, CheckpointTeacher):
        from compressor.teachers.checkpoint import load_any_checkpoint

        if not section.path.is_dir():
            raise MissingResourceError(_no_checkpoint(section.path))
        model = load_any_checkpoint(section.path)
        model = replace(model, origin=f"checkpoint {checkpoint_name(section.path)}: {model.origin}")
    elif isinstance(section, BlipRetrievalTeacher):
        from compressor.teachers.blip_retrieval import load_blip_retrieval

        model = load_blip_retrieval(section, rehearse=rehearse)
    elif isinstance(section, EmbeddingsTeacher):
        raise ModelError("a teacher of stored embeddings cannot be run; its embeddings are read instead")
    else:
        raise ModelError("this teacher does not embed pairs of images and texts")
    return freeze(model)


def freeze(model: Model) -> Model:
    """The same model, in evaluation mode and without gradients."""
    assert isinstance(model.encoder, nn.Module)
    model.encoder.eval().requires_grad_(False)
    return model


def missing_resources(section: TeacherBase) -> list[str]:
    """One sentence for each thing the teacher lacks: what, where it was looked for, how to get it.

    Reads no weights. Touches the network only where something is not in the cache and HF_HUB_OFFLINE is not
    set, and then waits three seconds at most. Raises `ModelError` for a name or tag that does not exist at
    all.
    """
    if isinstance(section, EnsembleTeacher):
        return [missing for member in section.members for missing in missing_resources(member)]
    if isinstance(section, TimmTeacher | TextTeacher):
        return missing_unimodal(section)
    if isinstance(section, BlipTeacher | BlipRetrievalTeacher):
        from compressor.teachers.blip_folder import missing_blip_files

        return missing_blip_files(section)
    if isinstance(section, OpenClipTeacher):
        return _missing_open_clip(section)
    if isinstance(section, TransformersTeacher):
        return _missing_transformers(section)
    if isinstance(section, CheckpointTeacher):
        absent = [name for name in CHECKPOINT_FILES if not (section.path / name).is_file()]
        return [_no_checkpoint(section.path, absent)] if absent else []
    assert isinstance(section, EmbeddingsTeacher)
    return _missing_embeddings(section)


def _missing_open_clip(section: OpenClipTeacher) -> list[str]:
    from compressor.teachers.open_clip_source import find_source, missing_sentence, tag_weights

    if section.path is None:
        tag = str(section.pretrained)
        weights, repository = tag_weights(section.name, tag)
        here = weights is not None or hub_answers()
        sentences = [] if here else [missing_sentence(section.name, tag, repository)]
    else:
        missing = find_source(section, fetch=False).missing
        sentences = [missing] if missing else []
    source = find_source(section, fetch=False)
    text = source.model_cfg["text_cfg"]
    if source.folder is None and text.get("hf_tokenizer_name"):
        sentences.append(missing_on_hub(str(text["hf_tokenizer_name"]), ("tokenizer.json",)) or "")
    return [sentence for sentence in sentences if sentence]


def _missing_transformers(section: TransformersTeacher) -> list[str]:
    from compressor.teachers.transformers_teacher import REQUIRED_FILES, missing_files

    if section.path is None:
        missing = missing_on_hub(str(section.name), REQUIRED_FILES)
    elif not section.path.is_dir():
        missing = f"The teacher's folder {section.path} is not there: set teacher.path to where it is."
    else:
        missing = missing_files(section.path)
    return [missing] if missing else []


def _missing_embeddings(section: EmbeddingsTeacher) -> list[str]:
    from compressor.teachers.embedding_files import missing_embedding_files

    missing = missing_embedding_files(section.path)
    return [missing] if missing else []


def _no_checkpoint(path: Path, absent: list[str] | None = None) -> str:
    if absent is None or not path.is_dir():
        return f"The teacher's checkpoint {path} is not there: set teacher.path to a checkpoint folder."
    return f"The teacher's checkpoint {path} lacks {', '.join(absent)}: copy the whole folder."

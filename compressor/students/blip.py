"""BLIP that writes text (arXiv 2201.12086): transformers' modules, composed so that batches mean one thing.

The modules and their names are transformers'. Its composed forward passes are not used, because of these:

- A decoder's layers lose the mask of its cross-attention on the way (transformers 5.23), and
  `BlipForQuestionAnswering.generate` gives none: an answer would attend to the padding of its question, and
  so depend on the longest question of its batch. BLIP is trained with the mask, and here it is always heeded.
- The decoder starts with `bos_token_id` ([DEC]), but the forward passes take whatever the caller puts there
  (the tokeniser writes [CLS]); generation stops at `sep_token_id`, not at the configuration's
  `eos_token_id`.
- A picture smaller than the model's takes the first position embeddings without a complaint.
- `BlipVisionConfig.initializer_range` is 1e-10: a ViT built from it maps all pictures to one vector.
- One `encoder_hidden_size` serves question encoder and answer decoder: VQA needs a ViT as wide as the BERT.
- The decoder's loss smooths labels by its configuration's value; see `task_loss` for ours.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
    BlipTextConfig,
    BlipTextModel,
    BlipVisionConfig,
    GenerationConfig,
)

from compressor.errors import ModelError
from compressor.recipe.blip import Head
from compressor.students.generator import (
    GeneratorOutput,
    Vocabulary,
    clean_generated,
    force_targets,
    mask_question,
)

HEADS: dict[Head, type[BlipForConditionalGeneration] | type[BlipForQuestionAnswering]] = {
    "caption": BlipForConditionalGeneration,
    "vqa": BlipForQuestionAnswering,
}
TIED_WEIGHTS = {
    "text_decoder.cls.predictions.decoder.weight": "text_decoder.bert.embeddings.word_embeddings.weight",
    "text_decoder.cls.predictions.decoder.bias": "text_decoder.cls.predictions.bias",
}
"""Second names of one tensor, which files leave out."""

INITIALIZER_RANGE = 0.02


class BlipGenerator(nn.Module):
    """A BLIP that satisfies `Generator`: `vision_model`, `text_decoder` and, for VQA, `text_encoder`."""

    image_prefixes: ClassVar[tuple[str, ...]] = ("vision_model.",)

    def __init__(
        self, model: BlipForConditionalGeneration | BlipForQuestionAnswering, vocabulary: Vocabulary
    ) -> None:
        super().__init__()
        self.head: Head = "vqa" if isinstance(model, BlipForQuestionAnswering) else "caption"
        self.vocabulary = vocabulary
        self.config: BlipConfig = model.config
        self.image_size = square_side(model.config)
        self.vision_model: nn.Module = model.vision_model
        self.text_decoder: Any = model.text_decoder  # its `generate` is typed for a protocol it lacks
        if isinstance(model, BlipForQuestionAnswering):
            self.text_encoder: BlipTextModel | None = model.text_encoder
        else:
            self.text_encoder = None
        heed_cross_masks(self.text_decoder)
        self.text_decoder.generation_config = GenerationConfig()  # or what is stored would fill in our gaps

    def forward(
        self, pixel_values: Tensor, target_ids: Tensor, question_ids: Tensor | None = None
    ) -> GeneratorOutput:
        """(B, 3, size, size) float32, (N, L) and, for VQA, (N, M) int64 -> logits on the target's tokens."""
        states, question_mask = self.context(pixel_values, question_ids, len(target_ids))
        inputs, labels, target_mask = force_targets(target_ids, self.vocabulary)
        logits = self.text_decoder(
            input_ids=inputs,
            attention_mask=target_mask.to(torch.long),
            encoder_hidden_states=states,
            encoder_attention_mask=None if question_mask is None else question_mask.to(torch.long),
            use_cache=False,
        ).logits
        return GeneratorOutput(logits, labels, target_mask, question_mask)

    @torch.no_grad()
    def generate(
        self,
        pixel_values: Tensor,
        question_ids: Tensor | None = None,
        *,
        beams: int = 3,
        max_length: int = 20,
        min_length: int = 0,
    ) -> Tensor:
        """Beam search as `Generator` says, by transformers, with nothing left to a stored configuration.

        Dropout is as the mode of the module says: call `eval()` first.
        """
        self._check_length(max_length)
        states, question_mask = self.context(pixel_values, question_ids, len(pixel_values))
        if question_mask is None:
            question_mask = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        given = torch.tensor([self.vocabulary.start_id, *self.vocabulary.prompt_ids], device=states.device)
        prompt = given.expand(len(states), -1).contiguous()
        ids = self.text_decoder.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            encoder_hidden_states=states,
            encoder_attention_mask=question_mask.to(torch.long),
            generation_config=GenerationConfig(
                num_beams=beams,
                max_length=max_length,
                min_length=min_length,
                do_sample=False,
                bos_token_id=self.vocabulary.start_id,
                eos_token_id=self.vocabulary.end_id,
                pad_token_id=self.vocabulary.pad_id,
            ),
        )
        assert isinstance(ids, Tensor)
        return clean_generated(ids, self.vocabulary, len(given))

    def context(
        self, pixel_values: Tensor, question_ids: Tensor | None, texts: int
    ) -> tuple[Tensor, Tensor | None]:
        """What the decoder attends to in each of the texts: the picture's tokens, or the question's after
        reading the picture."""
        check_pixels_size(pixel_values, self.image_size)
        image: Tensor = self.vision_model(pixel_values=pixel_values).last_hidden_state
        if texts != len(image):
            image = image.repeat_interleave(texts // len(image), dim=0)
        if (question_ids is None) != (self.text_encoder is None):
            raise ValueError("question_ids are needed by the head 'vqa', and by no other")
        if self.text_encoder is None or question_ids is None:
            return image, None
        ids, mask = mask_question(question_ids, self.vocabulary)
        states = self.text_encoder(
            input_ids=ids, attention_mask=mask.to(torch.long), encoder_hidden_states=image
        ).last_hidden_state
        return states, mask

    def _check_length(self, max_length: int) -> None:
        positions = halves(self.config)[1].max_position_embeddings
        given = 1 + len(self.vocabulary.prompt_ids)
        if not given < max_length <= positions:
            raise ValueError(
                f"max_length is {max_length}: it must be above the {given} given tokens, at most {positions}"
            )


def build_blip(config: BlipConfig, head: Head, vocabulary: Vocabulary) -> BlipGenerator:
    """A generator of a configuration, with random weights. Raises `ModelError` where there can be none."""
    vision, text = halves(config)
    if head == "vqa" and text.hidden_size != vision.hidden_size:
        raise ModelError(
            f"for VQA the ViT must be as wide as the BERT (they are {vision.hidden_size} and "
            f"{text.hidden_size}): in BLIP's format one width serves the cross-attention of both text halves"
        )
    try:
        model = HEADS[head](config)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ModelError(f"transformers cannot build this BLIP: {error}") from error
    return BlipGenerator(model, vocabulary)


def heed_cross_masks(decoder: nn.Module) -> None:
    """Let cross-attention see its mask: where a layer passes it under the name of self-attention's, the
    attention drops it, so it is handed over under its own."""
    for name, module in decoder.named_modules():
        if name.endswith(".crossattention.self"):
            module.register_forward_pre_hook(_hand_over, with_kwargs=True)


def _hand_over(
    _module: nn.Module, args: tuple[Any, ...], given: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if given.get("encoder_hidden_states") is None or given.get("encoder_attention_mask") is not None:
        return args, given
    return args, given | {"encoder_attention_mask": given.get("attention_mask")}


def stored_weights(generator: BlipGenerator) -> dict[str, Tensor]:
    """The tensors that a file holds, by transformers' own names."""
    return {name: value for name, value in generator.state_dict().items() if name not in TIED_WEIGHTS}


def with_tied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stored tensors under all of their names, for strict loading."""
    tied = {name: tensors[source] for name, source in TIED_WEIGHTS.items() if source in tensors}
    return tied | tensors


def halves(config: BlipConfig) -> tuple[BlipVisionConfig, BlipTextConfig]:
    """The two parts of a configuration, which transformers types as anything."""
    vision, text = config.vision_config, config.text_config
    assert isinstance(vision, BlipVisionConfig)
    assert isinstance(text, BlipTextConfig)
    return vision, text


def square_side(config: BlipConfig) -> int:
    """Pixels per side of a BLIP configuration. Raises `ModelError` where pictures are not square."""
    size = halves(config)[0].image_size
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise ModelError(f"pictures of {size} pixels are not supported, only square ones")
    return int(sides.pop())


def check_pixels_size(pixel_values: Tensor, side: int) -> None:
    """Raise `ValueError` for pictures of another size, which BLIP's ViT would misplace silently."""
    if pixel_values.shape[-2:] != (side, side):
        height, width = pixel_values.shape[-2:]
        raise ValueError(f"this BLIP takes pictures of {side} x {side} pixels, not {height} x {width}")

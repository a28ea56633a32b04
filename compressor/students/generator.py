"""What every model that writes text about images is to the rest of the project, student or teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from compressor.errors import ModelError
from compressor.preprocess.preprocessor import Preprocessor
from compressor.preprocess.spelling import Speller
from compressor.preprocess.text import Tokenizer
from compressor.recipe.blip import Head
from compressor.students.text_transformer import token_mask, without_padding

IGNORED = -100
"""Label of a position that is not to be predicted: padding, and the words of a prompt."""

LABEL_SMOOTHING = 0.1
"""What BLIP's published code trains captions and answers with; transformers' configurations say 0."""


@dataclass(frozen=True)
class Vocabulary:
    """The ids with a meaning of their own, and how texts are framed by them.

    `size` is the width of the logits. `start_id` takes the place of a target's opening token ([DEC], 30522,
    in BLIP: the tokeniser writes [CLS] and does not know it), `question_start_id` that of a question's, where
    it is not None. `prompt` opens every caption and is given, not predicted; `prompt_ids` are its tokens.
    """

    size: int
    start_id: int
    end_id: int
    pad_id: int
    question_start_id: int | None = None
    prompt: str = ""
    prompt_ids: tuple[int, ...] = ()


class GeneratorOutput(NamedTuple):
    """Teacher-forced predictions: row i, position j, after the start token and the target's first j tokens.

    `logits` (B, T, size); `labels` int64 (B, T), the token that comes next or `IGNORED`; `target_mask` bool
    (B, T), true where the decoder read a token and not padding; `question_mask` bool (B, Q) the same for the
    question, None where there is none. Columns that are padding in every row are left out.
    """

    logits: Tensor
    labels: Tensor
    target_mask: Tensor
    question_mask: Tensor | None = None


@runtime_checkable
class Generator(Protocol):
    """A torch module that captions images (`head` caption) or answers questions about them (`head` vqa).

    Ids go in as the tokeniser writes them: opening token, words, closing token, padding on the right. A
    target row of padding alone (an image without a caption) has no labels. N is B, or B times the texts of
    each image, those of the first image first: it is then encoded once for all of them.
    """

    head: Head
    vocabulary: Vocabulary

    def __call__(
        self, pixel_values: Tensor, target_ids: Tensor, question_ids: Tensor | None = None
    ) -> GeneratorOutput:
        """(B, 3, H, W) float32, (N, L) and, for VQA, (N, M) int64 -> logits on the target's own tokens."""
        ...

    def generate(
        self,
        pixel_values: Tensor,
        question_ids: Tensor | None = None,
        *,
        beams: int = 3,
        max_length: int = 20,
        min_length: int = 0,
    ) -> Tensor:
        """Beam search without gradients: int64 (B, T), neither start token nor prompt nor closing token,
        padded.

        Lengths count as BLIP counts them, start token and prompt included.
        """
        ...


@dataclass(frozen=True)
class GenerativeModel:
    """A generator with all that belongs to it, as `Model` is for a dual encoder."""

    name: str
    generator: Generator
    preprocessor: Preprocessor
    fingerprint: str
    origin: str = ""
    licence: str = ""
    config: dict[str, Any] = field(default_factory=dict)

    def target_ids(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Captions, behind the prompt, or answers: (N,) strings -> (N, context_length) int64."""
        prompt = self.generator.vocabulary.prompt
        return self.preprocessor.texts([f"{prompt} {text}" for text in texts] if prompt else texts)

    def question_ids(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Questions: (N,) strings -> (N, context_length) int64."""
        return self.preprocessor.texts(texts)

    def spell(self, ids: Tensor) -> list[str]:
        """What `generate` returned, as text: special tokens dropped, pieces of words joined."""
        return self._speller(ids.tolist())

    @cached_property
    def _speller(self) -> Speller:
        vocabulary = self.generator.vocabulary
        return Speller(self.preprocessor.tokenizer, vocabulary.pad_id, vocabulary.end_id)


def force_targets(target_ids: Tensor, vocabulary: Vocabulary) -> tuple[Tensor, Tensor, Tensor]:
    """What a decoder reads and what it is to predict: (B, L) ids -> inputs, labels, mask, each (B, T), T < L.

    The one place where targets are shifted: input j is the target's token j (the opening one replaced by the
    start token), label j its token j + 1. Labels that are padding or belong to the prompt are `IGNORED`.
    """
    counts = token_mask(target_ids, vocabulary.pad_id, None)
    target_ids, counts = without_padding(target_ids, counts)
    inputs = target_ids[:, :-1].clone()
    inputs[:, :1] = vocabulary.start_id
    labels = target_ids[:, 1:].masked_fill(target_ids[:, 1:] == vocabulary.pad_id, IGNORED)
    labels[:, : len(vocabulary.prompt_ids)] = IGNORED
    return inputs, labels, counts[:, :-1]


def mask_question(question_ids: Tensor, vocabulary: Vocabulary) -> tuple[Tensor, Tensor]:
    """A question as an encoder reads it: (B, M) ids -> ids and bool mask, without the columns of padding."""
    ids, counts = without_padding(question_ids, token_mask(question_ids, vocabulary.pad_id, None))
    if vocabulary.question_start_id is not None:
        ids = ids.clone()
        ids[:, :1] = vocabulary.question_start_id
    return ids, counts


def clean_generated(ids: Tensor, vocabulary: Vocabulary, given: int) -> Tensor:
    """Generated rows without their first `given` ids, padded from the closing token on: (B, T) -> (B, T')."""
    words = ids[:, given:]
    ended = (words == vocabulary.end_id).cumsum(dim=1) > 0
    return words.masked_fill(ended, vocabulary.pad_id)


def task_loss(
    logits: Tensor,
    labels: Tensor,
    label_smoothing: float = LABEL_SMOOTHING,
    count: Tensor | int | None = None,
) -> Tensor:
    """Cross-entropy with the ground truth, the mean over all labelled positions of the batch.

    With smoothing e, -(1 - e) log p_y - e · mean over the vocabulary of log p. One loss for the fine-tuning
    of a teacher and for its student: what a model's own configuration says of smoothing is not read. (BLIP's
    VQA training instead sums over an answer's tokens, which weighs long answers more.)

    Args:
        logits: (B, T, V), any floating dtype.
        labels: int64 (B, T), `IGNORED` where nothing is to be predicted.
        label_smoothing: e, in [0, 1).
        count: divides the sum instead of the number of labels here. Pieces of a batch that are all given the
            batch's count add up to the batch's loss.

    Returns:
        Scalar, float32 (float64 if the logits are); 0 where nothing is labelled.
    """
    precise = logits if logits.dtype == torch.float64 else logits.float()
    total = functional.cross_entropy(
        precise.flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    labelled = (labels != IGNORED).sum().clamp(min=1) if count is None else count
    return total / labelled


def make_vocabulary(
    tokenizer: Tokenizer,
    end_id: int | None,
    *,
    size: int | None = None,
    start_id: int | None = None,
    prompt: str = "",
    question_start_id: int | None = None,
) -> Vocabulary:
    """The vocabulary around a tokeniser; without `size` and `start_id` two ids are added, as BLIP adds
    [DEC] and [ENC].

    Raises `ModelError` for ids beyond the logits, and a prompt that leaves no room or a tokeniser that closes
    no text.
    """
    start_id = tokenizer.vocab_size if start_id is None else start_id
    size = max(tokenizer.vocab_size, start_id) + 2 if size is None else size
    if end_id is None:
        raise ModelError("the tokenizer ends texts with no closing token, so a generator could never stop")
    largest = max(tokenizer.vocab_size - 1, start_id, question_start_id or 0)
    if largest >= size:
        raise ModelError(f"token id {largest} is beyond the {size} that the model knows")
    prompt = " ".join(prompt.split())
    prompt_ids: tuple[int, ...] = ()
    if prompt:
        row = [int(token) for token in tokenizer([prompt])[0]]
        prompt_ids = tuple(row[1 : row.index(end_id)])
        if len(prompt_ids) + 3 > tokenizer.context_length:
            raise ModelError(
                f"the prompt '{prompt[:40]}' leaves no room in {tokenizer.context_length} tokens"
            )
    return Vocabulary(size, start_id, end_id, tokenizer.pad_id, question_start_id, prompt, prompt_ids)


def check_same_tokens(teacher: GenerativeModel, student: GenerativeModel) -> None:
    """Refuse a student that cannot be forced on its teacher's tokens. Raises `ModelError`."""
    ours, theirs = student.generator, teacher.generator
    if ours.head != theirs.head:
        raise ModelError(f"the teacher's head is '{theirs.head}', the student's is '{ours.head}'")
    mine, other = asdict(ours.vocabulary), asdict(theirs.vocabulary)
    different = [key for key in mine if mine[key] != other[key]]
    if different:
        key = different[0]
        raise ModelError(
            f"teacher and student must read the same tokens, but their vocabularies differ: {key} is "
            f"{other[key]!r} and {mine[key]!r}"
        )
    spec, their_spec = student.preprocessor.text, teacher.preprocessor.text
    tokenizer, their_tokenizer = student.preprocessor.tokenizer, teacher.preprocessor.tokenizer
    if spec != their_spec or tokenizer.to_json() != their_tokenizer.to_json():
        raise ModelError(
            "teacher and student must read the same tokens: give the student the teacher's tokenizer"
        )

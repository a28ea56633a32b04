"""`bundle.json` of a model that writes: captions of pictures, or answers to questions about them. Torch-free.

Its graphs and their ends, for B pictures, K beams, L tokens, T earlier ones, S places of the context:

- `vision`: `pixel_values` (B, 3, H, W) -> `image_states` (B, S, D).
- `question` (VQA): `input_ids` (B, M), `question_mask` (B, M) bool, `image_states` -> `question_states`
  (B, M, D).
- `cross`: `states`, the image's or the question's -> of every layer `cross_key_0` (B, heads, W, S),
  transposed, and `cross_value_0` (B, heads, S, W).
- `decoder`: `input_ids` (B, K, L), of every layer `past_key_0` and `past_value_0` (B, K, heads, T, W), the
  cross keys and values, and (VQA) `context_mask` (B, S) bool -> `logits` (B, K, V) after the last token, and
  `present_key_0`, `present_value_0` (B, K, heads, T + L, W).
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from compressor.runtime.schema import FileEntry, Manifest, Status, Strict, TowerArtifact

GraphName = Literal["vision", "question", "cross", "decoder"]
WriterKind = Literal["captioner", "vqa"]
GRAPHS: dict[WriterKind, tuple[GraphName, ...]] = {
    "captioner": ("vision", "cross", "decoder"),
    "vqa": ("vision", "question", "cross", "decoder"),
}

PIXEL_VALUES = "pixel_values"
IMAGE_STATES = "image_states"
TOKENS = "input_ids"
QUESTION_MASK = "question_mask"
QUESTION_STATES = "question_states"
STATES = "states"
CONTEXT_MASK = "context_mask"
LOGITS = "logits"


def cache_names(of: Literal["past", "present", "cross"], layers: int) -> list[str]:
    """What the keys and the values of every layer are called, layer by layer."""
    return [f"{of}_{part}_{layer}" for layer in range(layers) for part in ("key", "value")]


class WriterVocabulary(Strict):
    """The ids with a meaning of their own. `prompt_ids` open every text and are given, after the start."""

    size: int = Field(ge=1)
    start_id: int = Field(ge=0)
    end_id: int = Field(ge=0)
    pad_id: int = Field(ge=0)
    question_start_id: int | None = Field(None, ge=0)
    prompt: str = ""
    prompt_ids: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _check_ids(self) -> Self:
        ids = (self.start_id, self.end_id, self.pad_id, self.question_start_id or 0, *self.prompt_ids)
        if not 0 <= min(ids) <= max(ids) < self.size:
            raise ValueError(f"a token id is outside the {self.size} that there are")
        return self


class Writing(Strict):
    """How texts are written where the caller does not say; as they were when the model was measured.

    Lengths count tokens, start token and prompt included.
    """

    beams: int = Field(3, ge=1)
    max_length: int = Field(20, ge=2)
    min_length: int = Field(0, ge=0)


class WriterArtifact(Strict):
    """All graphs at one precision. It passed only if each of them did, and the texts as well.

    `equal_greedy` and `equal_beams`: share of texts, 0 to 1, that are PyTorch's token for token.
    `loss_delta`: cross-entropy of the true texts minus PyTorch's, in nats a token.
    """

    status: Status
    reason: str = ""
    graphs: dict[GraphName, TowerArtifact]
    equal_greedy: float | None = None
    equal_beams: float | None = None
    texts: int = Field(0, ge=0, description="How many texts were compared.")
    loss_delta: float | None = None

    def files(self) -> list[FileEntry]:
        """Every file of this precision."""
        found = [entry for graph in self.graphs.values() for entry in (graph.file, graph.external_data)]
        return [entry for entry in found if entry is not None]


class WriterManifest(Manifest):
    """The whole of bundle.json of a model that writes."""

    kind: WriterKind
    artifacts: dict[str, WriterArtifact]
    vocabulary: WriterVocabulary
    positions: int = Field(ge=2, description="The most tokens that the decoder can hold.")
    writing: Writing = Writing()

    def files(self) -> list[FileEntry]:
        """Every file of the bundle but bundle.json itself."""
        graphs = [entry for artifact in self.artifacts.values() for entry in artifact.files()]
        return [self.preprocess, self.tokenizer, *graphs, *self.documents]

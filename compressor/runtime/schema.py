"""`bundle.json`: what a bundle folder holds, with sizes and hashes. Torch-free."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
MANIFEST = "bundle.json"
PREPROCESS = "preprocess.json"
TOKENIZER = "tokenizer.json"
IMAGE_INPUT = "pixel_values"
TEXT_INPUT = "input_ids"
IMAGE_OUTPUT = "image_embeds"
TEXT_OUTPUT = "text_embeds"
Status = Literal["passed", "failed"]
Role = Literal["student", "teacher", "control"]


class Strict(BaseModel):
    """A section that knows all of its keys."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class FileEntry(Strict):
    """A file of the bundle: path relative to the folder (never outside it), sha256, size."""

    path: str
    sha256: str
    bytes: int = Field(ge=0)


class TowerArtifact(Strict):
    """One ONNX graph and what the parity gate found. Cosines are against the PyTorch model, batch mean
    subtracted.

    `reason` says why it failed; for one that passed it may hold a note, such as how much of it int8 covers.
    """

    file: FileEntry
    external_data: FileEntry | None = None
    status: Status
    reason: str = ""
    cosine: float | None = None
    worst_cosine: float | None = None


class Artifact(Strict):
    """Both towers at one precision. It passed only if both towers and the recall bound did."""

    status: Status
    reason: str = ""
    image: TowerArtifact
    text: TowerArtifact
    recall_delta: float | None = Field(
        None, description="Recall@K minus the PyTorch model's, in points; mean of R@1, R@5, R@10 both ways."
    )

    def files(self) -> list[FileEntry]:
        """Every file of this precision."""
        found = (self.image.file, self.image.external_data, self.text.file, self.text.external_data)
        return [entry for entry in found if entry is not None]


class Manifest(Strict):
    """What the manifest of a bundle of any kind says."""

    schema_version: int = SCHEMA_VERSION
    name: str
    role: Role
    parameters: dict[Literal["image", "text", "total"], int]
    default_precision: str
    not_made: dict[str, str] = Field(
        default_factory=dict, description="Precisions that were asked for but could not be made, and why."
    )
    preprocess: FileEntry
    tokenizer: FileEntry
    origin: str = ""
    licence: str = ""
    lineage: dict[str, Any] = Field(default_factory=dict)


class BundleManifest(Manifest):
    """The whole of bundle.json. Input of the image graph: `pixel_values`; of the text graph: `input_ids`.

    Outputs: `image_embeds`, `text_embeds`, L2-normalised float32 (N, embed_dim).
    """

    kind: Literal["dual_encoder"] = "dual_encoder"
    embed_dim: int = Field(ge=1)
    logit_scale: float
    logit_bias: float | None = None
    artifacts: dict[str, Artifact]

    def files(self) -> list[FileEntry]:
        """Every file of the bundle but bundle.json itself and the model card."""
        graphs = [entry for artifact in self.artifacts.values() for entry in artifact.files()]
        return [self.preprocess, self.tokenizer, *graphs]

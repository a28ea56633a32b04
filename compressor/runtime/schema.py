"""`bundle.json`: what a bundle folder holds, with sizes and hashes. Torch-free."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
Status = Literal["passed", "failed"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class FileEntry(_Strict):
    """A file of the bundle: path relative to the folder (never outside it), sha256, size."""

    path: str
    sha256: str
    bytes: int = Field(ge=0)


class TowerArtifact(_Strict):
    """One ONNX graph and what the parity gate found. Cosines are against the PyTorch model, batch mean subtracted."""

    file: FileEntry
    external_data: FileEntry | None = None
    status: Status
    reason: str = ""
    cosine: float | None = None
    worst_cosine: float | None = None


class Artifact(_Strict):
    """Both towers at one precision. It passed only if both towers and the recall bound did."""

    status: Status
    reason: str = ""
    image: TowerArtifact
    text: TowerArtifact
    recall_delta: float | None = Field(None, description="Recall@K minus the PyTorch model's, in points; mean of R@1, R@5, R@10 both ways.")


class BundleManifest(_Strict):
    """The whole of bundle.json. Input of the image graph: `pixel_values`; of the text graph: `input_ids`.

    Outputs: `image_embeds`, `text_embeds`, L2-normalised float32 (N, embed_dim).
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    role: Literal["student", "teacher", "control"]
    embed_dim: int = Field(ge=1)
    logit_scale: float
    logit_bias: float | None = None
    parameters: dict[Literal["image", "text", "total"], int]
    default_precision: str
    artifacts: dict[str, Artifact]
    preprocess: FileEntry
    tokenizer: FileEntry
    origin: str = ""
    licence: str = ""
    lineage: dict[str, Any] = Field(default_factory=dict)

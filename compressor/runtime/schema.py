"""`bundle.json`: what a bundle folder holds, with sizes and hashes. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from compressor.files import sha256_file
from compressor.runtime.calibration import Calibration
from compressor.runtime.strict import Strict

SCHEMA_VERSION = 2
"""Version 1 had no documents, licences, results and calibration; it is read as a bundle without them."""
MANIFEST = "bundle.json"
CARD = "README.md"
TERMS = "LICENSE.md"
PREPROCESS = "preprocess.json"
TOKENIZER = "tokenizer.json"
GRAPH_SUFFIX = ".onnx"
ENGINE_SUFFIX = ".engine"
IMAGE_INPUT = "pixel_values"
TEXT_INPUT = "input_ids"
IMAGE_OUTPUT = "image_embeds"
TEXT_OUTPUT = "text_embeds"
DYNAMIC = ("int8", "openvino_int8")
"""Precisions whose scales of activations are found anew in every call, over all of its rows."""
Status = Literal["passed", "failed"]
Role = Literal["student", "teacher", "control"]
Runtime = Literal["onnxruntime", "openvino", "tensorrt"]
Compute = Literal["auto", "f32"]


class FileEntry(Strict):
    """A file of the bundle: path relative to the folder (never outside it), sha256, size."""

    path: str
    sha256: str = Field(pattern="^[0-9a-fA-F]{64}$")
    bytes: int = Field(ge=0, lt=2**53)

    @classmethod
    def of(cls, folder: Path, path: Path) -> FileEntry:
        """The entry of a file that lies in the bundle `folder`."""
        name, size = path.relative_to(folder).as_posix(), path.stat().st_size
        return cls(path=name, sha256=sha256_file(path), bytes=size)


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
    """Both towers at one precision in one runtime. It passed only if both towers and the recall bound did.

    An artifact for OpenVINO names the files of the ONNX artifact that it reads.
    """

    status: Status
    reason: str = ""
    runtime: Runtime = Field("onnxruntime", description="What opens its files, and opened them for its gate.")
    compute: Compute | None = Field(
        None,
        description="What OpenVINO computes in, its own choice (`auto`) or float32; null for other runtimes.",
    )
    image: TowerArtifact
    text: TowerArtifact
    recall_delta: float | None = Field(
        None, description="Recall@K minus the PyTorch model's, in points; mean of R@1, R@5, R@10 both ways."
    )
    recall_delta_interval: tuple[float, float] | None = Field(
        None, description="95 %, paired bootstrap over images."
    )
    overlap: float | None = Field(
        None, description="Share of the ten best answers that are among the PyTorch model's, both ways."
    )

    @model_validator(mode="after")
    def _engines_are_for_tensorrt(self) -> Self:
        """Manifests did not always say what runs an artifact."""
        if self.runtime == "onnxruntime" and self.image.file.path.endswith(ENGINE_SUFFIX):
            self.runtime = "tensorrt"
        return self

    def files(self) -> list[FileEntry]:
        """Every file of this precision."""
        found = (self.image.file, self.image.external_data, self.text.file, self.text.external_data)
        return [entry for entry in found if entry is not None]


class Candidate(Strict):
    """One precision that passed its gate, as a search measured it: p50 of one image and of one text."""

    image_ms: float = Field(ge=0)
    text_ms: float = Field(ge=0)
    ratio: float = Field(ge=0, description="Time of an image and a text, over fp32's in the same round.")
    ratio_interval: tuple[float, float]
    bytes: int = Field(ge=0)
    recall_delta: float | None = None
    beaten_by: str = Field(
        "", description="A precision that is no worse in quality, time and size, and better in one of them."
    )

    @property
    def weakness(self) -> str:
        """What speaks most against it, in the words of every report; empty where nothing does."""
        if self.ratio > 1:
            return "slower than fp32"
        return f"beaten by {self.beaten_by}" if self.beaten_by else ""


class Search(Strict):
    """What a search for precisions measured, all in turn in one process, and what it made of it.

    `winners`: goal (`smallest`, `fastest`, `balanced`) -> precision. `left_out`: artifacts that passed but
    are beaten; their files are not in the bundle.
    """

    threads: int
    provider: str
    candidates: dict[str, Candidate]
    winners: dict[str, str]
    left_out: dict[str, Artifact] = Field(default_factory=dict)


class Manifest(Strict):
    """What the manifest of a bundle of any kind says."""

    schema_version: int = SCHEMA_VERSION
    name: str
    role: Role
    parameters: dict[Literal["image", "text", "total"], int] = Field(min_length=3)
    default_precision: str
    not_made: dict[str, str] = Field(
        default_factory=dict, description="Precisions that were asked for but could not be made, and why."
    )
    preprocess: FileEntry
    tokenizer: FileEntry
    origin: str = ""
    licence: str = ""
    licences: dict[str, str] = Field(
        default_factory=dict, description="Whose terms apply, as far as the recipe knows: part -> licence."
    )
    lineage: dict[str, Any] = Field(default_factory=dict)
    results: dict[str, Any] = Field(
        default_factory=dict, description="The run's figures, named as in results.json; none before it ended."
    )
    documents: list[FileEntry] = Field(
        default_factory=list, description="What is there for people to read: model card, licence notes."
    )


class BundleManifest(Manifest):
    """The whole of bundle.json. Input of the image graph: `pixel_values`; of the text graph: `input_ids`.

    Outputs: `image_embeds`, `text_embeds`, L2-normalised float32 (N, embed_dim).
    """

    kind: Literal["dual_encoder"] = "dual_encoder"
    embed_dim: int = Field(ge=1)
    logit_scale: float
    logit_bias: float | None = None
    artifacts: dict[str, Artifact]
    search: Search | None = None
    calibration: Calibration | None = None

    def files(self) -> list[FileEntry]:
        """Every file of the bundle but bundle.json itself."""
        graphs = [entry for artifact in self.artifacts.values() for entry in artifact.files()]
        return [self.preprocess, self.tokenizer, *graphs, *self.documents]

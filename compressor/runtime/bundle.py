"""The bundle as users meet it: open a folder, encode images and texts. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from compressor.errors import BundleError
from compressor.preprocess.preprocessor import Preprocessor
from compressor.runtime.inputs import at_least_one, check_images, check_texts, pixels_of
from compressor.runtime.manifest import check_files, choose_artifact, locate, read_manifest
from compressor.runtime.opening import open_tower
from compressor.runtime.providers import Provider
from compressor.runtime.schema import (
    DYNAMIC,
    IMAGE_INPUT,
    IMAGE_OUTPUT,
    TEXT_INPUT,
    TEXT_OUTPUT,
    Artifact,
    BundleManifest,
)
from compressor.runtime.tower import AnyTower
from compressor.runtime.verify import verify_bundle


class Bundle:
    """An exported dual encoder, ready to run. Make one with `Bundle.open`.

    Safe to call from several threads at once: nothing changes after opening.
    """

    def __init__(
        self,
        folder: Path,
        manifest: BundleManifest,
        precision: str,
        preprocessor: Preprocessor,
        image_tower: AnyTower,
        text_tower: AnyTower,
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.precision = precision
        self.preprocessor = preprocessor
        self.image_tower = image_tower
        self.text_tower = text_tower

    @classmethod
    def open(
        cls,
        path: str | Path,
        precision: str | None = None,
        threads: int | None = None,
        providers: Sequence[str | Provider] | None = None,
        *,
        verify: bool = True,
        allow_failed: bool = False,
        low_memory: bool = False,
        fast_decode: bool = False,
    ) -> Bundle:
        """Open the bundle folder at `path`.

        `precision`: one of the manifest's artifacts, None for its default; one for OpenVINO or TensorRT opens
        there by itself and takes no `providers`. `threads`: of the pool for each tower, None for all cores
        this process may use. `providers`: names as in `compressor.runtime.providers.NAMES`, best first, None
        for the CPU; the one word `openvino` for OpenVINO's own runtime. `verify`: compare the sha256 of every
        file that is opened; without it only sizes are compared. `allow_failed`: open an artifact although its
        parity gate failed, to inspect it. `low_memory`: ONNX Runtime gives the memory of a call back after it
        instead of keeping it for the next. `fast_decode`: pictures much larger than the model's input are
        reduced first, JPEG files while they are decoded
        (`compressor.preprocess.preprocessor.ImagePreprocessor`).

        Raises `BundleError` (one sentence) for a folder that is no bundle, a newer schema, a path that
        leaves the folder, a file that is missing or not the exported one, a precision that is not there or
        failed, a provider that cannot be had, an engine of another GPU; `MissingDependencyError` without the
        runtime that the artifact needs.
        """
        folder = Path(path)
        manifest = read_manifest(folder)
        if not isinstance(manifest, BundleManifest):
            raise BundleError(
                f"{folder}: this bundle writes text about pictures ({manifest.kind}) and embeds none; "
                "open it with compressor.runtime.Writer"
            )
        chosen = manifest.default_precision if precision is None else precision
        artifact = choose_artifact(folder, manifest.artifacts, manifest.not_made, chosen, allow_failed)
        check_files(folder, [manifest.preprocess, manifest.tokenizer, *artifact.files()], hashes=verify)
        preprocessor = Preprocessor.load(folder, fast_decode)
        how = (threads, providers, low_memory, artifact.runtime, artifact.compute)
        image = open_tower(locate(folder, artifact.image.file), IMAGE_INPUT, IMAGE_OUTPUT, *how)
        text = open_tower(locate(folder, artifact.text.file), TEXT_INPUT, TEXT_OUTPUT, *how)
        _check_fit(folder, manifest, preprocessor, image, text)
        return cls(folder, manifest, chosen, preprocessor, image, text)

    @property
    def embed_dim(self) -> int:
        """Width of the common space."""
        return self.manifest.embed_dim

    @property
    def logit_scale(self) -> float:
        """Factor on cosines before the softmax over candidates."""
        return self.manifest.logit_scale

    @property
    def logit_bias(self) -> float | None:
        """Added after the scale by models trained with a sigmoid loss (SigLIP); None for the others."""
        return self.manifest.logit_bias

    @property
    def artifact(self) -> Artifact:
        """The manifest's entry of the open precision."""
        return self.manifest.artifacts[self.precision]

    @property
    def rows_alone(self) -> bool:
        """True where an embedding is its item's own only when items are run one by one.

        Dynamic int8 has one scale of activations for a whole call, so that rows run together shift each other
        (cosine about 0.9999).
        """
        return self.precision in DYNAMIC

    @property
    def providers(self) -> tuple[str, ...]:
        """Execution providers that are in use."""
        return self.image_tower.providers

    @property
    def threads(self) -> int:
        """Threads of each tower's pool."""
        return self.image_tower.threads

    def encode_images(
        self, images: Sequence[bytes | Image.Image], batch_size: int = 32
    ) -> NDArray[np.float32]:
        """Encoded files (bytes) or PIL images -> unit rows (N, embed_dim) float32; (0, embed_dim) for none.

        Decoding and running go batch by batch, so memory does not grow with N beyond the result; where
        `rows_alone`, one by one.
        Raises `BadImageError` naming the index of the first image that cannot be decoded.
        """
        check_images(images, "encode_images")
        rows = [np.zeros((0, self.embed_dim), np.float32)]
        batch_size = 1 if self.rows_alone else at_least_one(batch_size)
        for start in range(0, len(images), batch_size):
            pixels = pixels_of(self.preprocessor, images[start : start + batch_size], start)
            rows.append(self.run_images(pixels))
        return np.concatenate(rows)

    def encode_texts(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        """Texts of any length and script -> unit rows (N, embed_dim) float32; (0, embed_dim) for none."""
        check_texts(texts, "encode_texts")
        rows = [np.zeros((0, self.embed_dim), np.float32)]
        batch_size = 1 if self.rows_alone else at_least_one(batch_size)
        for start in range(0, len(texts), batch_size):
            rows.append(self.run_texts(self.preprocessor.texts(texts[start : start + batch_size])))
        return np.concatenate(rows)

    def run_images(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """One call of the image graph on ready pixels (N, 3, H, W) float32 -> (N, embed_dim).

        Raises `ModelError` for another shape or type.
        """
        return self.image_tower.run(pixel_values)

    def run_texts(self, input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """One call of the text graph on ready token ids (N, L) int64 -> (N, embed_dim).

        Raises `ModelError` for another shape or type, or an id outside the vocabulary.
        """
        return self.text_tower.run(input_ids)

    def verify(self) -> None:
        """Check every file of the bundle, all precisions, as `compressor bundle verify` does.

        Raises `BundleError` at the first fault.
        """
        verify_bundle(self.folder)

    def calibrated(self, cosines: ArrayLike) -> NDArray[np.float64]:
        """Cosines of this bundle (any shape) on its teacher's scale, where the teacher's thresholds hold.

        The map and its error are `manifest.calibration`, whose `to_student` maps a threshold the other way.
        Raises `BundleError` for a bundle without one.
        """
        if self.manifest.calibration is None:
            raise BundleError(
                f"{self.folder}: was not calibrated against a teacher; set thresholds on its own cosines"
            )
        return self.manifest.calibration.to_teacher(cosines)


def _check_fit(
    folder: Path, manifest: BundleManifest, preprocessor: Preprocessor, image: AnyTower, text: AnyTower
) -> None:
    """The graphs, the preprocessing and the manifest must speak of the same shapes."""
    size, length = preprocessor.image.size, preprocessor.text.context_length
    for tower, shape in ((image, (3, size, size)), (text, (length,))):
        if tower.item_shape != shape or tower.width != manifest.embed_dim:
            raise BundleError(
                f"{folder}: the graph takes {tower.input_name} {tower.item_shape} and gives width "
                f"{tower.width}, but preprocessing makes {shape} and the manifest says {manifest.embed_dim}; "
                "export the bundle again"
            )

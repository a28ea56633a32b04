"""Bundles that take each other's place: of the same weights, of others, and of none that work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from compressor.files import atomic_folder, sha256_file
from compressor.runtime.schema import MANIFEST


def relabelled(source: Path, folder: Path, licence: str) -> Path:
    """The same weights, and thus the same vectors, under another manifest."""
    shutil.copytree(source, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"licence": licence}))
    return folder


def other_weights(source: Path, folder: Path, times: float = 1.0) -> Path:
    """Noise added to every weight at fp32, `times` as large; NaN gives a bundle that is whole and useless."""
    shutil.copytree(source, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    random = np.random.default_rng(7)
    for name in ("image", "text"):
        path = folder / "fp32" / f"{name}.onnx"
        model = onnx.load(path)
        for weights in model.graph.initializer:
            values = numpy_helper.to_array(weights)
            if values.dtype == np.float32 and values.ndim > 1:
                noisy = values + np.float32(times) * random.normal(size=values.shape).astype(np.float32)
                weights.CopyFrom(numpy_helper.from_array(noisy, weights.name))
        onnx.save(model, path)
        entry = manifest["artifacts"]["fp32"][name]["file"]
        entry |= {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def put(source: Path, target: Path) -> str:
    """Put a copy in a bundle's place as an export does; the sha256 of its manifest."""
    with atomic_folder(target) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
    return sha256_file(target / MANIFEST)

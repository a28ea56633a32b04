"""A model as `/models` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compressor.runtime.schema import BundleManifest
from serving.report import report_of

if TYPE_CHECKING:
    from serving.models import Model


def described(model: Model) -> dict[str, Any]:
    """What is loaded, how it runs, and what its run measured: `results` as the bundle carries them, and
    `report`, where there is one, as the page draws it."""
    opened, manifest = model.opened, model.opened.manifest
    shown = {
        "name": model.name,
        "kind": manifest.kind,
        "role": manifest.role,
        "bundle": manifest.name,
        "sha256": model.sha256,
        "precision": opened.precision,
        "providers": list(opened.providers),
        "threads": opened.threads,
        "parameters": manifest.parameters,
        "image_size": opened.preprocessor.image.size,
        "context_length": opened.preprocessor.text.context_length,
        "licence": manifest.licence,
        "results": manifest.results,
    }
    if isinstance(manifest, BundleManifest):
        shown |= {"dimensions": manifest.embed_dim, "logit_scale": manifest.logit_scale}
    report = report_of(model.folder, manifest, opened.precision)
    return shown if report is None else shown | {"report": report}

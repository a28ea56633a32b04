"""The search for precisions: what passed the gate is timed in turn, and the bundle keeps what is worth it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compressor.pipeline.benchmark_stage import first_samples
from compressor.pipeline.context import Context

if TYPE_CHECKING:
    from compressor.runtime.schema import BundleManifest

_PICTURES = 32


def search_inputs(context: Context) -> dict[str, Any]:
    """What a search depends on besides the models: how it is timed, and on what machine."""
    from compressor.benchmark.device import device_key

    if not context.recipe.export.search:
        return {}
    return {"benchmark": context.recipe.benchmark.model_dump(mode="json"), "device": device_key()}


def search_precisions(context: Context, manifest: BundleManifest) -> BundleManifest:
    """Time every artifact of the student's bundle that passed, in ONNX Runtime and OpenVINO, and settle what
    the bundle holds.

    Without fp32 there is nothing to compare with: a bundle whose fp32 failed is left as it is.
    """
    from compressor.benchmark.latency import compare_artifacts
    from compressor.export.search import REFERENCE, bytes_of, settle
    from compressor.runtime.bundle import Bundle
    from compressor.runtime.schema import Candidate

    section, benchmark, folder = context.recipe.export, context.recipe.benchmark, context.folder.bundle
    names: list[str] = [
        name
        for name in section.searched
        if name in manifest.artifacts and manifest.artifacts[name].status == "passed"
    ]
    if REFERENCE not in names:
        context.reporter.note("no search for precisions: fp32 did not pass its parity gate")
        return manifest
    bundles = {name: Bundle.open(folder, precision=name, threads=benchmark.threads) for name in names}
    images, texts = first_samples(context.pairs(context.validation_split), _PICTURES)
    timed = compare_artifacts(bundles, images, texts, benchmark, context.progress("timing the precisions"))
    measured = {
        name: Candidate(
            image_ms=found["image"],
            text_ms=found["text"],
            ratio=found["ratio"],
            ratio_interval=(found["ratio_interval"]["low"], found["ratio_interval"]["high"]),
            bytes=bytes_of(manifest.artifacts[name]),
            recall_delta=manifest.artifacts[name].recall_delta,
        )
        for name, found in timed.items()
    }
    provider = bundles[REFERENCE].providers[0]
    return settle(folder, manifest, measured, section, threads=benchmark.threads, provider=provider)

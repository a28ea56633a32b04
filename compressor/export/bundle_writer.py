"""Write a bundle: export both towers, quantise, judge every artifact, and put the folder in place whole."""

from __future__ import annotations

import logging
import math
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from compressor.errors import DataError, DiskFullError, ModelError
from compressor.export.bundle_parts import GraphFile, exporter_versions, file_entry
from compressor.export.engines import make_engines
from compressor.export.gate import TOWERS, Gate, Judged
from compressor.export.onnx import TowerName, export_tower, ready_for_export
from compressor.export.openvino import in_openvino, openvino_version
from compressor.export.parity import TowerParity
from compressor.export.precision.make import make_precision
from compressor.export.samples import CalibrationSamples, ParitySamples
from compressor.files import atomic_folder, write_json
from compressor.recipe.outcome import ExportSection
from compressor.runtime.padding import Padding
from compressor.runtime.schema import (
    MANIFEST,
    PREPROCESS,
    TOKENIZER,
    Artifact,
    BundleManifest,
    Role,
    TowerArtifact,
)
from compressor.runtime.tower import first_line
from compressor.students.dual_encoder import parameter_counts
from compressor.students.encoder import Encoder, Model

log = logging.getLogger(__name__)


def write_bundle(
    model: Model,
    folder: Path,
    section: ExportSection,
    *,
    role: Role,
    samples: ParitySamples,
    lineage: dict[str, Any],
    calibration: CalibrationSamples | str | None = None,
    licence: str | None = None,
    judge_quality: bool = True,
    timing_cache: Path | None = None,
) -> BundleManifest:
    """Export `model` to the bundle `folder` (replaced as a whole) and return its manifest.

    Every artifact of `section` goes through the parity gate on `samples`, in the runtime that it is for.
    What fails stays in the bundle, marked and with its reason, but is never the default: that is
    `section.default` if it passed, else the first precision that did in ONNX Runtime. What cannot be made at
    all is named under `not_made`; int8_static needs `calibration`, and a string in its place says why there
    is none. A search makes all precisions, and `compressor.export.search` goes on from there.
    `judge_quality=False` (a rehearsal with random weights) leaves Recall@K out and judges the cosines only.
    `licence` None means the model's own note.
    `timing_cache`: a folder for what TensorRT measures, where the section asks for engines. The same model
    and samples give the same bytes on the same versions: there is no time stamp.

    Raises `MissingDependencyError` for engines that this machine cannot build, or without OpenVINO, where
    they are asked for and not optional; `ModelError` where a tower cannot be exported, or no precision
    passed; the bundle is then left at `<folder>-failed` for inspection and `folder` is untouched.
    `DiskFullError` where the disk is full.
    """
    folder = Path(folder)
    if judge_quality and samples.recall is None:
        raise ValueError("samples.recall is needed to judge quality")
    scale, bias = _logits(model.encoder)
    if not math.isfinite(scale + (bias or 0.0)):
        raise ModelError(f"{model.name}: logit scale {scale} and bias {bias} are no numbers; damaged weights")
    failed = folder.with_name(f"{folder.name}-failed")
    with atomic_folder(folder) as work:
        with ready_for_export(model.encoder):
            gate = Gate(model.encoder, samples, section.parity)
            onnx, not_made = _make_graphs(model, work, section, gate, calibration)
            graphs = dict(onnx)
            if section.openvino is not None:
                read, missing = in_openvino(onnx, section.openvino)
                graphs, not_made = graphs | read, not_made | missing
            if section.tensorrt is not None:
                engines, missing = make_engines(onnx, work, section.tensorrt, timing_cache)
                graphs, not_made = graphs | engines, not_made | missing
            judged = gate.judge(model, graphs, judge_quality)
        model.preprocessor.save(work)
        manifest = _manifest(model, work, section, role, graphs, judged, not_made, lineage, licence)
        write_json(work / MANIFEST, manifest.model_dump(mode="json"))
        if not any(precision.passed for precision in judged.values()):
            with atomic_folder(failed) as kept:
                for item in list(work.iterdir()):
                    item.rename(kept / item.name)
            raise ModelError(_none_passed(role, manifest, failed))
    shutil.rmtree(failed, ignore_errors=True)
    return manifest


def _make_graphs(
    model: Model, work: Path, section: ExportSection, gate: Gate, calibration: CalibrationSamples | str | None
) -> tuple[dict[str, dict[TowerName, GraphFile]], dict[str, str]]:
    """The ONNX files by precision and tower, and why a precision is missing."""
    fp32: dict[TowerName, GraphFile] = {}
    text = model.preprocessor.text
    padding = None
    if section.text_length == "dynamic":
        padding = Padding(text.context_length, text.pad_id, text.eos_id)
    for tower in TOWERS:
        path = work / "fp32" / f"{tower}.onnx"
        log.info("exporting the %s tower of %s to ONNX", tower, model.name)
        fp32[tower] = GraphFile(
            path,
            export_tower(model.encoder, tower, gate.samples.of(tower), path, section.opset, padding=padding),
        )
    graphs: dict[str, dict[TowerName, GraphFile]] = {}
    not_made: dict[str, str] = {}
    for precision in section.tried:
        if precision == "fp32":
            graphs[precision] = fp32
            continue
        log.info("making the %s towers of %s", precision, model.name)
        try:
            graphs[precision] = {
                tower: make_precision(
                    precision,
                    fp32[tower],
                    work / precision / f"{tower}.onnx",
                    section,
                    accepts=partial(gate.accepts, tower=tower, precision=precision),
                    calibration=calibration.of(tower)
                    if isinstance(calibration, CalibrationSamples)
                    else calibration,
                )
                for tower in TOWERS
            }
        except (DiskFullError, OSError, MemoryError):
            raise
        except (
            Exception
        ) as error:  # one optional precision must not cost the others; its reason is in the manifest
            named = "" if isinstance(error, DataError) else f"{type(error).__name__}: "
            not_made[precision] = f"{named}{first_line(error)}"
            log.warning("%s of %s cannot be made: %s", precision, model.name, not_made[precision])
            shutil.rmtree(work / precision, ignore_errors=True)
    if "fp32" not in section.tried:
        shutil.rmtree(work / "fp32")
    return graphs, not_made


def _manifest(
    model: Model,
    work: Path,
    section: ExportSection,
    role: Role,
    graphs: dict[str, dict[TowerName, GraphFile]],
    judged: dict[str, Judged],
    not_made: dict[str, str],
    lineage: dict[str, Any],
    licence: str | None,
) -> BundleManifest:
    assert isinstance(model.encoder, nn.Module)
    encoder = model.encoder
    scale, bias = _logits(encoder)
    counts = parameter_counts(encoder)
    return BundleManifest(
        name=model.name,
        role=role,
        embed_dim=encoder.embed_dim,
        logit_scale=scale,
        logit_bias=bias,
        parameters={"image": counts["image"], "text": counts["text"], "total": counts["total"]},
        default_precision=_default(section, judged),
        artifacts={name: _artifact(work, graphs[name], judged[name]) for name in graphs},
        not_made=not_made,
        preprocess=file_entry(work, work / PREPROCESS),
        tokenizer=file_entry(work, work / TOKENIZER),
        origin=model.origin,
        licence=model.licence if licence is None else licence,
        lineage={
            **lineage,
            "model": model.fingerprint,
            "export": exporter_versions(section.opset) | openvino_version(graphs),
        },
    )


def _logits(encoder: Encoder) -> tuple[float, float | None]:
    """Factor on cosines, and what is added, if anything."""
    bias = encoder.logit_bias
    return float(encoder.logit_scale.detach()), None if bias is None else float(bias.detach())


def _default(section: ExportSection, judged: dict[str, Judged]) -> str:
    """The recipe's default if it passed, else the first that did in ONNX Runtime; where none did, what is
    there to look at."""
    for name in (section.default, *section.tried):
        if name in judged and judged[name].passed:
            return name
    return section.default if section.default in judged else next(iter(judged), section.default)


def _artifact(work: Path, towers: dict[TowerName, GraphFile], judged: Judged) -> Artifact:
    found = judged.retrieval
    return Artifact(
        status="passed" if judged.passed else "failed",
        reason=judged.reason,
        runtime=towers["image"].runtime,
        compute=towers["image"].compute,
        image=_tower_artifact(work, towers["image"], judged.image),
        text=_tower_artifact(work, towers["text"], judged.text),
        recall_delta=None if found is None else found.delta,
        recall_delta_interval=None if found is None else found.interval,
        overlap=None if found is None else found.overlap,
    )


def _tower_artifact(work: Path, graph: GraphFile, parity: TowerParity) -> TowerArtifact:
    return TowerArtifact(
        file=file_entry(work, graph.path),
        external_data=None if graph.external is None else file_entry(work, graph.external),
        status="passed" if parity.passed else "failed",
        reason=parity.reason or graph.note,
        cosine=parity.cosine,
        worst_cosine=parity.worst_cosine,
    )


def _none_passed(role: Role, manifest: BundleManifest, failed: Path) -> str:
    reasons = [f"{name}: {artifact.reason}" for name, artifact in manifest.artifacts.items()]
    reasons += [f"{name}: {reason}" for name, reason in manifest.not_made.items()]
    return (
        f"no exported artifact of the {role} passed its parity gate ({'; '.join(reasons)}); "
        f"the files are in {failed} for inspection"
    )

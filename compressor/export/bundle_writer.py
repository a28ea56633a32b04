"""Write a bundle: export both towers, quantise, judge every artifact, and put the folder in place whole."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from compressor.errors import CompressorError, DiskFullError, ModelError
from compressor.export.bundle_parts import GraphFile, exporter_versions, file_entry, quantized
from compressor.export.engines import make_engines
from compressor.export.onnx import TowerName, export_tower, ready_for_export
from compressor.export.parity import TowerParity, judge_tower, recall_deltas
from compressor.export.pytorch import embed_images, embed_texts
from compressor.export.samples import ParitySamples
from compressor.files import atomic_folder, write_json
from compressor.recipe.outcome import ExportSection
from compressor.runtime.opening import open_tower
from compressor.runtime.schema import (
    IMAGE_INPUT,
    IMAGE_OUTPUT,
    MANIFEST,
    PREPROCESS,
    TEXT_INPUT,
    TEXT_OUTPUT,
    TOKENIZER,
    Artifact,
    BundleManifest,
    Role,
    TowerArtifact,
)
from compressor.runtime.tower import AnyTower, first_line
from compressor.students.dual_encoder import parameter_counts
from compressor.students.encoder import Model

log = logging.getLogger(__name__)

TOWERS: tuple[TowerName, TowerName] = ("image", "text")


@dataclass(frozen=True)
class _Judged:
    """One precision after the gate."""

    image: TowerParity
    text: TowerParity
    recall_delta: float | None = None
    reason: str = ""

    @property
    def passed(self) -> bool:
        return self.image.passed and self.text.passed and not self.reason


def write_bundle(
    model: Model,
    folder: Path,
    section: ExportSection,
    *,
    role: Role,
    samples: ParitySamples,
    lineage: dict[str, Any],
    licence: str | None = None,
    judge_quality: bool = True,
    timing_cache: Path | None = None,
) -> BundleManifest:
    """Export `model` to the bundle `folder` (replaced as a whole) and return its manifest.

    Every precision of `section` goes through the parity gate on `samples`. What fails stays in the bundle,
    marked and with its reason, but is never the default: that is `section.default` if it passed, else the
    first that did. A precision that cannot be made at all is named under `not_made`. `judge_quality=False`
    (a rehearsal with random weights) leaves Recall@K out and judges the cosines only. `licence` None means
    the model's own note. `timing_cache`: a folder for what TensorRT measures, where the section asks for
    engines. The same model and samples give the same bytes on the same versions: there is no
    time stamp.

    Raises `MissingDependencyError` for engines that this machine cannot build and that are not optional;
    `ModelError` where a tower cannot be exported, or no precision passed; the bundle is then left at
    `<folder>-failed` for inspection and `folder` is untouched. `DiskFullError` where the disk is full.
    """
    folder = Path(folder)
    if judge_quality and samples.recall is None:
        raise ValueError("samples.recall is needed to judge quality")
    failed = folder.with_name(f"{folder.name}-failed")
    with atomic_folder(folder) as work:
        with ready_for_export(model.encoder):
            graphs, not_made = _make_graphs(model, work, section, samples)
            if section.tensorrt is not None:
                engines, missing = make_engines(graphs, work, section.tensorrt, timing_cache)
                graphs, not_made = graphs | engines, not_made | missing
            judged = _judge(model, graphs, section, samples, judge_quality)
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
    model: Model, work: Path, section: ExportSection, samples: ParitySamples
) -> tuple[dict[str, dict[TowerName, GraphFile]], dict[str, str]]:
    """The ONNX files by precision and tower, and why a precision is missing."""
    fp32: dict[TowerName, GraphFile] = {}
    for tower in TOWERS:
        path = work / "fp32" / f"{tower}.onnx"
        log.info("exporting the %s tower of %s to ONNX", tower, model.name)
        fp32[tower] = GraphFile(
            path, export_tower(model.encoder, tower, samples.of(tower), path, section.opset)
        )
    graphs: dict[str, dict[TowerName, GraphFile]] = {}
    not_made: dict[str, str] = {}
    for precision in section.precisions:
        if precision == "fp32":
            graphs[precision] = fp32
            continue
        log.info("making the %s towers of %s", precision, model.name)
        try:
            graphs[precision] = {
                tower: quantized(fp32[tower], work / precision / f"{tower}.onnx") for tower in TOWERS
            }
        except (DiskFullError, OSError, MemoryError):
            raise
        except (
            Exception
        ) as error:  # one optional precision must not cost the others; its reason is in the manifest
            not_made[precision] = f"{type(error).__name__}: {first_line(error)}"
            log.warning("%s of %s cannot be made: %s", precision, model.name, not_made[precision])
            shutil.rmtree(work / precision, ignore_errors=True)
    if "fp32" not in section.precisions:
        shutil.rmtree(work / "fp32")
    return graphs, not_made


def _judge(
    model: Model,
    graphs: dict[str, dict[TowerName, GraphFile]],
    section: ExportSection,
    samples: ParitySamples,
    judge_quality: bool,
) -> dict[str, _Judged]:
    """Cosines of every tower of every precision, then Recall@K of those whose towers passed."""
    references = {
        "image": embed_images(model.encoder, samples.pixel_values),
        "text": embed_texts(model.encoder, samples.input_ids),
    }
    judged: dict[str, _Judged] = {}
    passed: dict[str, tuple[AnyTower, AnyTower]] = {}
    for precision, towers in graphs.items():
        log.info("comparing %s of %s with PyTorch", precision, model.name)
        found: dict[TowerName, TowerParity] = {}
        loaded: list[AnyTower] = []
        for name in TOWERS:
            try:
                tower = _load(towers[name].path, name)
            except CompressorError as error:
                found[name] = TowerParity(False, str(error))
                continue
            loaded.append(tower)
            found[name] = judge_tower(tower, samples.of(name), references[name], section.parity, precision)
        judged[precision] = _Judged(found["image"], found["text"])
        if judged[precision].passed:
            passed[precision] = (loaded[0], loaded[1])
    if not judge_quality or samples.recall is None:
        return judged
    floor = section.parity.recall_delta
    for precision, delta in recall_deltas(model.encoder, passed, samples.recall).items():
        reason = (
            f"Recall@K is {-delta:.2f} points below PyTorch's, more than {-floor:g}" if delta < floor else ""
        )
        judged[precision] = replace(judged[precision], recall_delta=delta, reason=reason)
    return judged


def _load(path: Path, tower: TowerName) -> AnyTower:
    if tower == "image":
        return open_tower(path, IMAGE_INPUT, IMAGE_OUTPUT)
    return open_tower(path, TEXT_INPUT, TEXT_OUTPUT)


def _manifest(
    model: Model,
    work: Path,
    section: ExportSection,
    role: Role,
    graphs: dict[str, dict[TowerName, GraphFile]],
    judged: dict[str, _Judged],
    not_made: dict[str, str],
    lineage: dict[str, Any],
    licence: str | None,
) -> BundleManifest:
    assert isinstance(model.encoder, nn.Module)
    encoder = model.encoder
    bias = encoder.logit_bias
    counts = parameter_counts(encoder)
    return BundleManifest(
        name=model.name,
        role=role,
        embed_dim=encoder.embed_dim,
        logit_scale=float(encoder.logit_scale.detach()),
        logit_bias=None if bias is None else float(bias.detach()),
        parameters={"image": counts["image"], "text": counts["text"], "total": counts["total"]},
        default_precision=_default(section, judged),
        artifacts={name: _artifact(work, graphs[name], judged[name]) for name in graphs},
        not_made=not_made,
        preprocess=file_entry(work, work / PREPROCESS),
        tokenizer=file_entry(work, work / TOKENIZER),
        origin=model.origin,
        licence=model.licence if licence is None else licence,
        lineage={**lineage, "model": model.fingerprint, "export": exporter_versions(section.opset)},
    )


def _default(section: ExportSection, judged: dict[str, _Judged]) -> str:
    """The recipe's default if it passed, else the first that did; where none did, what is there to look
    at."""
    passed = [name for name in section.precisions if name in judged and judged[name].passed]
    for candidates in (passed, list(judged)):
        if candidates:
            return section.default if section.default in candidates else candidates[0]
    return section.default


def _artifact(work: Path, towers: dict[TowerName, GraphFile], judged: _Judged) -> Artifact:
    faults = [
        f"{name} tower: {parity.reason}"
        for name, parity in (("image", judged.image), ("text", judged.text))
        if not parity.passed
    ]
    if judged.reason:
        faults.append(judged.reason)
    return Artifact(
        status="passed" if judged.passed else "failed",
        reason="; ".join(faults),
        image=_tower_artifact(work, towers["image"], judged.image),
        text=_tower_artifact(work, towers["text"], judged.text),
        recall_delta=judged.recall_delta,
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

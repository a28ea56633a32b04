"""Write the bundle of a model that writes: export, quantise, judge, and put the folder in place whole."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compressor.errors import BundleError, DiskFullError, ModelError
from compressor.export.blip_onnx import export_blip
from compressor.export.bundle_parts import GraphFile, exporter_versions, file_entry, quantized
from compressor.export.onnx import ready_for_export
from compressor.export.parity import TowerParity
from compressor.export.writer_parity import WriterParity, judge_writer
from compressor.export.writer_reference import WriterReference
from compressor.export.writer_samples import WriterSamples
from compressor.files import atomic_folder, write_json
from compressor.recipe.outcome import ExportSection
from compressor.runtime.schema import MANIFEST, PREPROCESS, TOKENIZER, Role, TowerArtifact
from compressor.runtime.tower import first_line
from compressor.runtime.writer_graphs import open_graphs
from compressor.runtime.writer_schema import (
    GraphName,
    WriterArtifact,
    WriterKind,
    WriterManifest,
    WriterVocabulary,
    Writing,
)
from compressor.students.blip import BlipGenerator, halves
from compressor.students.dual_encoder import parameter_counts
from compressor.students.generator import GenerativeModel

log = logging.getLogger(__name__)

Graphs = Mapping[GraphName, GraphFile]
Progress = Callable[[int, int], None]


def write_writer_bundle(
    model: GenerativeModel,
    folder: Path,
    section: ExportSection,
    *,
    role: Role,
    samples: WriterSamples,
    lineage: dict[str, Any],
    writing: Writing | None = None,
    licence: str | None = None,
    judge_quality: bool = True,
    progress: Progress = lambda done, total: None,
) -> WriterManifest:
    """Export `model` to the bundle `folder` (replaced as a whole) and return its manifest.

    As `write_bundle` for a dual encoder, which see; `writing` is how texts are written by default, in the
    gate too. `judge_quality=False` (a rehearsal with random weights) compares the graphs and no texts.
    `progress` counts precisions that have been judged, and the export itself as one.

    Raises `ModelError` where a graph cannot be exported, or no precision passed; the bundle is then left at
    `<folder>-failed` for inspection and `folder` is untouched. `DiskFullError` where the disk is full.
    """
    folder = Path(folder)
    generator = model.generator
    if not isinstance(generator, BlipGenerator):
        raise ModelError(f"a {type(generator).__name__} cannot be exported, only a BLIP")
    writing = writing or Writing()
    kind: WriterKind = "vqa" if generator.head == "vqa" else "captioner"
    vocabulary = WriterVocabulary.model_validate(asdict(generator.vocabulary))
    failed = folder.with_name(f"{folder.name}-failed")
    with atomic_folder(folder) as work:
        with ready_for_export(generator):
            graphs, not_made = _make_graphs(generator, work, section)
            progress(1, 1 + len(graphs))
            reference = WriterReference(generator, vocabulary, samples, writing, section.parity)
            judged: dict[str, WriterParity] = {}
            for precision, files in graphs.items():
                log.info("comparing %s of %s with PyTorch", precision, model.name)
                judged[precision] = _judge(
                    work, files, kind, reference, precision, judge_quality=judge_quality
                )
                progress(1 + len(judged), 1 + len(graphs))
        model.preprocessor.save(work)
        counts = parameter_counts(generator)
        manifest = WriterManifest(
            name=model.name,
            role=role,
            parameters={"image": counts["image"], "text": counts["text"], "total": counts["total"]},
            default_precision=_default(section, judged),
            not_made=not_made,
            preprocess=file_entry(work, work / PREPROCESS),
            tokenizer=file_entry(work, work / TOKENIZER),
            origin=model.origin,
            licence=model.licence if licence is None else licence,
            lineage={**lineage, "model": model.fingerprint, "export": exporter_versions(section.opset)},
            kind=kind,
            artifacts={name: _artifact(work, graphs[name], judged[name]) for name in graphs},
            vocabulary=vocabulary,
            positions=halves(generator.config)[1].max_position_embeddings,
            writing=writing,
        )
        write_json(work / MANIFEST, manifest.model_dump(mode="json"))
        if not any(parity.passed for parity in judged.values()):
            with atomic_folder(failed) as kept:
                for item in list(work.iterdir()):
                    item.rename(kept / item.name)
            reasons = [f"{name}: {parity.reason}" for name, parity in judged.items()]
            reasons += [f"{name}: {reason}" for name, reason in not_made.items()]
            raise ModelError(
                f"no exported artifact of the {role} passed its parity gate ({'; '.join(reasons)}); "
                f"the files are in {failed} for inspection"
            )
    shutil.rmtree(failed, ignore_errors=True)
    return manifest


def _make_graphs(
    generator: BlipGenerator, work: Path, section: ExportSection
) -> tuple[dict[str, Graphs], dict[str, str]]:
    """The ONNX files by precision and graph, and why a precision is missing."""
    written = export_blip(generator, work / "fp32", section.opset)
    fp32 = {name: GraphFile(path, external) for name, (path, external) in written.items()}
    graphs: dict[str, Graphs] = {}
    not_made: dict[str, str] = {}
    for precision in section.artifacts:
        if precision == "fp32":
            graphs[precision] = fp32
        elif precision != "int8":
            not_made[precision] = "models that write are exported to ONNX, at fp32 and int8"
        else:
            try:
                graphs[precision] = {
                    name: quantized(source, work / precision / f"{name}.onnx")
                    for name, source in fp32.items()
                }
            except (DiskFullError, OSError, MemoryError):
                raise
            except (
                Exception
            ) as error:  # one optional precision must not cost the others; its reason is in the manifest
                not_made[precision] = f"{type(error).__name__}: {first_line(error)}"
                log.warning("%s cannot be made: %s", precision, not_made[precision])
                shutil.rmtree(work / precision, ignore_errors=True)
    if "fp32" not in section.artifacts:
        shutil.rmtree(work / "fp32")
    return graphs, not_made


def _judge(
    work: Path,
    files: Graphs,
    kind: WriterKind,
    reference: WriterReference,
    precision: str,
    *,
    judge_quality: bool,
) -> WriterParity:
    try:
        graphs = open_graphs({name: file.path for name, file in files.items()}, kind, reference.vocabulary)
    except BundleError as error:
        reason = str(error).replace(f"{work}/", "")  # the folder has a name of its own until it is whole
        return WriterParity({name: TowerParity(False, "not compared") for name in files}, (reason,))
    return judge_writer(graphs, reference, precision, judge_quality=judge_quality)


def _default(section: ExportSection, judged: Mapping[str, WriterParity]) -> str:
    """The recipe's default if it passed, else the first that did; where none did, what there is to see."""
    passed = [name for name, parity in judged.items() if parity.passed]
    candidates = passed or list(judged)
    return section.default if section.default in candidates or not candidates else candidates[0]


def _artifact(work: Path, files: Graphs, parity: WriterParity) -> WriterArtifact:
    return WriterArtifact(
        status="passed" if parity.passed else "failed",
        reason=parity.reason,
        graphs={name: _graph(work, files[name], parity.graphs[name]) for name in files},
        equal_greedy=parity.equal_greedy,
        equal_beams=parity.equal_beams,
        texts=parity.texts,
        loss_delta=parity.loss_delta,
    )


def _graph(work: Path, file: GraphFile, parity: TowerParity) -> TowerArtifact:
    return TowerArtifact(
        file=file_entry(work, file.path),
        external_data=None if file.external is None else file_entry(work, file.external),
        status="passed" if parity.passed else "failed",
        reason=parity.reason or file.note,
        cosine=parity.cosine,
        worst_cosine=parity.worst_cosine,
    )

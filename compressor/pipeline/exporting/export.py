"""A model that was trained elsewhere to a bundle: load, gather samples, export behind the parity gate."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from compressor.data import missing_data
from compressor.errors import MissingResourceError, ModelError
from compressor.pipeline.exporting.request import ExportOptions, ExportRequest, understand
from compressor.pipeline.keys import versions
from compressor.pipeline.libraries import require_libraries
from compressor.pipeline.progress import Reporter
from compressor.pipeline.publishing import add_documents
from compressor.pipeline.runtimes import require_runtimes
from compressor.recipe.blip import BlipTeacher
from compressor.recipe.teacher import EmbeddingsTeacher, EnsembleTeacher, TextTeacher, TimmTeacher
from compressor.runtime.manifest import read_manifest
from compressor.runtime.schema import BundleManifest
from compressor.runtime.writer_schema import WriterManifest
from compressor.students.naming import checkpoint_name

if TYPE_CHECKING:
    from compressor.pipeline.exporting.samples import Samples
    from compressor.students.encoder import Model
    from compressor.students.generator import GenerativeModel

Result = TypeVar("Result")


@dataclass(frozen=True)
class Exported:
    """The bundle's folder, what its manifest says, and on what the model was compared."""

    folder: Path
    manifest: BundleManifest | WriterManifest
    compared_on: str


def export_checkpoint(options: ExportOptions, reporter: Reporter) -> Exported:
    """Make the bundle. One that is at the output folder already is replaced as a whole, or not at all.

    Raises a `CompressorError` for everything a user can cause: options, files, weights that do not fit, a
    model that cannot be exported, or of which no precision passes its gate (the files are then beside the
    output folder, under `<name>-failed`).
    """
    require_libraries("an export")
    request = understand(options)
    require_runtimes(request.recipe)
    lacking = [] if request.recipe.data is None else missing_data(request.recipe.data)
    if lacking:
        raise MissingResourceError("\n".join(lacking))
    work = _Work(request, reporter)
    try:
        with _told(reporter):
            return work.export()
    finally:
        reporter.close()


def load_model(request: ExportRequest) -> Model | GenerativeModel:
    """The model, frozen, with its own preprocessing, by the loaders of teachers. Raises as they do."""
    from compressor.teachers.blip_teacher import load_blip
    from compressor.teachers.load import load_teacher, missing_resources

    section = request.recipe.teacher
    missing = missing_resources(section)
    if missing:
        raise MissingResourceError("\n".join(missing))
    if isinstance(section, BlipTeacher):
        return load_blip(section)
    if isinstance(section, EmbeddingsTeacher | EnsembleTeacher | TimmTeacher | TextTeacher):
        raise ModelError(
            f"teacher.kind {section.kind} cannot be exported: a bundle holds an image and a text tower"
        )
    return load_teacher(section)


@dataclass
class _Work:
    """One export: three steps, each told to the reporter."""

    request: ExportRequest
    reporter: Reporter

    def export(self) -> Exported:
        from compressor.students.generator import GenerativeModel

        recipe = self.request.recipe
        model = self._step(
            1,
            "load",
            f"a model of kind {recipe.teacher.kind}",
            lambda: load_model(self.request),
            lambda model: f"{model.name}, {model.origin}",
        )
        samples = self._step(
            2, "samples", "what it is compared on", lambda: self._samples(model), lambda found: found.about
        )
        about = f"ONNX ({', '.join(recipe.export.artifacts)}), each checked against PyTorch"
        if isinstance(model, GenerativeModel):
            return self._step(3, "export", about, lambda: self._writer(model, samples), _verdicts)
        return self._step(3, "export", about, lambda: self._towers(model, samples), _verdicts)

    def _step(
        self,
        number: int,
        name: str,
        about: str,
        work: Callable[[], Result],
        summary: Callable[[Result], str],
    ) -> Result:
        self.reporter.stage(number, 3, name, about)
        started = time.monotonic()
        result = work()
        self.reporter.finished(name, time.monotonic() - started, summary(result))
        return result

    def _samples(self, model: Model | GenerativeModel) -> Samples:
        from compressor.pipeline.exporting.samples import asks_questions, open_samples

        return open_samples(
            self.request, model.preprocessor.image.size, asks_questions(model), self._progress("decoding")
        )

    def _towers(self, model: Model, samples: Samples) -> Exported:
        from compressor.export.bundle_writer import write_bundle
        from compressor.pipeline.exporting.samples import calibration_samples, parity_samples

        section = self.request.recipe.export
        parity, about = parity_samples(model, samples, section.parity.samples)
        if about != samples.about:
            self.reporter.note(about)
        write_bundle(
            model,
            self.request.folder,
            section,
            role="student",
            samples=parity,
            lineage=self._lineage(about),
            calibration=calibration_samples(self.request, model),
            licence=self.request.licence,
            judge_quality=parity.recall is not None,
        )
        return self._completed(about)

    def _writer(self, model: GenerativeModel, samples: Samples) -> Exported:
        from compressor.export.writer_bundle import write_writer_bundle
        from compressor.pipeline.exporting.samples import writer_samples

        section = self.request.recipe.export
        write_writer_bundle(
            model,
            self.request.folder,
            section,
            role="student",
            samples=writer_samples(model, samples, section.parity.samples),
            lineage=self._lineage(samples.about),
            licence=self.request.licence,
            progress=self._progress("exporting"),
        )
        return self._completed(samples.about)

    def _completed(self, compared_on: str) -> Exported:
        """With its model card and what is known of licences; a bundle without them is whole too."""
        folder = self.request.folder
        add_documents(folder)
        return Exported(folder, read_manifest(folder), compared_on)

    def _lineage(self, compared_on: str) -> dict[str, Any]:
        """Where the bundle came from, without a path of this machine or a time: bundles are reproducible."""
        teacher = self.request.recipe.teacher
        source = {"kind": teacher.kind, "name": _name_of(teacher)}
        return {"trained_elsewhere": source, "compared_on": compared_on, "versions": versions("export")}

    def _progress(self, label: str) -> Callable[[int, int], None]:
        return lambda done, total: self.reporter.work(label, done, total)


def _verdicts(made: Exported) -> str:
    manifest = made.manifest
    found = [f"{name} {artifact.status}" for name, artifact in manifest.artifacts.items()]
    return ", ".join(found + [f"{name} not made" for name in manifest.not_made])


def _name_of(teacher: Any) -> str:
    named = getattr(teacher, "name", None)
    return Path(str(named)).name if named else checkpoint_name(Path(str(teacher.path)))


class _Telling(logging.Handler):
    """What the rooms below log is progress here; warnings are notes."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__(logging.INFO)
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self._reporter.note(record.getMessage())
        else:
            self._reporter.work(record.getMessage(), 0, 1)


@contextmanager
def _told(reporter: Reporter) -> Iterator[None]:
    """The log of `compressor` goes to the reporter inside the block."""
    logger, handler = logging.getLogger("compressor"), _Telling(reporter)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)

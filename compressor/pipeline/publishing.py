"""The end of a bundle: what is known only after evaluation and benchmark, written into it."""

from __future__ import annotations

from pathlib import Path

from compressor.files import atomic_write_bytes, atomic_write_text, json_text
from compressor.pipeline.context import Context
from compressor.report.bundle_results import bundle_results
from compressor.report.licences import UNKNOWN, licence_notes, licences
from compressor.report.model_card import model_card
from compressor.report.plain_card import plain_card
from compressor.report.results import Results
from compressor.runtime.manifest import AnyManifest, read_manifest
from compressor.runtime.schema import CARD, MANIFEST, SCHEMA_VERSION, TERMS, BundleManifest, FileEntry

_TEACHER = ("kind", "origin", "fingerprint", "embed_dim", "licence", "members")


def complete_bundle(context: Context, results: Results) -> list[Path]:
    """Add model card, licence notes, figures, calibration and lineage to the student's bundle.

    bundle.json comes last and is replaced whole: a bundle opens at every moment, and verifies once this is
    done. Gives the files written; none where the run exports nothing.
    """
    folder = context.folder.bundle
    if not (folder / MANIFEST).is_file():
        return []
    manifest, notes = read_manifest(folder), licences(results)
    if manifest.licence:
        notes = {"model": manifest.licence, **notes}
    documents = _write(folder, model_card(results, alone=True), licence_notes(results.name, notes))
    teacher = results.lineage.get("teacher")
    known = (
        {name: teacher[name] for name in _TEACHER if teacher.get(name)} if isinstance(teacher, dict) else {}
    )
    completed = manifest.model_copy(
        update={
            "schema_version": SCHEMA_VERSION,
            "licences": notes,
            "lineage": {
                **manifest.lineage,
                "teacher": known,
                "git_revision": results.lineage.get("git_revision"),
                "compressor": results.lineage.get("compressor"),
            },
            "results": bundle_results(results),
            "documents": documents,
        }
    )
    if isinstance(completed, BundleManifest):
        completed.calibration = results.calibration
    context.folder.rewrite("export", folder / MANIFEST, _content(completed))
    return [folder / MANIFEST, *(folder / entry.path for entry in documents)]


def add_documents(folder: Path) -> None:
    """Add model card and licence notes to a bundle that was exported without a run."""
    manifest = read_manifest(folder)
    notes = {"model": manifest.licence or f"{manifest.origin or 'the original model'}: {UNKNOWN}"}
    documents = _write(folder, plain_card(manifest), licence_notes(manifest.name, notes))
    completed = manifest.model_copy(update={"licences": notes, "documents": documents})
    atomic_write_bytes(folder / MANIFEST, _content(completed))


def _write(folder: Path, card: str, terms: str) -> list[FileEntry]:
    for name, text in ((CARD, card), (TERMS, terms)):
        atomic_write_text(folder / name, text)
    return [FileEntry.of(folder, folder / name) for name in (CARD, TERMS)]


def _content(manifest: AnyManifest) -> bytes:
    return json_text(manifest.model_dump(mode="json")).encode()

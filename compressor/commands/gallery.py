"""`compressor gallery build | info | search | delete | rebuild`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compressor.commands.options import Json, Quiet, reporter_of

if TYPE_CHECKING:
    from compressor.gallery import Gallery, Hit
    from compressor.runtime import Bundle

gallery = typer.Typer(
    name="gallery", help="Fill, look at and search the gallery of a bundle.", no_args_is_help=True
)

Run = Annotated[Path, typer.Argument(help="A run folder, or a bundle folder.", show_default=False)]
Place = Annotated[
    str | None, typer.Option("--gallery", help="Folder or address (s3://...); default: beside the bundle.")
]
Precision = Annotated[
    str | None, typer.Option("--precision", help="Artifact that embeds; default: the bundle's.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; default: all.")]
Batch = Annotated[int, typer.Option("--batch", min=1, max=1024, help="Pictures embedded and added at once.")]
Where = Annotated[
    str | None, typer.Option("--where", help='A filter of metadata in JSON, such as {"year": {"gte": 2000}}.')
]
_NAMED = 10


@gallery.command()
def build(
    run: Run,
    images: Annotated[Path | None, typer.Option("--images", help="Folder of pictures.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="A recipe whose pictures to take.")] = None,
    split: Annotated[str, typer.Option("--split", help="Of the recipe: train, val or test.")] = "test",
    batch: Batch = 32,
    place: Place = None,
    precision: Precision = None,
    threads: Threads = None,
    keep_originals: Annotated[
        bool, typer.Option("--keep-originals", help="Keep the files too, so that a rebuild needs no others.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Embed pictures and add them; run again, it goes on where it was stopped."""
    from compressor.errors import DataError
    from compressor.gallery import Gallery
    from compressor.gallery.build import build as fill
    from compressor.gallery.build import pictures_in

    if (images is None) == (data is None):
        raise DataError("name the pictures with either --images DIR or --data RECIPE")
    if images is not None:
        entries = pictures_in(images)
    else:
        from compressor.pipeline.gallery_entries import entries_of

        entries = entries_of(str(data), split)
    bundle = _bundle(run, precision, threads)
    at = Gallery.open(_place(run, place), bundle, create=True, keep_originals=keep_originals)
    reporter, started = reporter_of(quiet, as_json), time.monotonic()
    try:
        built = fill(at, bundle, entries, batch, lambda *done: reporter.work("pictures", *done))
        at.optimize()
    finally:
        reporter.close()
    if not built.added and not built.there:
        id, reason = next(iter(built.bad.items()))
        raise DataError(f"none of the {len(entries):,} pictures can be used; {id}: {reason}")
    if as_json:
        told = {"added": built.added, "already_there": built.there, "bad": built.bad, "items": at.count()}
        typer.echo(json.dumps({"gallery": at.uri} | told, ensure_ascii=False))
    elif not quiet:
        spent = time.monotonic() - started
        _line(
            f"{at.uri}: {at.count():,} items; {built.added:,} added in {spent:.1f} s, "
            f"{built.there:,} were there, {len(built.bad):,} bad"
        )
        for id, reason in list(built.bad.items())[:_NAMED]:
            _line(f"  bad: {id}: {reason}")
        if len(built.bad) > _NAMED:
            _line(f"  and {len(built.bad) - _NAMED:,} more (--json names all)")


@gallery.command()
def info(run: Run, place: Place = None, as_json: Json = False) -> None:
    """Say what a gallery holds, of which bundle, and how it is searched."""
    facts = _opened(run, place).info()
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    index = facts["index"]
    how = facts["search"]
    if index is not None:
        how += f" ({index['kind']}, finds {100 * index['recall_at_10']:.1f} % of the ten nearest)"
    _line(f"{facts['uri']}: {facts['items']:,} items of {facts['bundle']} at {facts['precision']}")
    _line(f"  vectors of {facts['width']} values, space {facts['fingerprint'][:12]}")
    _line(f"  search: {how}; made by {facts['created_by']}, {facts['created_at']}")


@gallery.command()
def search(
    run: Run,
    query: Annotated[str, typer.Argument(help="A text, or the path of a picture.", show_default=False)],
    k: Annotated[int, typer.Option("-k", min=1, help="How many answers.")] = 10,
    where: Where = None,
    place: Place = None,
    precision: Precision = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Find the pictures nearest to a text or to a picture."""
    from compressor.gallery import Gallery
    from compressor.gallery.build import SUFFIXES

    bundle = _bundle(run, precision, threads)
    at = Gallery.open(_place(run, place), bundle)
    path = Path(query)
    if path.suffix.lower() in SUFFIXES:
        vectors = bundle.encode_images([_read(path)])
    else:
        vectors = bundle.encode_texts([query])
    (hits,) = at.search(vectors, k, _filter(where))
    if as_json:
        typer.echo(json.dumps([_told(hit) for hit in hits], ensure_ascii=False))
    else:
        for hit in hits:
            known = json.dumps(hit.metadata, ensure_ascii=False) if hit.metadata else ""
            _line(f"{hit.score:7.4f}  {hit.id}  {known}".rstrip())


@gallery.command()
def delete(
    run: Run,
    ids: Annotated[list[str], typer.Argument(help="Ids of items.", metavar="ID...", show_default=False)],
    place: Place = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Delete items."""
    at = _opened(run, place)
    deleted = at.delete(ids)
    if as_json:
        typer.echo(json.dumps({"deleted": deleted, "items": at.count()}))
    elif not quiet:
        _line(f"{at.uri}: {deleted:,} deleted, {at.count():,} left")


@gallery.command()
def rebuild(
    run: Run,
    batch: Batch = 32,
    place: Place = None,
    precision: Precision = None,
    threads: Threads = None,
    leave_out: Annotated[
        bool, typer.Option("--leave-out", help="Go on without items whose picture cannot be had.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Embed all items again with the run's bundle, while the gallery serves the old one, then switch."""
    from compressor.gallery.rebuild import rebuild as embed_again

    bundle = _bundle(run, precision, threads)
    reporter = reporter_of(quiet, as_json)
    try:
        done = embed_again(
            _place(run, place),
            bundle,
            batch_size=batch,
            leave_out=leave_out,
            progress=lambda done, total, id: reporter.work("pictures", done, total),
        )
    finally:
        reporter.close()
    done.gallery.optimize()
    if as_json:
        typer.echo(json.dumps({"items": done.items, "lost": done.lost}, ensure_ascii=False))
    elif not quiet:
        _line(
            f"{done.gallery.uri}: {done.items:,} items of {bundle.manifest.name}, {len(done.lost):,} left out"
        )


def _place(run: Path, place: str | None) -> str:
    from compressor.gallery.gallery import place_beside
    from compressor.runtime.verify import bundle_at

    return place if place is not None else str(place_beside(bundle_at(run)))


def _opened(run: Path, place: str | None) -> Gallery:
    from compressor.gallery import Gallery

    return Gallery.open(_place(run, place))


def _bundle(run: Path, precision: str | None, threads: int | None) -> Bundle:
    from compressor.runtime import Bundle
    from compressor.runtime.verify import bundle_at

    return Bundle.open(bundle_at(run), precision=precision, threads=threads)


def _read(path: Path) -> bytes:
    from compressor.errors import MissingResourceError

    try:
        return path.read_bytes()
    except OSError as error:
        raise MissingResourceError(f"{path}: the picture cannot be read: {error.strerror}") from error


def _filter(where: str | None) -> Any:
    from compressor.errors import FilterError

    if where is None:
        return None
    try:
        return json.loads(where)
    except (ValueError, RecursionError) as error:
        raise FilterError(f"--where is no JSON: {error}") from error


def _told(hit: Hit) -> dict[str, Any]:
    return {"id": hit.id, "score": hit.score, "metadata": hit.metadata}


def _line(text: str) -> None:
    from compressor.terminal import printable

    typer.echo(printable(text))

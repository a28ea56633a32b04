"""`compressor bundle verify | inspect | pack | unpack`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compressor.commands.options import Json, Quiet
from compressor.terminal import printable

if TYPE_CHECKING:
    from compressor.runtime.verify import Verified

bundle = typer.Typer(name="bundle", help="Verify, look at, pack and unpack a bundle.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="A bundle folder, or a run folder that holds one.")]


@bundle.command()
def verify(folder: Folder, quiet: Quiet = False, as_json: Json = False) -> None:
    """Check bundle.json, every file's size and sha256, every graph, and that nothing else is there."""
    from compressor.runtime.verify import bundle_at, verify_bundle

    at = bundle_at(folder)
    _say(f"{at}: whole", verify_bundle(at), quiet, as_json)


@bundle.command()
def inspect(folder: Folder, as_json: Json = False) -> None:
    """Say what a bundle holds and where it came from, without running it or checking its files."""
    from compressor.runtime.manifest import read_manifest
    from compressor.runtime.verify import bundle_at

    manifest = read_manifest(bundle_at(folder))
    if as_json:
        typer.echo(manifest.model_dump_json())
    else:
        from compressor.report.bundle_console import print_bundle

        print_bundle(manifest)


@bundle.command()
def pack(
    folder: Folder,
    archive: Annotated[
        Path, typer.Argument(help="The file to write, which must not exist yet: .tar.gz or .zip.")
    ],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Verify a bundle and write it as one file; the same bundle always gives the same bytes."""
    from compressor.runtime.archive import pack as write
    from compressor.runtime.verify import bundle_at

    written = write(bundle_at(folder), archive)
    size = archive.stat().st_size
    _say(f"{archive}: packed into {size / 1e6:.1f} MB", written, quiet, as_json, archive_bytes=size)


@bundle.command()
def unpack(
    archive: Annotated[Path, typer.Argument(help="A packed bundle.")],
    folder: Annotated[Path, typer.Argument(help="The folder to write, which must not exist yet.")],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a packed bundle to a folder, if it is whole."""
    from compressor.runtime.archive import unpack as read

    _say(f"{folder}: unpacked", read(archive, folder), quiet, as_json)


def _say(sentence: str, found: Verified, quiet: bool, as_json: bool, **more: int) -> None:
    manifest = found.manifest
    if as_json:
        told = {"name": manifest.name, "files": found.files, "bytes": found.bytes}
        typer.echo(json.dumps(told | {"default_precision": manifest.default_precision} | more))
    elif not quiet:
        counted = f"{found.files} files, {found.bytes / 1e6:.1f} MB"
        typer.echo(printable(f"{sentence}, {counted} ({manifest.name}, {manifest.role})"))

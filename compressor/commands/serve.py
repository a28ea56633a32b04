"""`compressor serve`."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from compressor.errors import CompressorError, DataError, MissingDependencyError


def serve(
    bundles: Annotated[list[str], typer.Argument(help="Bundle or run folders; NAME=FOLDER to name one.")],
    host: Annotated[str, typer.Option(help="0.0.0.0 to be reached from other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 3000,
    workers: Annotated[
        int, typer.Option(min=1, envvar="COMPRESSOR_WORKERS", help="Processes; each opens every bundle.")
    ] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="Of each model; all cores without it.")] = None,
    precision: Annotated[str | None, typer.Option(help="Of every bundle; its default without it.")] = None,
) -> None:
    """Serve bundles over HTTP: embeddings, ranking, captions, answers; the first is the default.

    Further settings are read from the environment, COMPRESSOR_QUEUE for example; docs/serving.md lists them.
    """
    environment = {
        "COMPRESSOR_BUNDLES": os.pathsep.join(bundles),
        "COMPRESSOR_WORKERS": str(workers),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    if threads is not None:
        environment["COMPRESSOR_THREADS"] = str(threads)
    if precision is not None:
        environment["COMPRESSOR_PRECISION"] = precision
    _check(environment)
    os.environ.update(environment)
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Service"]
    sys.stdout.flush()
    os.execv(sys.executable, [*command, "--host", host, "--port", str(port)])


def _check(environment: dict[str, str]) -> None:
    """Raise in one sentence what would otherwise end a worker: settings, a missing package, a bundle."""
    # Looked for and not imported: the process that follows imports them, and starts so much sooner.
    for package in ("bentoml", "onnxruntime"):
        if find_spec(package) is None:
            raise MissingDependencyError(f"serving needs {package} (pip install 'compressor[cpu,serve]')")
    try:
        from serving.settings import from_environment, named_folders
    except ImportError as error:
        raise CompressorError("the package `serving` is not installed beside `compressor`") from error
    from compressor.runtime.manifest import read_manifest

    settings = from_environment({**os.environ, **environment})
    for name, folder in named_folders(settings).items():
        if not Path(folder).is_dir():
            raise DataError(f"{folder}: there is no such folder; name a bundle or a run that has one")
        manifest = read_manifest(folder)
        chosen = settings.precision or manifest.default_precision
        typer.echo(f"serving {name}: {manifest.kind} at {chosen}, {folder}", err=True)

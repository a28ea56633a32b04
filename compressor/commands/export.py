"""`compressor export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from compressor.commands.options import Json, Quiet, reporter_of


def export(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="A checkpoint folder of this project, a transformers folder (CLIP, SigLIP, BLIP), an "
            "open_clip folder, or an open_clip name with --weights.",
            show_default=False,
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            help="Settings as in a recipe's export, teacher (the model) and data, such as "
            "export.parity.samples=32 or teacher.context_length=20.",
            show_default=False,
            metavar="KEY=VALUE",
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Weights file of an open_clip name.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder of the bundle; default: beside the model, <name>-bundle."
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option("--precision", "-p", help="One to make, the first is the default; repeat for more."),
    ] = None,
    opset: Annotated[int | None, typer.Option("--opset", help="Of ONNX; default: 18.")] = None,
    text_length: Annotated[
        str | None, typer.Option("--text-length", help="fixed (default), or dynamic: no needless padding.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="YAML: a recipe, or its data section alone, to compare the model on."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", help="Folder of pictures instead, captions beside them: photo.jpg, photo.txt."
        ),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Of the data: train, val or test.")] = "val",
    licence: Annotated[
        str | None, typer.Option("--licence", help="Of the weights, to be noted in the bundle.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make the verified bundle of a model that was trained elsewhere."""
    from compressor.pipeline.exporting.export import export_checkpoint
    from compressor.pipeline.exporting.request import ExportOptions

    made = export_checkpoint(
        ExportOptions(
            checkpoint=checkpoint,
            weights=weights,
            output=output,
            precisions=precision or (),
            opset=opset,
            text_length=text_length,
            data=data,
            images=images,
            split=split,
            settings=settings or (),
            licence=licence,
        ),
        reporter_of(quiet, as_json),
    )
    if as_json:
        typer.echo(
            json.dumps({"folder": str(made.folder), "manifest": made.manifest.model_dump(mode="json")})
        )
    elif not quiet:
        from compressor.report.bundle_console import print_bundle

        print_bundle(made.manifest)
        typer.echo(f"{made.folder}: compared on {made.compared_on}")

"""`compressor evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compressor.commands.options import Quiet, reporter_of


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder, or a run folder that holds one.")],
    kind: Annotated[
        str, typer.Option("--kind", help="Data kind: karpathy, coco_captions, table, folder, scenes ...")
    ],
    annotations: Annotated[
        Path | None, typer.Option("--annotations", help="Annotation file or table.")
    ] = None,
    images: Annotated[Path | None, typer.Option("--images", help="Folder of images.")] = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "test",
    options: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Further keys of the data section.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="Artifact to evaluate; default: the bundle's.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads; default: all.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Measure a bundle's retrieval on data that its recipe never saw."""
    from compressor.pipeline.evaluation import evaluate_bundle, print_quality

    reporter = reporter_of(quiet)
    try:
        figures = evaluate_bundle(
            bundle,
            kind=kind,
            annotations=annotations,
            images=images,
            split=split,
            options=options or [],
            precision=precision,
            threads=threads,
            reporter=reporter,
        )
    finally:
        reporter.close()
    if output is not None:
        from compressor.files import write_json

        write_json(output, figures)
    if not quiet:
        print_quality(figures)

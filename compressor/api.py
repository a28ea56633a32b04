"""The Python door to what `compressor run` does: `compressor.run(recipe)`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compressor.pipeline.progress import Reporter
from compressor.pipeline.run import Options
from compressor.pipeline.run import run as run_stages
from compressor.recipe import Recipe
from compressor.recipe.check import check, load_checked
from compressor.recipe.load import LoadedRecipe
from compressor.report.results import Results

__all__ = ["run"]


def run(
    recipe: Recipe | Path | str,
    overrides: Sequence[str] = (),
    *,
    runs: Path | str = "runs",
    start: str | None = None,
    until: str | None = None,
    force: bool = False,
    rehearse: bool = False,
    reporter: Reporter | None = None,
) -> Results | None:
    """Run a recipe over `runs/<name>/` and give its results; stages that are done are skipped.

    `recipe` is a file, the name of a shipped recipe, or a `Recipe`. `overrides` are settings like
    `distill.epochs=2` on top of a file. `start` runs that stage and all after it anew, `force` every stage;
    `until` stops after a stage, and None is returned where that is before the report. `rehearse` runs every
    stage with the real architectures on a handful of pairs. `reporter` is told of the progress; without one
    the run is silent. A missed goal is no error here: see `Results.goals`.

    Raises a `CompressorError` (`compressor.errors`) for everything a user can cause. What was finished before
    an error, a kill or Ctrl-C is kept, and the next call continues there.
    """
    if isinstance(recipe, Recipe):
        if overrides:
            raise TypeError("overrides go on top of a file; change a Recipe with model_copy instead")
        check(LoadedRecipe(recipe, Path("recipe")))
    else:
        recipe = load_checked(recipe, overrides)
    return run_stages(recipe, runs, options=Options(start, until, force, rehearse), reporter=reporter)

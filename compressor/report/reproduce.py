"""How to run it again: the command and the recipe."""

from __future__ import annotations

import yaml

from compressor.report.results import Results


def command(results: Results) -> str:
    """The command line, with the recipe under its own name."""
    return f"compressor run {results.name}.yaml" + (" --rehearse" if results.rehearsal else "")


def recipe_yaml(results: Results) -> str:
    """The recipe as it was run, defaults and overrides included."""
    return yaml.safe_dump(results.recipe, sort_keys=False, allow_unicode=True, width=100)

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from compressor.errors import DataError, MissingResourceError
from compressor.report.results import Results
from compressor.report.storage import read_results, results_schema, schema_text, write_results
from tests.report.fixture import run

PUBLISHED = Path(__file__).parents[2] / "docs" / "results.schema.json"


def test_the_published_schema_is_that_of_the_code() -> None:
    """When this fails: python -m compressor.report.storage > docs/results.schema.json."""
    assert PUBLISHED.read_text(encoding="utf-8") == schema_text()


def test_results_survive_the_disk_and_fit_the_published_schema(tmp_path: Path) -> None:
    for results in (run(), run(retention=None, latency=None, artifacts={}, quality={"student": None})):
        write_results(tmp_path / "results.json", results)
        assert read_results(tmp_path / "results.json") == results
        held = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator(results_schema()).validate(held)


def test_the_schema_refuses_what_results_do_not_have() -> None:
    held = run().model_dump(mode="json")
    held["quality"]["student"]["rsun"] = 1.0
    with pytest.raises(jsonschema.ValidationError, match="rsun"):
        jsonschema.Draft202012Validator(results_schema()).validate(held)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_that_is_not_finite_never_reaches_the_file(tmp_path: Path, value: float) -> None:
    held = run().model_dump()
    held["quality"]["student"]["rsum"] = value
    with pytest.raises(ValidationError, match="finite number"):
        Results.model_validate(held)
    write_results(tmp_path / "results.json", run(training={"student": {"seconds": value}}))
    assert read_results(tmp_path / "results.json").training == {"student": {"seconds": None}}


def test_a_file_that_is_missing_newer_or_of_another_form_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    with pytest.raises(MissingResourceError, match=r"results.json does not exist"):
        read_results(path)
    path.write_text(json.dumps({"results_version": 99}))
    with pytest.raises(DataError, match="results version 99"):
        read_results(path)
    path.write_text(json.dumps({"name": "x"}))
    with pytest.raises(DataError, match="recipe"):
        read_results(path)
    path.write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        read_results(path)

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compressor.errors import DataError
from serving.settings import PREFIX, Settings, from_environment, named_folders

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"


def shown(value: Any) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


ROWS = [
    f"| `{PREFIX}{name.upper()}` | {shown(field.default)} | {field.description} |".replace("|  |", "| |")
    for name, field in Settings.model_fields.items()
]


def test_every_setting_stands_in_the_documentation_as_it_is_here() -> None:
    lines = PAGE.read_text().splitlines()
    assert [row for row in ROWS if row not in lines] == []
    assert [line for line in lines if line.startswith(f"| `{PREFIX}") and line not in ROWS] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("QUEUE", "0"), ("QUEUE", "many"), ("LOG", "xml"), ("DEADLINE", "-1"), ("URL_SECONDS", "0")],
)
def test_a_setting_without_sense_is_one_sentence_with_its_name(name: str, value: str) -> None:
    with pytest.raises(DataError, match=f"^{PREFIX}{name}: ") as caught:
        from_environment({PREFIX + name: value})
    assert len(str(caught.value).splitlines()) == 1


def test_a_full_request_fits_into_the_queue() -> None:
    assert from_environment({"COMPRESSOR_QUEUE": "64", "COMPRESSOR_MAX_ITEMS": "64"}).max_items == 64
    with pytest.raises(DataError, match=r"^COMPRESSOR_MAX_ITEMS: 256 items do not fit into a queue of 64"):
        from_environment({"COMPRESSOR_QUEUE": "64"})


@pytest.mark.parametrize(
    ("given", "name"), [("/bundle", "bundle"), ("runs/photos", "photos"), ("a=runs/photos/bundle", "a")]
)
def test_a_bundle_is_called_by_its_run(given: str, name: str) -> None:
    assert list(named_folders(Settings(bundles=(given,)))) == [name]


def test_lists_are_read_from_the_environment() -> None:
    found = from_environment(
        {"COMPRESSOR_KEYS": "a,b", "COMPRESSOR_URLS": "a.test", "COMPRESSOR_LOG": "json"}
    )
    assert (found.keys, found.urls, found.log) == (("a", "b"), ("a.test",), "json")
    assert from_environment({"COMPRESSOR_URLS": ""}).urls == ()

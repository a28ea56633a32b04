from __future__ import annotations

import os
from pathlib import Path

import pytest

from compressor.errors import DataError
from serving.errors import ApiError
from serving.keys import Keys

ONE, TWO, THREE = "one-" * 5, "two-" * 5, "three-" * 5


def refused(keys: Keys, authorization: str, always: bool = False) -> str:
    with pytest.raises(ApiError) as caught:
        keys.check(authorization, always)
    return f"{caught.value.status} {caught.value.code}"


def test_without_keys_all_may_enter_but_where_one_is_always_needed() -> None:
    keys = Keys()
    keys.check("")
    assert not keys.wanted
    assert refused(keys, f"Bearer {ONE}", always=True) == "403 wrong_key"


@pytest.mark.parametrize("key", [ONE, TWO])
def test_any_of_several_keys_opens(key: str) -> None:
    Keys((ONE, TWO)).check(f"Bearer {key}", always=True)
    Keys((ONE, TWO)).check(f"bearer {key}")


@pytest.mark.parametrize(
    ("authorization", "answer"),
    [
        ("", "401 no_key"),
        ("Bearer", "401 no_key"),
        ("Bearer ", "401 no_key"),
        (f"Basic {ONE}", "401 no_key"),
        (f"Bearer {THREE}", "403 wrong_key"),
        (f"Bearer {ONE} ", "403 wrong_key"),
        (f"Bearer {ONE[:-1]}", "403 wrong_key"),
        ("Bearer \udcff\udcfe", "403 wrong_key"),
    ],
)
def test_everything_else_is_refused(authorization: str, answer: str) -> None:
    assert refused(Keys((ONE, TWO)), authorization) == answer


def test_keys_of_a_file_are_exchanged_while_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# of the gateway\n{ONE}  # until March\n\n{TWO}\n")
    keys = Keys(file=str(file))
    keys.check(f"Bearer {TWO}")
    file.write_text(f"{THREE}\n")
    os.utime(file, ns=(1, 1))
    keys.check(f"Bearer {THREE}")
    assert refused(keys, f"Bearer {TWO}") == "403 wrong_key"
    file.unlink()
    keys.check(f"Bearer {THREE}")
    file.write_text("")
    assert refused(keys, f"Bearer {THREE}") == "403 wrong_key", "an empty file lets nobody in"


def test_keys_that_are_none_are_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nothing\n")
    with pytest.raises(DataError, match="at least 16 characters"):
        Keys(("short",))
    with pytest.raises(DataError, match="no key in this file"):
        Keys(file=str(tmp_path / "empty"))
    with pytest.raises(DataError, match="cannot be read"):
        Keys(file=str(tmp_path / "gone"))

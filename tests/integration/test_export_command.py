"""`compressor export`: a bundle, its table or JSON; one sentence and an exit code for what goes wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compressor.runtime import Bundle
from tests.test_cli import call

Command = Callable[..., tuple[int, str, str]]
SMALL = ("--precision", "fp32", "export.parity.samples=8")


@pytest.fixture
def export(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return lambda *arguments: call(capsys, monkeypatch, "export", *arguments)


def test_a_checkpoint_becomes_a_bundle_and_a_table(export: Command, tmp_path: Path) -> None:
    code, out, err = export("builtin:scenes_teacher", "--output", tmp_path / "out", *SMALL)
    assert (code, err) == (0, "")
    assert "[3/3] export" in out
    assert re.search(r"fp32.*\bdefault\b", out)
    assert f"{tmp_path / 'out'}: compared on drawn scenes" in out.replace("\n", "")
    assert Bundle.open(tmp_path / "out", threads=1).precision == "fp32"


def test_json_is_one_document_and_quiet_is_silent(
    export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, Any] = {}

    class Made:
        folder, compared_on = tmp_path, "nothing"

        class manifest:  # noqa: N801
            model_dump = staticmethod(lambda mode: {"name": "small"})

    def stand_in(options: Any, reporter: Any) -> type[Made]:
        made["options"] = options
        return Made

    monkeypatch.setattr("compressor.pipeline.exporting.export.export_checkpoint", stand_in)
    code, out, err = export("somewhere", "--json", "--text-length", "dynamic", "-p", "int8", "-p", "fp32")
    assert (code, json.loads(out), err) == (0, {"folder": str(tmp_path), "manifest": {"name": "small"}}, "")
    assert (made["options"].text_length, made["options"].precisions) == ("dynamic", ["int8", "fp32"])
    assert export("somewhere", "--quiet") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere",), "there is no folder"),
        (("builtin:scenes_teacher", "--precision", "int3"), "export.precisions.0"),
        (("builtin:scenes_teacher", "--text-length", "long"), "export.text_length: is 'long'; allowed"),
        (("builtin:scenes_teacher", "--images", "nowhere"), "--images: there is no folder nowhere"),
        (("builtin:scenes_teacher", "--output", "/proc/version"), "is a file; choose another --output"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_exit_code_2(
    export: Command,
    arguments: tuple[str, ...],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = export(*arguments, "--quiet")
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_traceback_is_for_debug_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, err = call(capsys, monkeypatch, "export", "nowhere", "--quiet")
    assert "Traceback" not in err
    code, _, err = call(capsys, monkeypatch, "--debug", "export", "nowhere", "--quiet")
    assert code == 2
    assert "Traceback" in err

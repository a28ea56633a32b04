"""`compressor bundle`: what is printed, what is refused with which exit code, and without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from compressor.runtime.schema import SCHEMA_VERSION
from tests.export.toys import write_toy_bundle
from tests.test_cli import Call, _run  # noqa: F401

PROGRAM = """
import sys
heavy = ("torch", "torchvision", "transformers", "timm", "open_clip", "onnx", "onnxruntime")
sys.modules.update(dict.fromkeys(heavy))
from compressor.cli import main
sys.argv = ["compressor", *sys.argv[1:]]
main()
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "bundle"
    write_toy_bundle(folder)
    return folder


def test_verify_says_that_a_bundle_is_whole(run: Call, exported: Path) -> None:
    for folder in (exported, exported.parent):
        code, out, err = run("bundle", "verify", folder)
        assert (code, err) == (0, "")
        assert out.startswith(f"{exported}: whole, 7 files, ")
    assert run("bundle", "verify", exported, "--quiet") == (0, "", "")
    told = json.loads(run("bundle", "verify", exported, "--json")[1])
    assert (told["name"], told["files"], told["default_precision"]) == ("toy", 7, "fp32")


def test_inspect_shows_precisions_licence_and_lineage(run: Call, exported: Path) -> None:
    code, out, _ = run("bundle", "inspect", exported)
    assert code == 0
    for word in (
        "toy: dual_encoder, student",
        f"schema {SCHEMA_VERSION}",
        "fp32 (default)",
        "int8",
        "a test",
    ):
        assert word in out
    assert "model: none needed" in out
    told = json.loads(run("bundle", "inspect", exported, "--json")[1])
    assert told == json.loads((exported / "bundle.json").read_text())


def test_inspect_prints_no_markup_and_no_control_characters_of_a_bundle(
    run: Call, exported: Path, tmp_path: Path
) -> None:
    content = json.loads((exported / "bundle.json").read_text())
    content |= {"name": "[red]\x1b[31m", "origin": "\x1b]0;title\x07", "lineage": {"[bold]x": "\x1b[2J"}}
    content["not_made"] = {"[blink]fp16[/]": r"[/nonsense] \[/more]" + "\x1b[31m"}
    (tmp_path / "bundle.json").write_text(json.dumps(content))
    code, out, _ = run("bundle", "inspect", tmp_path)
    assert code == 0
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[red]" in out
    assert "[blink]" in out


def test_pack_and_unpack(run: Call, exported: Path, tmp_path: Path) -> None:
    archive, folder = tmp_path / "toy.tar.gz", tmp_path / "toy"
    assert run("bundle", "pack", exported, archive)[:2] == (0, run("bundle", "pack", exported, archive)[1])
    code, out, _ = run("bundle", "unpack", archive, folder)
    assert code == 0
    assert out.startswith(f"{folder}: unpacked, 7 files")
    code, out, err = run("bundle", "unpack", archive, folder)
    assert (code, out) == (2, "")
    assert err == f"{folder}: is there already; name a folder that is not, or remove it first\n"


def test_a_damaged_bundle_is_one_sentence_and_exit_code_two(
    run: Call, exported: Path, tmp_path: Path
) -> None:
    (tmp_path / "bundle.json").write_bytes((exported / "bundle.json").read_bytes())
    code, out, err = run("bundle", "verify", tmp_path)
    assert (code, out) == (2, "")
    assert err == (
        f"{tmp_path}: 'preprocess.json' is missing; the bundle is incomplete, copy or export it again\n"
    )
    told = json.loads(run("bundle", "verify", tmp_path, "--json")[1])
    assert told == {"error": err.strip(), "exit_code": 2}


def test_the_schema_describes_what_is_written(run: Call, exported: Path) -> None:
    code, out, _ = run("schema", "bundle")
    assert code == 0
    content = json.loads((exported / "bundle.json").read_text())
    jsonschema.validate(content, json.loads(out))
    content["artifacts"]["fp32"]["image"]["file"].pop("sha256")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, json.loads(out))


@pytest.mark.parametrize("command", ["verify", "inspect", "pack"])
def test_the_commands_need_neither_torch_nor_onnx_runtime(
    exported: Path, tmp_path: Path, command: str
) -> None:
    archive = [tmp_path / "toy.zip"] if command == "pack" else []
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "bundle", command, exported, *archive],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "toy" in done.stdout


def test_verify_prints_no_control_characters_of_a_bundle(run: Call, exported: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(exported, tmp_path / "bundle")
    content = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps(content | {"name": "\x1b]0;title\x07\u202e"}))
    code, out, _ = run("bundle", "verify", bundle)
    assert (code, out.count("\n")) == (0, 1)
    assert out.rstrip("\n").isprintable()

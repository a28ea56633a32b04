"""`compressor bundle`: what is printed, what is refused with which exit code, and without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from compressor.report.bundle_results import bundle_results
from compressor.report.numbers import cosine
from compressor.runtime.manifest import AnyManifest, read_manifest
from compressor.runtime.schema import SCHEMA_VERSION, Artifact, BundleManifest, Candidate, Search
from tests.export.toys import write_toy_bundle
from tests.report.fixture import small
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
        "default",
        "int8",
        "a test",
    ):
        assert word in out
    assert "model: none needed" in out
    told = json.loads(run("bundle", "inspect", exported, "--json")[1])
    assert told == json.loads((exported / "bundle.json").read_text())


def inspected(run: Call, folder: Path, manifest: AnyManifest) -> str:
    (folder / "bundle.json").write_text(manifest.model_dump_json())
    code, out, _ = run("bundle", "inspect", folder)
    assert code == 0
    return out


def test_inspect_shows_what_a_search_found_in_80_columns(run: Call, exported: Path, tmp_path: Path) -> None:
    manifest = read_manifest(exported)
    assert isinstance(manifest, BundleManifest)
    exact, int8 = manifest.artifacts["fp32"], manifest.artifacts["int8"]
    int8 = int8.model_copy(update={"recall_delta": -0.25})
    timed = {"image_ms": 1, "text_ms": 1, "ratio_interval": (1, 1), "bytes": 1}
    measured = {
        "fp32": Candidate(ratio=1, beaten_by="int8", **timed),
        "fp16": Candidate(ratio=1.2, beaten_by="int8", **timed),
        "int8": Candidate(ratio=0.5, **timed),
        "int8_static": Candidate(ratio=0.7, beaten_by="int8", **timed),
    }
    why = {name: f"the search left it out: {measured[name].weakness}" for name in ("fp16", "int8_static")}
    search = Search(
        threads=1,
        provider="CPU",
        candidates=measured,
        winners={"fastest": "int8", "balanced": "int8"},
        left_out={"fp16": exact, "int8_static": int8},
    )
    found = {"search": search, "artifacts": {"fp32": exact, "int8": int8}, "default_precision": "int8"}
    found["not_made"] = {**why, "int4_weights": "no layer of it can be packed"}
    out = inspected(run, tmp_path, manifest.model_copy(update=found))
    assert max(map(len, out.splitlines())) <= 80
    rows = {line.split()[1]: " ".join(line.split()) for line in out.splitlines() if line.startswith("│")}
    assert rows["int8"].endswith(f"MB │ {_worst(int8)} │ −0.25 │ default, fastest, │")
    assert "balanced" in rows["│"]
    assert "left out" in rows["fp16"]
    assert "slower than fp32" in rows["fp16"]
    assert "beaten by int8" in rows["int8_static"]
    assert "beaten by int8" in rows["fp32"]
    assert "the search left it out" not in out
    assert "int4_weights: no layer of it can be packed" in out


def _worst(artifact: Artifact) -> str:
    return cosine(min(tower.worst_cosine or 0 for tower in (artifact.image, artifact.text)))


def test_inspect_says_the_main_figures_and_a_line_of_lineage(
    run: Call, exported: Path, tmp_path: Path
) -> None:
    manifest = read_manifest(exported)
    lineage = {"recipe": "quickstart", "git_revision": "ab" * 20, "versions": {"torch": "2"}, "seed": 0}
    told = {"results": bundle_results(small()), "lineage": lineage}
    out = inspected(run, tmp_path, manifest.model_copy(update=told)).replace("\u00a0", " ")
    assert "  quality   RSUM 494.1 on test, 97.1 % of the teacher’s\n" in out
    assert "  latency   2.09 ms at int8_static for an image and a text, 7.8 % of the teacher’s\n" in out
    assert out.endswith("  lineage   recipe quickstart, git revision abababababab, seed 0\n")
    assert "versions" not in out
    assert len(out.splitlines()) < 20
    broken = {"results": {"quality": [], "latency": {"pair": 1e400, "p50_ratio": "x"}, "split": {}}}
    assert "latency" not in inspected(run, tmp_path, manifest.model_copy(update=broken))


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
    code, out, _ = run("bundle", "pack", exported, archive)
    assert code == 0
    assert f"packed into {archive.stat().st_size / 1e6:.1f} MB, 7 files, " in out
    code, out, err = run("bundle", "pack", exported, archive)
    assert (code, out) == (2, "")
    assert err == f"{archive}: is there already; name a file that is not, or remove it first\n"
    told = json.loads(run("bundle", "pack", exported, tmp_path / "toy.zip", "--json")[1])
    assert told["archive_bytes"] == (tmp_path / "toy.zip").stat().st_size
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

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compressor.errors import BundleError
from compressor.runtime.bundle import Bundle
from compressor.runtime.manifest import read_manifest
from compressor.runtime.paths import is_plain, locate
from compressor.runtime.schema import FileEntry
from compressor.runtime.verify import bundle_at


def entry(path: str) -> FileEntry:
    return FileEntry(path=path, sha256="0" * 64, bytes=0)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / "bundle.json").read_text())
    change(content)
    (folder / "bundle.json").write_text(json.dumps(content))


def refused(folder: Path, why: str, **options: Any) -> None:
    with pytest.raises(BundleError, match=why) as caught:
        Bundle.open(folder, **options)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "there is no such folder")


def test_folder_that_is_no_bundle(tmp_path: Path) -> None:
    refused(tmp_path, r"not a bundle, it has no bundle\.json")


def test_the_manifests_own_path_is_not_the_bundle(folder: Path) -> None:
    refused(folder / "bundle.json", "no such folder; give the bundle's folder")


NO_MANIFESTS = [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b"null", b"{}", b'{"schema_version": true}']


@pytest.mark.parametrize("content", NO_MANIFESTS, ids=range(len(NO_MANIFESTS)))
def test_manifest_that_is_none(folder: Path, content: bytes) -> None:
    (folder / "bundle.json").write_bytes(content)
    refused(folder, "not valid JSON|not usable JSON|no schema_version")


def test_manifest_of_a_newer_version_says_how_to_upgrade(folder: Path) -> None:
    edit(folder, lambda content: content.update(schema_version=3, something_new=1))
    refused(folder, r"newer version \(schema 3, this one reads up to 2\); upgrade")


def test_manifest_of_the_first_version_opens(folder: Path) -> None:
    """It knew no licences, results, documents and calibration."""

    def downgrade(content: dict[str, Any]) -> None:
        content["schema_version"] = 1
        for name in ("licences", "results", "documents", "calibration"):
            del content[name]

    edit(folder, downgrade)
    opened = Bundle.open(folder, threads=1)
    opened.verify()
    assert opened.manifest.calibration is None
    with pytest.raises(BundleError, match="was not calibrated against a teacher"):
        opened.calibrated([0.5])


def test_what_the_system_does_not_let_read_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BundleError, match="cannot be read: File name too long"):
        Bundle.open(Path("x" * 300))
    with pytest.raises(BundleError, match="cannot be read: File name too long"):
        bundle_at(Path("x" * 300))

    def forbidden(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("compressor.runtime.manifest.sha256_file", forbidden)
    with pytest.raises(BundleError, match=r"cannot be read: Permission denied \(.*preprocess\.json\)"):
        Bundle.open(folder)
    monkeypatch.setattr("compressor.runtime.manifest.read_json", lambda path, strict: forbidden(path))
    with pytest.raises(BundleError, match=r"cannot be read: Permission denied \(.*bundle\.json\)"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda content: content.update(colour="red"), "colour: Extra inputs"),
        (lambda content: content.pop("embed_dim"), "embed_dim: Field required"),
        (lambda content: content["parameters"].pop("total"), "parameters: .* at least 3 items"),
        (
            lambda content: content.update(logit_scale=float("nan")),
            "NaN is no number in JSON",
        ),
        (lambda content: content["artifacts"]["fp32"]["image"].pop("file"), r"artifacts\.fp32\.image\.file"),
        (
            lambda content: content.update(default_precision="fp16"),
            r"'fp16' is not among its artifacts \(fp32, int8\)",
        ),
        (
            lambda content: content["preprocess"].update(path="fp32/image.onnx"),
            r"where preprocess\.json belongs",
        ),
        (
            lambda content: content["artifacts"]["int8"].update(runtime="abacus"),
            r"artifacts\.int8\.runtime: Input should be 'onnxruntime', 'openvino' or 'tensorrt'",
        ),
        (
            lambda content: content["artifacts"]["int8"].update(runtime="tensorrt"),
            r"says that 'int8/image\.onnx' of int8 runs in tensorrt, which does not read such files",
        ),
        (
            lambda content: (
                content["artifacts"]["int8"].update(runtime="openvino")
                or content["artifacts"]["int8"]["text"]["file"].update(path="int8/text.engine")
            ),
            r"says that 'int8/text\.engine' of int8 runs in openvino, which does not read such files",
        ),
    ],
)
def test_malformed_manifest_names_the_key(
    folder: Path, change: Callable[[dict[str, Any]], object], why: str
) -> None:
    edit(folder, change)
    refused(folder, why)


def test_manifest_that_does_not_say_what_runs_an_artifact_opens(folder: Path) -> None:
    """Graphs are for ONNX Runtime, engines for TensorRT."""

    def unsaid(content: dict[str, Any]) -> None:
        artifacts = content["artifacts"]
        artifacts["tensorrt_fp32"] = json.loads(json.dumps(artifacts["fp32"]).replace(".onnx", ".engine"))
        for artifact in artifacts.values():
            del artifact["runtime"], artifact["compute"]

    edit(folder, unsaid)
    manifest = Bundle.open(folder, threads=1).manifest
    assert {name: artifact.runtime for name, artifact in manifest.artifacts.items()} == {
        "fp32": "onnxruntime",
        "int8": "onnxruntime",
        "tensorrt_fp32": "tensorrt",
    }


@pytest.mark.parametrize("name", ["fp32/image.onnx", "fp32/text.onnx", "preprocess.json", "tokenizer.json"])
def test_changed_byte_is_found_on_opening(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    refused(folder, rf"'{name}' is not the file that was exported \(sha256 differs\)")


def test_truncated_file_is_found_even_without_hashes(folder: Path) -> None:
    content = (folder / "fp32/text.onnx").read_bytes()
    (folder / "fp32/text.onnx").write_bytes(content[:-1])
    refused(folder, f"has {len(content) - 1} bytes, bundle.json says {len(content)}", verify=False)


def test_missing_file_is_named(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    refused(folder, r"'tokenizer\.json' is missing; the bundle is incomplete")


def test_damage_to_another_precision_is_found_by_verify_alone(folder: Path) -> None:
    (folder / "int8/image.onnx").write_bytes(b"x" * (folder / "int8/image.onnx").stat().st_size)
    opened = Bundle.open(folder, threads=1)
    with pytest.raises(BundleError, match=r"'int8/image\.onnx' is not the file that was exported"):
        opened.verify()


def test_untouched_bundle_verifies(bundle: Bundle) -> None:
    bundle.verify()


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../outside.onnx",
        "fp32/../../outside.onnx",
        "..\\outside.onnx",
        "C:\\outside.onnx",
        "C:outside.onnx",
        "\\\\host\\share\\outside.onnx",
        "fp32/image\0.onnx",
        "./fp32/image.onnx",
        "fp32//image.onnx",
        "fp32/image.onnx/",
        "fp32/image.onnx:stream",
        "a" * 300,
    ],
)
def test_path_that_leaves_the_folder_is_refused(folder: Path, path: str) -> None:
    (folder.parent / "outside.onnx").write_bytes((folder / "fp32/image.onnx").read_bytes())
    edit(folder, lambda content: content["artifacts"]["fp32"]["image"]["file"].update(path=path))
    refused(folder, "which is not a path inside the bundle")


@pytest.mark.parametrize("target", ["outside.onnx", "bundle/real.onnx"])
def test_a_file_that_is_a_link_is_refused_wherever_it_leads(folder: Path, target: str) -> None:
    (folder / "fp32/image.onnx").rename(folder.parent / target)
    (folder / "fp32/image.onnx").symlink_to(folder.parent / target)
    refused(folder, r"'fp32/image\.onnx' is a symbolic link.*hf download REPOSITORY --local-dir FOLDER")


def test_a_folder_that_is_a_link_is_refused(folder: Path) -> None:
    (folder / "fp32").rename(folder.parent / "elsewhere")
    (folder / "fp32").symlink_to(folder.parent / "elsewhere")
    refused(folder, "'fp32' is a symbolic link")


def test_links_in_a_circle_are_refused(folder: Path) -> None:
    (folder / "fp32/image.onnx").unlink()
    (folder / "fp32/image.onnx").symlink_to("image.onnx")
    refused(folder, "is a symbolic link")


def test_a_manifest_that_is_a_link_is_refused(folder: Path) -> None:
    (folder / "bundle.json").rename(folder.parent / "bundle.json")
    (folder / "bundle.json").symlink_to(folder.parent / "bundle.json")
    refused(folder, r"'bundle\.json' is a symbolic link")


def test_a_pipe_is_no_file(folder: Path) -> None:
    (folder / "fp32/image.onnx").unlink()
    os.mkfifo(folder / "fp32/image.onnx")
    refused(folder, r"'fp32/image\.onnx' is missing")


def test_the_bundle_itself_may_be_reached_through_a_link(folder: Path) -> None:
    (folder.parent / "latest").symlink_to(folder)
    assert Bundle.open(folder.parent / "latest", threads=1).embed_dim


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"schema_version": 2, "schema_version": 1}', "key 'schema_version' stands twice"),
        ('{"schema_version": 1, "lineage": {"a": 1e999}}', "1e999 is no number"),
        ('{"schema_version": 1, "lineage": ' + "[" * 200 + "]" * 200 + "}", "nested more than 32 levels"),
        ('{"schema_version": 1' + "0" * 5000 + "}", "not usable JSON"),
        ('{"schema_version": 1' + " " * (17 << 20) + "}", "not a bundle's manifest, it has 178"),
    ],
    ids=["twice", "infinite", "deep", "huge number", "huge"],
)
def test_json_that_readers_disagree_about_is_refused(folder: Path, text: str, why: str) -> None:
    (folder / "bundle.json").write_text(text)
    refused(folder, why)


def image_file(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["artifacts"]["fp32"]["image"]["file"]
    return found


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda content: image_file(content).update(bytes=10**30), "bytes: "),
        (lambda content: image_file(content).update(bytes=-1), "bytes: "),
        (lambda content: image_file(content).update(sha256="0"), "sha256: "),
        (
            lambda content: image_file(content).update(path="tokenizer.json"),
            "'tokenizer.json' twice and diff",
        ),
        (lambda content: image_file(content).update(path="FP32/text.onnx"), "twice and differently"),
        (lambda content: image_file(content).update(path="fp32/image.ort"), r"ending in \.onnx or \.engine"),
        (lambda content: image_file(content).update(path="bundle.json"), "lists itself"),
        (lambda content: content.update(embed_dim=10**400), "embed_dim: |wide|says 10000"),
        (lambda content: content.update(calibration={"teacher": [1]}), "calibration"),
    ],
)
def test_entries_that_no_exporter_writes_are_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], why: str
) -> None:
    edit(folder, change)
    refused(folder, why)


def test_bundle_opens_by_a_relative_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    opened = Bundle.open(".", threads=1)
    opened.verify()


parts = st.sampled_from(
    ["..", ".", "", "a", "b.onnx", "C:", "/", "\\", "~", "\0", "in", "out", "é", "a" * 300]
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(parts | st.text(max_size=8), max_size=6), separator=st.sampled_from("//\\"))
def test_no_path_reaches_a_file_outside(tmp_path: Path, names: list[str], separator: str) -> None:
    """Whatever a manifest names, what is located lies inside; everything else is a `BundleError`."""
    path = separator.join(names)
    root = tmp_path / "in"
    (root / "a").mkdir(parents=True, exist_ok=True)
    for file in (tmp_path / "b.onnx", root / "b.onnx", root / "a" / "b.onnx"):
        file.touch()
    if not (root / "out").is_symlink():
        (root / "out").symlink_to(tmp_path)
    try:
        found = locate(root, entry(path))
    except BundleError:
        return
    assert os.path.commonpath([found, root.resolve()]) == str(root.resolve())
    assert found.is_file()
    assert not found.is_symlink()
    assert is_plain(path)


def test_manifest_of_the_writer_is_read_back(exported: Path) -> None:
    assert read_manifest(exported).role == "student"

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, numpy_helper

from compressor.errors import BundleError, CompressorError, ModelError
from compressor.runtime.bundle import Bundle
from compressor.runtime.verify import bundle_at, verify_bundle
from tests.runtime.tampering import edit, replace


def refused(folder: Path, why: str) -> None:
    """By the command and, where the file is one that is opened, on opening."""
    with pytest.raises(BundleError, match=why) as caught:
        verify_bundle(folder)
    assert "\n" not in str(caught.value)


def test_a_whole_bundle_is_counted(exported: Path) -> None:
    found = verify_bundle(exported)
    files = [path for path in exported.rglob("*") if path.is_file()]
    assert found.files == len(files)
    assert found.bytes == sum(path.stat().st_size for path in files)
    assert found.manifest.name == "toy"


def test_a_file_that_is_not_listed_is_refused(folder: Path) -> None:
    (folder / "fp32" / "extra.so").write_bytes(b"")
    refused(folder, r"holds 'fp32/extra\.so', which bundle\.json does not list")


def test_links_that_are_not_listed_are_refused(folder: Path) -> None:
    (folder / "home").symlink_to("/")
    refused(folder, "holds 'home', which")


def test_what_a_hub_adds_is_no_part_of_the_bundle(folder: Path) -> None:
    for name in (".gitattributes", "README.md", ".cache/huggingface/download/x.lock", ".git/config"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("from the hub")
    verify_bundle(folder)


def test_a_tensor_of_terabytes_is_refused_before_it_is_loaded(folder: Path) -> None:
    graph = onnx.load(folder / "fp32/image.onnx")
    graph.graph.initializer[0].dims[:] = [2**40]
    replace(folder, "fp32/image.onnx", graph.SerializeToString())
    refused(folder, r"'fp32/image\.onnx' declares the tensor .* and holds .*; it was not loaded")
    with pytest.raises(BundleError, match="declares the tensor"):
        Bundle.open(folder, verify=False)


def test_weights_in_a_file_outside_are_refused(folder: Path) -> None:
    graph = onnx.load(folder / "fp32/image.onnx")
    tensor = graph.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")
    replace(folder, "fp32/image.onnx", graph.SerializeToString())
    with pytest.raises(BundleError, match=r"from '\.\./\.\./\.\./\.\./etc/passwd', which is not its weights"):
        Bundle.open(folder)
    refused(folder, "is not its weights file in the bundle")


def test_weights_in_another_file_of_the_folder_that_is_not_listed_are_refused(folder: Path) -> None:
    graph = onnx.load(folder / "fp32/image.onnx")
    tensor = graph.graph.initializer[0]
    (folder / "fp32/unlisted").write_bytes(numpy_helper.to_array(tensor).tobytes())
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="unlisted")
    replace(folder, "fp32/image.onnx", graph.SerializeToString())
    with pytest.raises(BundleError, match="from 'unlisted', which is not its weights file"):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["preprocess.json", "tokenizer.json"])
@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"schema_version": 1}', b"[" * 100_000, b"\xff" * 100])
def test_other_files_that_are_nonsense_are_refused_in_a_sentence(
    folder: Path, name: str, data: bytes
) -> None:
    replace(folder, name, data)
    with pytest.raises(CompressorError, match=r".") as caught:
        Bundle.open(folder)
    assert "\n" not in str(caught.value)


def test_pictures_of_any_size_cannot_be_asked_for(folder: Path) -> None:
    text = (folder / "preprocess.json").read_text().replace('"size": 32', '"size": 1000000')
    replace(folder, "preprocess.json", text.encode())
    with pytest.raises(ModelError, match=r"size: Input should be less than or equal to 4096"):
        Bundle.open(folder)


def test_an_edited_card_is_seen_by_verify_and_not_by_opening(folder: Path) -> None:
    (folder / "README.md").write_text("a card")
    entry = {"path": "README.md", "sha256": "0" * 64, "bytes": 6}
    edit(folder, lambda content: content.update(documents=[entry]))
    refused(folder, r"'README\.md' is not the file that was exported")
    assert Bundle.open(folder, threads=1).embed_dim


def test_the_bundle_of_a_run_folder_is_found(folder: Path) -> None:
    assert bundle_at(folder.parent) == folder
    assert bundle_at(folder) == folder
    assert bundle_at(folder / "fp32") == folder / "fp32"

"""Stored embeddings: every layout, matched by id, checked before anything trains on them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from compressor.data.pairs import Row
from compressor.errors import CompressorError, DataError, MissingResourceError, ModelError
from compressor.recipe.teacher import EmbeddingsTeacher
from compressor.teachers.embeddings import StoredEmbeddings

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(4, 6)).astype(np.float32)
TEXT = RNG.normal(size=(8, 6)).astype(np.float32)


def rows(ids: str = "abcd", numbered: bool = False) -> list[Row]:
    made = []
    for k, name in enumerate(ids):
        captions = (f"{name} one", f"{name} two")
        caption_ids = (str(2 * k), str(2 * k + 1)) if numbered else (f"{name}#0", f"{name}#1")
        made.append(Row(name, captions, caption_ids))
    return made


def write(path: Path, image: Any = IMAGE, text: Any = TEXT, **metadata: list[str]) -> EmbeddingsTeacher:
    tensors = {"image_embeds": torch.as_tensor(image), "text_embeds": torch.as_tensor(text)}
    save_file(tensors, path / "e.safetensors", {key: json.dumps(value) for key, value in metadata.items()})
    return EmbeddingsTeacher(kind="embeddings", path=path / "e.safetensors")


def unit(values: np.ndarray) -> np.ndarray:
    return np.stack([row / np.sqrt(sum(float(x) ** 2 for x in row)) for row in values])


TEXT_IDS = [f"{name}#{k}" for name in "abcd" for k in range(2)]


def test_rows_are_found_by_the_ids_in_the_file(tmp_path: Path) -> None:
    image_ids, text_ids = ["d", "b", "a", "c"], TEXT_IDS[::-1]
    stored = StoredEmbeddings.open(write(tmp_path, image_ids=image_ids, text_ids=text_ids), rows())
    assert stored.dim == 6
    np.testing.assert_allclose(stored.image(["a", "d", "a"]), unit(IMAGE[[2, 0, 2]]), rtol=1e-5)
    np.testing.assert_allclose(stored.text(["a#0", "d#1"]), unit(TEXT[[7, 0]]), rtol=1e-5)
    assert stored.image(["a"]).dtype == np.float32


def test_a_subset_of_the_file_is_enough(tmp_path: Path) -> None:
    section = write(tmp_path, image_ids=list("abcd"), text_ids=TEXT_IDS)
    np.testing.assert_allclose(
        StoredEmbeddings.open(section, rows()[2:]).image(["c"]), unit(IMAGE[2:3]), rtol=1e-5
    )


def test_captions_follow_their_sentence_number(tmp_path: Path) -> None:
    section = write(tmp_path, image_filenames=list("dcba"))
    stored = StoredEmbeddings.open(section, rows(numbered=True)[1:3])
    np.testing.assert_allclose(stored.image(["b"]), unit(IMAGE[2:3]), rtol=1e-5)
    np.testing.assert_allclose(stored.text(["2", "5"]), unit(TEXT[[2, 5]]), rtol=1e-5)


def test_captions_run_image_by_image_where_they_have_no_numbers(tmp_path: Path) -> None:
    section = write(tmp_path, image_filenames=list("dcba"))
    stored = StoredEmbeddings.open(section, rows())
    np.testing.assert_allclose(stored.text(["d#1", "a#0"]), unit(TEXT[[1, 6]]), rtol=1e-5)
    part = StoredEmbeddings.open(section, rows()[:1])
    np.testing.assert_allclose(part.text(["a#0"]), unit(TEXT[6:7]), rtol=1e-5)


def test_unequal_numbers_of_captions_are_counted_when_all_images_are_known(tmp_path: Path) -> None:
    uneven = [Row("a", ("x",), ("a#0",)), Row("b", ("x", "y", "z"), ("b#0", "b#1", "b#2"))]
    section = write(tmp_path, IMAGE[:2], TEXT[:4], image_filenames=["b", "a"])
    stored = StoredEmbeddings.open(section, uneven)
    np.testing.assert_allclose(stored.text(["a#0", "b#2"]), unit(TEXT[[3, 2]]), rtol=1e-5)
    section = write(tmp_path, IMAGE[:3], TEXT[:4], image_filenames=["b", "a", "c"])
    with pytest.raises(DataError, match="cannot be told; add metadata text_ids"):
        StoredEmbeddings.open(section, uneven)


def test_file_names_match_paths_when_they_are_unambiguous(tmp_path: Path) -> None:
    section = write(tmp_path, image_ids=[f"val/{name}" for name in "abcd"], text_ids=TEXT_IDS)
    np.testing.assert_allclose(
        StoredEmbeddings.open(section, rows()).image(["b"]), unit(IMAGE[1:2]), rtol=1e-5
    )
    section = write(tmp_path, image_ids=["x/a", "y/a", "x/c", "x/d"], text_ids=TEXT_IDS)
    with pytest.raises(DataError, match="no image embedding for 4 of 4"):
        StoredEmbeddings.open(section, rows())


def test_without_ids_the_order_of_the_data_counts_if_the_counts_agree(tmp_path: Path) -> None:
    section = write(tmp_path)
    np.testing.assert_allclose(
        StoredEmbeddings.open(section, rows("wxyz")).image(["y"]), unit(IMAGE[2:3]), rtol=1e-5
    )
    with pytest.raises(DataError, match=r"names no image ids and has 4 image rows, the data set 3"):
        StoredEmbeddings.open(section, rows("xyz"))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_type_is_read(tmp_path: Path, kind: torch.dtype) -> None:
    image, text = torch.from_numpy(IMAGE).to(kind), torch.from_numpy(TEXT).to(kind)
    section = write(tmp_path, image, text, image_ids=list("abcd"), text_ids=TEXT_IDS)
    found = StoredEmbeddings.open(section, rows()).image(list("abcd"))
    np.testing.assert_allclose(found, unit(image.double().numpy()), rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-6, 6e4), st.integers(0, 2**31))
def test_rows_come_back_with_unit_length_whatever_their_scale(scale: float, seed: int) -> None:
    from compressor.teachers.embeddings import _unit

    values = (np.random.default_rng(seed).normal(size=(3, 5)) * scale).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(_unit(values).astype(np.float64), axis=1), 1, rtol=1e-5)


def test_numpy_files_with_a_list_of_ids_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "image_embeds.npy", IMAGE)
    np.save(tmp_path / "text_embeds.npy", TEXT.astype(np.float16))
    (tmp_path / "ids.json").write_text(json.dumps({"image_ids": [*"dcba"], "text_ids": TEXT_IDS}))
    section = EmbeddingsTeacher(kind="embeddings", path=tmp_path)
    stored = StoredEmbeddings.open(section, rows())
    np.testing.assert_allclose(stored.image(["a"]), unit(IMAGE[3:]), rtol=1e-5)
    np.testing.assert_allclose(stored.text(["b#1"]), unit(TEXT[3:4].astype(np.float16)), rtol=1e-3)


def test_a_pickled_numpy_file_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "image_embeds.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "text_embeds.npy", TEXT)
    with pytest.raises(ModelError, match=r"image_embeds\.npy is not a readable NumPy array"):
        StoredEmbeddings.open(EmbeddingsTeacher(kind="embeddings", path=tmp_path), rows())
    (tmp_path / "image_embeds.npy").write_bytes(b"PK\x03\x04 a broken archive")
    with pytest.raises(ModelError, match=r"image_embeds\.npy is not a readable NumPy array"):
        StoredEmbeddings.open(EmbeddingsTeacher(kind="embeddings", path=tmp_path), rows())


@pytest.mark.parametrize(
    ("value", "fault"), [(np.nan, "NaN or infinite"), (np.inf, "NaN or infinite"), (0.0, "only zeros")]
)
def test_a_row_without_a_direction_is_refused_by_name(tmp_path: Path, value: float, fault: str) -> None:
    text = TEXT.copy()
    text[5] = value
    section = write(tmp_path, text=text, image_ids=list("abcd"), text_ids=TEXT_IDS)
    with pytest.raises(ModelError, match=f"the text embedding of 'c#1' has {fault}"):
        StoredEmbeddings.open(section, rows())
    StoredEmbeddings.open(section, rows()[:2])  # rows that nobody uses are nobody's business


def test_missing_ids_are_counted_and_the_first_three_named(tmp_path: Path) -> None:
    section = write(tmp_path, image_ids=list("abcd"), text_ids=TEXT_IDS)
    with pytest.raises(
        DataError, match=r"no image embedding for 4 of 8 ids of the data set, the first: 'e', 'f', 'g'$"
    ):
        StoredEmbeddings.open(section, rows("abcdefgh"))
    stored = StoredEmbeddings.open(section, rows())
    with pytest.raises(DataError, match="'zz'"):
        stored.text(["a#0", "zz"])


def test_sentence_numbers_beyond_the_file_are_missing_ids(tmp_path: Path) -> None:
    section = write(tmp_path, text=TEXT[:6], image_filenames=list("abcd"))
    with pytest.raises(DataError, match=r"no text embedding for 2 of 8 .* '6', '7'"):
        StoredEmbeddings.open(section, rows(numbered=True))


def test_ids_that_occur_twice_or_are_too_few_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="image id 'a' stands at rows 0 and 2"):
        StoredEmbeddings.open(write(tmp_path, image_ids=list("abac"), text_ids=TEXT_IDS), rows())
    with pytest.raises(DataError, match="3 image ids for 4 image rows"):
        StoredEmbeddings.open(write(tmp_path, image_ids=list("abc"), text_ids=TEXT_IDS), rows())


@pytest.mark.parametrize(
    ("image", "text", "sentence"),
    [
        (IMAGE, TEXT[:, :4].copy(), "6 wide and text embeddings 4"),
        (IMAGE[0], TEXT, r"image_embeds has shape \(6,\)"),
        (IMAGE.astype(np.int32), TEXT, "holds I32 values"),
    ],
)
def test_another_shape_or_type_is_refused(tmp_path: Path, image: Any, text: Any, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        StoredEmbeddings.open(write(tmp_path, image, text), rows())


def test_a_missing_damaged_or_foreign_file_is_one_sentence(tmp_path: Path) -> None:
    section = write(tmp_path)
    path = section.path
    whole = path.read_bytes()
    for content in (whole[:-4], b"", b"x" * 100):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="not a whole safetensors file"):
            StoredEmbeddings.open(section, rows())
    save_file({"image_embeds": torch.zeros(1, 2)}, path)
    with pytest.raises(ModelError, match="no tensor text_embeds; it has image_embeds"):
        StoredEmbeddings.open(section, rows())
    path.unlink()
    with pytest.raises(MissingResourceError, match="are not at"):
        StoredEmbeddings.open(section, rows())
    with pytest.raises(MissingResourceError, match=r"lacks image_embeds\.npy, text_embeds\.npy"):
        StoredEmbeddings.open(EmbeddingsTeacher(kind="embeddings", path=tmp_path), rows())


def test_metadata_that_is_no_list_is_refused(tmp_path: Path) -> None:
    tensors = {"image_embeds": torch.from_numpy(IMAGE), "text_embeds": torch.from_numpy(TEXT)}
    for value in ("{not json", '{"a": 1}', "[[1]]", "[" * 200_000, "[" + "9" * 6_000 + "]"):
        save_file(tensors, tmp_path / "e.safetensors", {"image_ids": value})
        with pytest.raises(CompressorError, match="metadata image_ids"):
            StoredEmbeddings.open(
                EmbeddingsTeacher(kind="embeddings", path=tmp_path / "e.safetensors"), rows()
            )


def test_the_fingerprint_follows_content_and_matching(tmp_path: Path) -> None:
    def fingerprint(image: Any = IMAGE, ids: str = "abcd") -> str:
        return StoredEmbeddings.open(
            write(tmp_path, image, image_ids=list(ids), text_ids=TEXT_IDS), rows()
        ).fingerprint

    first = fingerprint()
    assert fingerprint() == first
    assert fingerprint(ids="dcba") != first
    assert fingerprint(image=IMAGE + 1e-3) != first


def test_reading_embeddings_needs_no_torch() -> None:
    code = (
        "import sys, compressor.teachers.embeddings; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'open_clip')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

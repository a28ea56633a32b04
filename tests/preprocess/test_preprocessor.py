"""One object holds the whole preprocessing, and survives saving and loading unchanged."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compressor.errors import BadImageError, MissingResourceError, ModelError
from compressor.preprocess import ImageSpec, Preprocessor, TextSpec
from compressor.preprocess.tokenizers import train_bpe

IMAGE = ImageSpec(size=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


@pytest.fixture
def preprocessor() -> Preprocessor:
    tokenizer, text = train_bpe(["a red square", "a blue circle"], 300, 12)
    return Preprocessor(IMAGE, text, tokenizer)


def png(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 30), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_images_become_normalised_pixels(preprocessor: Preprocessor) -> None:
    pixels = preprocessor.images([png((255, 0, 51)), Image.new("RGB", (40, 17), (0, 0, 0))])
    assert pixels.shape == (2, 3, 16, 16)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(
        pixels[0, :, 3, 4], [(1 - 0.5) / 0.2, -0.4 / 0.3, (0.2 - 0.3) / 0.4], rtol=1e-5
    )


def test_texts_become_rows_of_one_length(preprocessor: Preprocessor) -> None:
    rows = preprocessor.texts(["A  RED square", "a red square", "", "long " * 10_000, "😀 中文 \ud800"])
    assert rows.shape == (5, 12)
    assert rows.dtype == np.int64
    np.testing.assert_array_equal(rows[0], rows[1])


def test_nothing_in_gives_empty_arrays(preprocessor: Preprocessor) -> None:
    assert preprocessor.images([]).shape == (0, 3, 16, 16)
    assert preprocessor.texts([]).shape == (0, 12)


def test_one_string_is_not_a_list_of_strings(preprocessor: Preprocessor) -> None:
    with pytest.raises(TypeError, match="sequence"):
        preprocessor.texts("a red square")


def test_a_bad_image_is_refused(preprocessor: Preprocessor) -> None:
    with pytest.raises(BadImageError):
        preprocessor.images([png((1, 2, 3)), b"no image"])


def test_saved_and_loaded_it_is_the_same(preprocessor: Preprocessor, tmp_path: Path) -> None:
    preprocessor.save(tmp_path / "model")
    again = Preprocessor.load(tmp_path / "model")
    assert again.fingerprint == preprocessor.fingerprint
    assert (again.image, again.text) == (preprocessor.image, preprocessor.text)
    np.testing.assert_array_equal(again.texts(["a red circle"]), preprocessor.texts(["a red circle"]))
    assert json.loads((tmp_path / "model" / "preprocess.json").read_text())["schema_version"] == 1


def test_the_fingerprint_changes_with_every_part(preprocessor: Preprocessor) -> None:
    tokenizer, text = preprocessor.tokenizer, preprocessor.text
    other_tokenizer, other_text = train_bpe(["something else entirely"], 300, 12)
    others = [
        Preprocessor(IMAGE.model_copy(update={"size": 17}), text, tokenizer),
        Preprocessor(IMAGE.model_copy(update={"interpolation": "bilinear"}), text, tokenizer),
        Preprocessor(IMAGE.model_copy(update={"mean": (0.5, 0.4, 0.31)}), text, tokenizer),
        Preprocessor(IMAGE, text.model_copy(update={"clean": "none"}), tokenizer),
        Preprocessor(IMAGE, other_text, other_tokenizer),
    ]
    assert len({preprocessor.fingerprint, *(other.fingerprint for other in others)}) == 6
    assert Preprocessor(IMAGE, text, tokenizer).fingerprint == preprocessor.fingerprint


def test_specification_and_tokenizer_must_agree(preprocessor: Preprocessor) -> None:
    with pytest.raises(ModelError, match="13 tokens"):
        Preprocessor(IMAGE, TextSpec(context_length=13), preprocessor.tokenizer)


def test_missing_files_are_named(preprocessor: Preprocessor, tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match=r"preprocess\.json"):
        Preprocessor.load(tmp_path)
    preprocessor.save(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(MissingResourceError, match=r"tokenizer\.json"):
        Preprocessor.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "newer"),
        ({"image": {"size": 16}}, r"image\.mean"),
        ({"extra": 1}, "extra"),
        ({"image": {"size": 16, "mean": [0, 0, 0], "std": [1, 0, 1]}}, "above zero"),
    ],
)
def test_damaged_specifications_are_refused(
    preprocessor: Preprocessor, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    preprocessor.save(tmp_path)
    path = tmp_path / "preprocess.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=message):
        Preprocessor.load(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "null", "3"])
def test_what_is_no_specification_is_refused(
    preprocessor: Preprocessor, tmp_path: Path, content: str
) -> None:
    preprocessor.save(tmp_path)
    (tmp_path / "preprocess.json").write_text(content)
    with pytest.raises(ModelError, match=r"preprocess\.json"):
        Preprocessor.load(tmp_path)


def test_preprocessing_and_readers_import_without_torch() -> None:
    script = (
        "import sys\n"
        "import compressor.preprocess.tokenizers, compressor.preprocess.preprocessor, compressor.data\n"
        "from compressor.data import karpathy, coco, table, folder, huggingface, webdataset\n"
        "from compressor.preprocess.tokenizers import clip_tokenizer\n"
        "clip_tokenizer(77)\n"
        "heavy = {'torch', 'torchvision', 'transformers', 'open_clip', 'datasets'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    result = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from compressor.errors import BadImageError, BundleError, ModelError
from compressor.export.pytorch import encode_in_batches
from compressor.runtime.bundle import Bundle
from tests.export.toys import WIDTH, captions, pictures, toy_model


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def test_bundle_gives_what_pytorch_gives_through_the_same_preprocessing(bundle: Bundle) -> None:
    model = toy_model()
    files = [png(image) for image in pictures(7)]
    images, texts = encode_in_batches(model.encoder, model.preprocessor, files, captions()[:9])
    np.testing.assert_allclose(bundle.encode_images(files), images, atol=1e-4)
    np.testing.assert_allclose(bundle.encode_texts(captions()[:9]), texts, atol=1e-4)
    assert bundle.preprocessor.fingerprint == model.preprocessor.fingerprint


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=40))
def test_any_string_gives_pytorchs_embedding(bundle: Bundle, text: str) -> None:
    model = toy_model()
    _, expected = encode_in_batches(model.encoder, model.preprocessor, [], [text])
    np.testing.assert_allclose(bundle.encode_texts([text]), expected, atol=1e-4)


def test_embeddings_are_unit_float32_rows_of_the_promised_width(bundle: Bundle) -> None:
    for rows in (bundle.encode_images(pictures(3)), bundle.encode_texts(["a", "", "🐕 " * 3000])):
        assert rows.dtype == np.float32
        assert rows.shape == (3, bundle.embed_dim) == (3, WIDTH)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_options_of_memory_and_decoding_reach_the_towers_and_the_decoder(exported: Path) -> None:
    bundle = Bundle.open(exported, threads=1, low_memory=True, fast_decode=True)
    for tower in (bundle.image_tower, bundle.text_tower):
        assert not tower._session.get_session_options().enable_cpu_mem_arena  # type: ignore[attr-defined]
    assert bundle.preprocessor.fast_decode
    usual = Bundle.open(exported, threads=1)
    assert usual.image_tower._session.get_session_options().enable_cpu_mem_arena  # type: ignore[attr-defined]
    assert not usual.preprocessor.fast_decode
    files = [png(image) for image in pictures(3)]
    np.testing.assert_array_equal(bundle.encode_images(files), usual.encode_images(files))


def test_batch_size_changes_nothing(bundle: Bundle) -> None:
    images, texts = pictures(11), captions()[:11]
    for size in (1, 4, 11, 100):
        np.testing.assert_allclose(
            bundle.encode_images(images, size), bundle.encode_images(images), atol=1e-6
        )
        np.testing.assert_allclose(bundle.encode_texts(texts, size), bundle.encode_texts(texts), atol=1e-6)


def test_batches_are_as_large_as_asked_for(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = bundle.image_tower.run
    monkeypatch.setattr(bundle.image_tower, "run", lambda rows: seen.append(len(rows)) or real(rows))
    bundle.encode_images(pictures(70))
    assert seen == [32, 32, 6]


def test_nothing_gives_no_rows(bundle: Bundle) -> None:
    assert bundle.encode_images([]).shape == bundle.encode_texts([]).shape == (0, WIDTH)
    assert bundle.encode_images([]).dtype == np.float32


def test_bad_image_is_named_by_its_index_in_the_whole_list(bundle: Bundle) -> None:
    images: list[bytes | Image.Image] = list(pictures(9))
    images[6] = b"no image"
    with pytest.raises(BadImageError, match=r"^image 6: .+") as caught:
        bundle.encode_images(images, batch_size=4)
    assert caught.value.reason.startswith("image 6: ")


@pytest.mark.parametrize("single", ["a dog", b"bytes", Image.new("RGB", (8, 8))])
def test_single_item_instead_of_a_list_is_a_type_error(bundle: Bundle, single: object) -> None:
    with pytest.raises(TypeError, match="put a single one into a list"):
        (bundle.encode_texts if isinstance(single, str) else bundle.encode_images)(single)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("function", "given", "sentence"),
    [
        (
            "encode_images",
            "x",
            "encode_images takes a list of bytes or PIL images, not str; read files first",
        ),
        (
            "encode_images",
            ["x"],
            "encode_images takes a list of bytes or PIL images, not a list with str in it",
        ),
        ("encode_images", [None], "not a list with NoneType in it"),
        ("encode_images", Path("x.png"), "not PosixPath; read files first"),
        ("encode_texts", [1], "encode_texts takes a list of strings, not a list with int in it"),
        ("encode_texts", 7, "encode_texts takes a list of strings, not int"),
    ],
)
def test_what_is_no_list_of_the_right_things_is_a_type_error(
    bundle: Bundle, function: str, given: object, sentence: str
) -> None:
    with pytest.raises(TypeError) as raised:
        getattr(bundle, function)(given)
    assert sentence in str(raised.value)


@pytest.mark.parametrize("size", [0, -1])
def test_batch_size_below_one_is_a_value_error(bundle: Bundle, size: int) -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        bundle.encode_images(pictures(2), batch_size=size)


def test_ready_tensors_are_checked(bundle: Bundle) -> None:
    with pytest.raises(ModelError, match="pixel_values must be"):
        bundle.run_images(np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(ModelError, match="input_ids must be"):
        bundle.run_texts(np.zeros((1, 12), np.int32))  # type: ignore[arg-type]


def test_several_threads_share_one_bundle(bundle: Bundle) -> None:
    images = pictures(16)
    expected = bundle.encode_images(images)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: bundle.encode_images([image])[0], images * 4))
    np.testing.assert_allclose(np.stack(found), np.tile(expected, (4, 1)), atol=1e-5)


def test_int8_embeddings_do_not_depend_on_what_is_embedded_beside_them(exported: Path) -> None:
    int8 = Bundle.open(exported, precision="int8", threads=1)
    images, texts = pictures(8), [f"a star {n}" for n in range(8)]
    assert int8.rows_alone
    for k in (0, 5):
        np.testing.assert_array_equal(int8.encode_images(images)[k], int8.encode_images([images[k]])[0])
        np.testing.assert_array_equal(int8.encode_texts(texts)[k], int8.encode_texts([texts[k]])[0])
    assert not Bundle.open(exported, precision="fp32", threads=1).rows_alone


def test_default_precision_is_the_manifests(exported: Path, bundle: Bundle) -> None:
    assert bundle.precision == bundle.manifest.default_precision == "fp32"
    assert bundle.artifact.status == "passed"
    int8 = Bundle.open(exported, precision="int8", threads=1)
    assert int8.precision == "int8"
    close = (int8.encode_images(pictures(8)) * bundle.encode_images(pictures(8))).sum(axis=1)
    assert 0.99 < close.min() < 1


def test_missing_precision_lists_those_there(exported: Path) -> None:
    with pytest.raises(BundleError, match="has no precision 'fp16'; it has fp32, int8"):
        Bundle.open(exported, precision="fp16")


def mark(folder: Path, **changes: object) -> None:
    content = json.loads((folder / "bundle.json").read_text())
    content["artifacts"]["int8"].update(status="failed", reason="image tower: mean cosine 0.4")
    content.update(changes)
    (folder / "bundle.json").write_text(json.dumps(content))


def test_failed_precision_is_refused_unless_asked_for(folder: Path) -> None:
    mark(folder)
    with pytest.raises(
        BundleError,
        match=r"'int8' failed its parity gate \(image tower: mean cosine 0\.4\); choose another \(fp32\), or",
    ) as caught:
        Bundle.open(folder, precision="int8")
    assert "(failed)" not in str(caught.value), "what failed is no choice"
    assert Bundle.open(folder, precision="int8", allow_failed=True).precision == "int8"
    assert Bundle.open(folder).precision == "fp32"


def test_precision_that_could_not_be_made_says_why(folder: Path) -> None:
    mark(folder, not_made={"fp16": "no such operator"})
    with pytest.raises(BundleError, match=r"no precision 'fp16' \(no such operator\)"):
        Bundle.open(folder, precision="fp16")


def test_towers_that_do_not_fit_the_manifest_are_refused(folder: Path) -> None:
    mark(folder, embed_dim=WIDTH + 1)
    with pytest.raises(BundleError, match=f"gives width {WIDTH}, but .* the manifest says {WIDTH + 1}"):
        Bundle.open(folder)


def test_logit_scale_is_the_models(bundle: Bundle) -> None:
    assert bundle.logit_scale == pytest.approx(np.exp(3.0))
    assert bundle.logit_bias is None

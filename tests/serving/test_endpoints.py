"""What goes in over HTTP comes out as the runtime gives it."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from compressor.runtime import Bundle
from serving.app import App
from serving.keys import Keys
from tests.serving.conftest import Ask


def data_url(file: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(file).decode()


def rows(answer: Any) -> np.ndarray:
    return np.array([result["embedding"] for result in answer.json()["results"]], np.float32)


def unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def test_texts_are_encoded_as_by_the_runtime(ask: Ask, bundle: Bundle) -> None:
    texts = ["a red circle", "ein blauer Stern 🌟"]
    answer = ask("POST", "/encode/text", json={"texts": texts})
    assert answer.status_code == 200
    assert (answer.json()["model"], answer.json()["dimensions"]) == ("toy", bundle.embed_dim)
    np.testing.assert_allclose(rows(answer), bundle.encode_texts(texts), atol=1e-5)


def test_pictures_are_encoded_however_they_are_sent(ask: Ask, bundle: Bundle, files: list[bytes]) -> None:
    expected = bundle.encode_images(files[:2])
    raw = ask("POST", "/encode/image", content=files[0], headers={"Content-Type": "image/png"})
    plain = base64.b64encode(files[1]).decode()
    listed = ask("POST", "/encode/image", json={"images": [data_url(files[0]), plain]})
    form = ask("POST", "/encode/image", files=[("images", ("a.png", file)) for file in files[:2]])
    np.testing.assert_allclose(rows(raw), expected[:1], atol=1e-5)
    np.testing.assert_allclose(rows(listed), expected, atol=1e-5)
    np.testing.assert_allclose(rows(form), expected, atol=1e-5)


def test_embeddings_come_as_base64_and_as_bytes(ask: Ask, bundle: Bundle) -> None:
    expected = bundle.encode_texts(["a", "b"])
    coded = ask("POST", "/encode/text", json={"texts": ["a", "b"], "encoding_format": "base64"})
    octets = ask(
        "POST", "/encode/text", json={"texts": ["a", "b"]}, headers={"Accept": "application/octet-stream"}
    )
    found = [unpacked(result["embedding"]) for result in coded.json()["results"]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert octets.headers["X-Shape"] == f"2,{bundle.embed_dim}"
    np.testing.assert_allclose(np.frombuffer(octets.content, "<f4").reshape(2, -1), expected, atol=1e-6)


def test_a_damaged_picture_has_an_error_in_its_place_and_its_neighbours_their_rows(
    ask: Ask, bundle: Bundle, files: list[bytes]
) -> None:
    sent = [data_url(files[0]), data_url(files[1][:60]), "???", data_url(b"no picture"), data_url(files[2])]
    answer = ask("POST", "/encode/image", json={"images": sent})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result.get("error", {}).get("code") for result in results] == [
        None,
        "bad_image",
        "bad_image",
        "unknown_image_format",
        None,
    ]
    found = np.array([results[k]["embedding"] for k in (0, 4)])
    np.testing.assert_allclose(found, bundle.encode_images([files[0], files[2]]), atol=1e-5)
    strict = ask(
        "POST", "/encode/image", json={"images": sent}, headers={"Accept": "application/octet-stream"}
    )
    assert (strict.status_code, strict.json()["error"]["param"]) == (400, "images[1]")


def test_openai_embeddings_of_texts_and_pictures(ask: Ask, bundle: Bundle, files: list[bytes]) -> None:
    sent = ["a red circle", data_url(files[0]), "a blue star"]
    answer = ask("POST", "/v1/embeddings", json={"input": sent, "model": "toy", "encoding_format": "base64"})
    body = answer.json()
    assert (body["object"], body["model"]) == ("list", "toy")
    assert [(item["object"], item["index"]) for item in body["data"]] == [("embedding", k) for k in range(3)]
    texts, images = bundle.encode_texts([sent[0], sent[2]]), bundle.encode_images(files[:1])
    found = np.array([unpacked(item["embedding"]) for item in body["data"]])
    np.testing.assert_allclose(found, np.stack([texts[0], images[0], texts[1]]), atol=1e-5)
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 4
    single = ask("POST", "/v1/embeddings", json={"input": sent[0]})
    np.testing.assert_allclose(single.json()["data"][0]["embedding"], texts[0], atol=1e-5)


def test_embeddings_are_not_cut_short(ask: Ask, bundle: Bundle) -> None:
    whole = ask("POST", "/v1/embeddings", json={"input": "a", "dimensions": bundle.embed_dim})
    short = ask("POST", "/v1/embeddings", json={"input": "a", "dimensions": 2})
    assert whole.status_code == 200
    assert (short.status_code, short.json()["error"]["param"]) == (422, "dimensions")


def test_rank_texts_for_a_picture(ask: Ask, bundle: Bundle, files: list[bytes]) -> None:
    texts = ["a red circle", "a blue star", "a green square"]
    results = ask("POST", "/rank", json={"image": data_url(files[0]), "texts": texts}).json()["results"]
    cosines = (bundle.encode_texts(texts) @ bundle.encode_images(files[:1])[0]).astype(np.float64)
    logits = bundle.logit_scale * cosines
    expected = np.exp(logits) / np.exp(logits).sum()
    assert [result["index"] for result in results] == list(np.argsort(-cosines))
    for result in results:
        assert result["cosine"] == pytest.approx(cosines[result["index"]], abs=1e-5)
        assert result["probability"] == pytest.approx(expected[result["index"]], abs=1e-4)


def test_rank_pictures_for_a_text_leaves_damaged_ones_last(ask: Ask, files: list[bytes]) -> None:
    images = [data_url(b"no"), data_url(files[0]), data_url(files[1])]
    results = ask("POST", "/rank", json={"text": "a star", "images": images}).json()["results"]
    assert results[-1]["index"] == 0
    assert results[-1]["error"]["code"] == "unknown_image_format"
    assert sum(result["probability"] for result in results[:2]) == pytest.approx(1, abs=1e-5)


def test_classify_averages_templates(ask: Ask, bundle: Bundle, files: list[bytes]) -> None:
    labels, templates = ["circle", "star"], ["a photo of a {}", "{}, drawn"]
    sent = {"image": data_url(files[0]), "labels": labels, "templates": templates}
    results = ask("POST", "/classify", json=sent).json()["results"]
    means = np.stack(
        [bundle.encode_texts([each.replace("{}", label) for each in templates]).mean(0) for label in labels]
    )
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    cosines = means @ bundle.encode_images(files[:1])[0]
    assert {result["label"]: result["cosine"] for result in results} == {
        label: pytest.approx(float(cosine), abs=1e-5) for label, cosine in zip(labels, cosines, strict=True)
    }


def test_models_say_what_is_loaded(ask: Ask, bundle: Bundle) -> None:
    (model,) = ask("GET", "/models").json()["models"]
    assert (model["name"], model["kind"], model["precision"]) == ("toy", "dual_encoder", "fp32")
    assert model["dimensions"] == bundle.embed_dim
    assert len(model["sha256"]) == 64


def test_it_lives_and_is_ready(ask: Ask) -> None:
    assert ask("GET", "/livez").json() == {"status": "ok"}
    assert ask("GET", "/readyz").json() == {"status": "ok", "models": ["toy"]}


def test_a_bundle_is_read_again_by_who_has_a_key(ask: Ask, app: App) -> None:
    key = {"Authorization": f"Bearer {'k' * 20}"}
    assert ask("POST", "/models/reload", json={"model": "toy"}, headers=key).status_code == 403
    app.keys = Keys(("k" * 20,))
    assert ask("POST", "/models/reload", json={"model": "toy"}, headers=key).status_code == 200
    assert ask("POST", "/encode/text", json={"texts": ["a"]}).status_code == 401
    assert ask("POST", "/encode/text", json={"texts": ["a"]}, headers=key).status_code == 200
    assert ask("GET", "/livez").status_code == ask("GET", "/readyz").status_code == 200
    app.keys = Keys()
    assert ask("POST", "/encode/text", json={"texts": ["a"]}).status_code == 200


def test_requests_have_ids_and_answers_keep_to_themselves(ask: Ask) -> None:
    own = ask("GET", "/livez", headers={"X-Request-Id": "abc-1"})
    made = ask("GET", "/livez", headers={"X-Request-Id": "not an id\t"})
    assert own.headers["X-Request-Id"] == "abc-1"
    assert len(made.headers["X-Request-Id"]) == 16
    assert own.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in own.headers["Content-Security-Policy"]

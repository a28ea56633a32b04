"""Pictures in, found again, out: over HTTP as in the gallery itself."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compressor.gallery import Gallery
from compressor.runtime import Bundle
from serving.settings import Settings
from tests.serving.conftest import Ask


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"gallery": str(tmp_path / "gallery")})


def coded(file: bytes) -> str:
    return base64.b64encode(file).decode()


def entry(name: str, file: bytes, **metadata: Any) -> dict[str, Any]:
    return {"id": name, "image": coded(file), "metadata": metadata}


def filled(ask: Ask, files: list[bytes]) -> None:
    items = [entry(f"p{k}", file, number=k, even=k % 2 == 0) for k, file in enumerate(files)]
    answer = ask("POST", "/gallery", json={"items": items})
    assert (answer.status_code, answer.json()["added"]) == (200, len(files))


def test_what_is_added_is_found_by_text_and_picture(ask: Ask, bundle: Bundle, files: list[bytes]) -> None:
    filled(ask, files)
    images = bundle.encode_images(files)
    for query, sent in (
        (bundle.encode_texts(["a star"])[0], {"text": "a star"}),
        (images[2], {"image": coded(files[2])}),
    ):
        answer = ask("POST", "/search", json={**sent, "k": 3}).json()
        best = np.argsort(-(images @ query), kind="stable")[:3]
        assert [hit["id"] for hit in answer["results"]] == [f"p{k}" for k in best]
        assert answer["results"][0]["score"] == pytest.approx(float((images @ query).max()), abs=1e-5)
        assert set(answer["took_ms"]) == {"encode", "index"}
    raw = ask("POST", "/search?k=1", content=files[3], headers={"Content-Type": "image/png"})
    assert [hit["id"] for hit in raw.json()["results"]] == ["p3"]


def test_filters_choose_among_them(ask: Ask, files: list[bytes]) -> None:
    filled(ask, files)
    sent = {"text": "a star", "k": 10, "filter": {"even": True, "number": {"gte": 1}}}
    assert {hit["id"] for hit in ask("POST", "/search", json=sent).json()["results"]} == {"p2", "p4"}


def test_files_of_a_form_are_added_and_one_bad_file_stands_alone(ask: Ask, files: list[bytes]) -> None:
    listed = json.dumps([{"id": "a"}, {"id": "b", "metadata": {"x": 1}}, {"id": "c"}])
    sent = [("images", ("a.png", files[0])), ("images", ("b.png", b"no")), ("images", ("c.png", files[1]))]
    answer = ask("POST", "/gallery", files=sent, data={"items": listed}).json()
    assert answer["added"] == 2
    assert [result.get("error", {}).get("code") for result in answer["results"]] == [
        None,
        "unknown_image_format",
        None,
    ]
    assert ask("GET", "/gallery/b").status_code == 404


def test_items_are_listed_shown_and_deleted(ask: Ask, files: list[bytes]) -> None:
    filled(ask, files)
    first = ask("GET", "/gallery", params={"limit": 2}).json()
    assert (first["count"], [item["id"] for item in first["items"]]) == (5, ["p0", "p1"])
    rest = ask("GET", "/gallery", params={"limit": 9, "cursor": first["next_cursor"]}).json()
    assert [item["id"] for item in rest["items"]] == ["p2", "p3", "p4"]
    assert rest["next_cursor"] is None
    assert ask("GET", "/gallery", params={"limit": 0}).json()["items"] == []
    assert ask("GET", "/gallery/p1").json()["metadata"] == {"number": 1, "even": False}
    thumbnail = ask("GET", "/gallery/p1/image")
    assert thumbnail.headers["Content-Type"] == "image/jpeg"
    assert max(Image.open(io.BytesIO(thumbnail.content)).size) <= 256
    assert ask("DELETE", "/gallery/p1").json() == {"deleted": 1}
    assert ask("POST", "/gallery/delete", json={"ids": ["p2", "gone"]}).json() == {"deleted": 1}
    for path in ("/gallery/p1", "/gallery/p1/image", "/gallery/p2"):
        answer = ask("GET", path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_such_item")
    assert ask("DELETE", "/gallery/p1").status_code == 404


@pytest.mark.parametrize("name", ["a/b", "delete", "image", "ä ö", "100%", "?x=1"])
def test_ids_may_be_any_text(ask: Ask, files: list[bytes], name: str) -> None:
    from urllib.parse import quote

    assert ask("POST", "/gallery", json={"items": [entry(name, files[0])]}).status_code == 200
    assert ask("GET", f"/gallery/{quote(name, safe='')}").json()["id"] == name


@pytest.mark.parametrize(
    ("path", "sent", "status", "code"),
    [
        ("/search", {"text": "a", "k": 0}, 422, "invalid_value"),
        ("/search", {"text": "a", "k": 10**9}, 422, "invalid_value"),
        ("/search", {"text": "a", "k": 1.5}, 422, "invalid_value"),
        ("/search", {"text": "a", "filter": {"x": {"like": "%"}}}, 400, "bad_filter"),
        ("/search", {"text": "a", "filter": "1=1"}, 400, "bad_filter"),
        ("/search", {"text": ""}, 422, "invalid_value"),
        ("/search", {}, 422, "invalid_value"),
        ("/gallery", {}, 422, "invalid_value"),
        ("/gallery", {"items": [{"image": ""}]}, 422, "invalid_value"),
        ("/gallery", {"items": [{"id": "", "image": "AAAA"}]}, 415, "unknown_image_format"),
        ("/gallery", {"items": [{"id": "a", "image": "AAAA", "meta": 1}]}, 422, "invalid_value"),
        ("/gallery", {"items": [{"id": "a"}, {"id": "a"}]}, 422, "invalid_value"),
        ("/gallery/delete", {"ids": []}, 422, "invalid_value"),
        ("/gallery/delete", {"ids": [1]}, 422, "invalid_value"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(
    ask: Ask, path: str, sent: dict[str, Any], status: int, code: str
) -> None:
    answer = ask("POST", path, json=sent)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.json()


def test_metadata_that_cannot_be_kept_is_the_items_error(ask: Ask, files: list[bytes]) -> None:
    items = [entry("good", files[0]), entry("bad", files[1], nested={"a": 1})]
    answer = ask("POST", "/gallery", json={"items": items}).json()
    assert answer["added"] == 1
    assert answer["results"][1]["error"]["code"] == "invalid_value"


def test_a_gallery_of_another_bundle_is_a_conflict(
    ask: Ask, files: list[bytes], settings: Settings, bundle: Bundle
) -> None:
    from dataclasses import replace

    from compressor.gallery.identity import identity_of

    other = replace(identity_of(bundle), fingerprint="0" * 64)
    Gallery.open(str(settings.gallery), other, create=True)
    answer = ask("POST", "/search", json={"text": "a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "other_bundle")

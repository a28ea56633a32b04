from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from compressor.client import (
    AsyncClient,
    Caption,
    Client,
    ConnectionFailedError,
    Failure,
    Hit,
    Item,
    NewItem,
    ServiceError,
)
from compressor.errors import DataError
from tests.client.conftest import Ask
from tests.client.service import BAD, JPEG, KEY, Bridge, Service, nobody, refusal, row


def test_texts_become_rows(ask: Ask, service: Service) -> None:
    texts = ["a dog", "ein Hündchen", "\N{DOG}"]
    rows = ask(service, "embed_texts", texts)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, [row(text.encode()) for text in texts])
    assert service.requests == [("POST", "/encode/text")]


def test_many_texts_go_in_several_requests_and_keep_their_order(ask: Ask, service: Service) -> None:
    texts = [f"text {k}" for k in range(10)]
    rows = ask(service, "embed_texts", iter(texts), options={"batch": 4})
    assert service.counts == [4, 4, 2]
    np.testing.assert_array_equal(rows, [row(text.encode()) for text in texts])


def test_pictures_are_bytes_or_files(ask: Ask, service: Service, tmp_path: Path) -> None:
    pictures = [bytes([k]) * (k + 1) + b"\r\n--" for k in range(4)]
    (tmp_path / "a.jpg").write_bytes(pictures[1])
    rows = ask(
        service, "embed_images", [pictures[0], tmp_path / "a.jpg", str(tmp_path / "a.jpg"), pictures[3]]
    )
    expected = [row(pictures[k]) for k in (0, 1, 1, 3)]
    np.testing.assert_array_equal(rows, expected)


def test_pictures_are_split_by_bytes_and_a_large_one_goes_alone(ask: Ask, service: Service) -> None:
    pictures = [b"a" * size for size in (40, 50, 30, 400, 10, 10)]
    rows = ask(service, "embed_images", pictures, options={"batch_bytes": 100})
    assert service.counts == [2, 1, 1, 2]
    np.testing.assert_array_equal(rows, [row(picture) for picture in pictures])


def test_an_error_names_the_items_of_its_request(ask: Ask, service: Service) -> None:
    with pytest.raises(ServiceError) as caught:
        ask(service, "embed_images", [b"a", b"b", b"c", BAD], options={"batch": 2})
    assert (caught.value.status, caught.value.code) == (400, "bad_image")
    assert (caught.value.param, caught.value.message) == ("images[1]", "is damaged")
    assert caught.value.items == (2, 4)
    assert str(caught.value) == "the service answered 400 bad_image: images[1]: is damaged (items 2 to 3)"


@pytest.mark.parametrize(
    ("method", "arguments", "sentence"),
    [
        ("embed_texts", (["a", 3],), r"texts\[1\] is int, not a string"),
        ("embed_texts", ("a dog",), "texts are a list, not str"),
        ("embed_texts", ([],), "no text"),
        ("embed_images", (b"one",), "images are a list, not bytes"),
        ("embed_images", (["/does/not/exist.jpg"],), "/does/not/exist.jpg: cannot be read"),
        ("embed_images", ([3],), "bytes or a path, not int"),
        ("embed_images", ([],), "no picture"),
        ("rank", (), "rank takes"),
        ("search", (), "search takes"),
        ("gallery_get", ("",), "an id is"),
        ("gallery_get", ("\ud800",), "cannot be sent"),
        ("gallery_add", ([NewItem("a", b"a", {"year": float("nan")})],), "metadata is not JSON"),
    ],
)
def test_arguments_that_cannot_be_sent_are_refused_before_anything_is(
    ask: Ask, service: Service, method: str, arguments: tuple[object, ...], sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        ask(service, method, *arguments)
    assert service.requests == []


def test_a_filter_that_is_not_json_is_refused(ask: Ask, service: Service) -> None:
    for where in ({"year": float("nan")}, {"year": {2000}}):
        with pytest.raises(DataError, match="filter is not JSON"):
            ask(service, "search", text="a", filter=where)


def test_a_picture_is_ranked_against_texts(ask: Ask, service: Service) -> None:
    ranking = ask(service, "rank", image=b"picture", texts=["a", "b", "c"])
    cosines = [float(row(text) @ row(b"picture")) for text in (b"a", b"b", b"c")]
    assert [found.index for found in ranking.results] == sorted(range(3), key=lambda k: -cosines[k])
    assert ranking.results[0].cosine == pytest.approx(max(cosines))
    assert ranking.failures == ()


def test_a_text_is_ranked_against_pictures_without_the_damaged_ones(ask: Ask, service: Service) -> None:
    ranking = ask(service, "rank", text="a", images=[b"one", BAD, b"three"])
    assert {found.index for found in ranking.results} == {0, 2}
    assert ranking.failures == (Failure(1, "bad_image", "is damaged"),)


def test_a_picture_is_classified(ask: Ask, service: Service) -> None:
    found = ask(service, "classify", b"picture", ["dog", "cat"], templates=["a {}"])
    assert [(each.index, each.label, each.probability) for each in found] == [
        (0, "dog", 0.25),
        (1, "cat", 0.25),
    ]
    assert service.fields[0]["templates"] == ["a {}"]
    ask(service, "classify", b"picture", ["dog"])
    assert "templates" not in service.fields[1]


def test_the_gallery_from_adding_to_deleting(ask: Ask, service: Service) -> None:
    items = [NewItem(f"id/{k}?", bytes([k]), {"even": k % 2 == 0}) for k in range(5)]
    added = ask(service, "gallery_add", iter(items), options={"batch": 2})
    assert service.counts == [2, 2, 1]
    assert (added.added, added.failures) == (5, ())
    assert [(result.index, result.id) for result in added.results] == [(k, f"id/{k}?") for k in range(5)]

    found = ask(service, "search", image=bytes([2]), k=2, filter={"even": True})
    assert found.hits[0] == Hit("id/2?", found.hits[0].score, {"even": True})
    assert found.hits[0].score == pytest.approx(1.0)
    assert (len(found.hits), found.encode_ms, found.index_ms) == (2, 1.5, 0.25)
    assert ask(service, "search", text="a dog").model == "student"

    page = ask(service, "gallery_list", limit=3)
    assert (page.count, [item.id for item in page.items]) == (5, ["id/0?", "id/1?", "id/2?"])
    last = ask(service, "gallery_list", limit=3, cursor=page.next_cursor)
    assert ([item.id for item in last.items], last.next_cursor) == (["id/3?", "id/4?"], None)
    assert last.index == {"kind": "exact"}

    assert ask(service, "gallery_delete", ["id/3?", "id/4?", "nobody"]) == 2


def test_one_item_of_the_gallery(ask: Ask, service: Service) -> None:
    id_ = "a b%2e?#\N{DOG}"
    ask(service, "gallery_add", [NewItem(id_, b"a", {"year": 2000})])
    assert ask(service, "gallery_get", id_) == Item(id_, {"year": 2000}, 32, 24)
    assert ask(service, "gallery_image", id_) == JPEG
    assert ask(service, "gallery_delete", id_) == 1
    for method in ("gallery_get", "gallery_image", "gallery_delete"):
        with pytest.raises(ServiceError) as caught:
            ask(service, method, id_)
        assert (caught.value.status, caught.value.code) == (404, "no_such_item")


def test_items_that_cannot_be_added_do_not_touch_the_others(ask: Ask, service: Service) -> None:
    images = [b"a", BAD, BAD, BAD, b"e"]
    items = [NewItem(str(k), image) for k, image in enumerate(images)]
    added = ask(service, "gallery_add", items, options={"batch": 2})
    assert added.added == 2
    assert [failure.index for failure in added.failures] == [1, 2, 3]
    assert {failure.code for failure in added.failures} == {"bad_image"}
    assert sorted(service.gallery) == ["0", "4"]


def test_a_failure_of_the_whole_service_is_no_items_fault(ask: Ask, service: Service) -> None:
    service.script = [None, refusal(409, "other_bundle", "the gallery is of another bundle")]
    with pytest.raises(ServiceError) as caught:
        ask(service, "gallery_add", [NewItem(str(k), b"a") for k in range(4)], options={"batch": 2})
    assert (caught.value.status, caught.value.items) == (409, (2, 4))


def test_captions_and_answers(ask: Ask, service: Service) -> None:
    captions = ask(service, "caption", [b"a", BAD, b"ccc"], beams=2, options={"batch": 2})
    assert captions[0] == Caption(0, "1 bytes", None)
    assert captions[1].failure == Failure(1, "bad_image", "is damaged")
    assert captions[2] == Caption(2, "3 bytes", None)
    assert service.fields[0] == {"beams": "2"}
    (answered,) = ask(service, "answer", b"a", ["is it red?"])
    assert (answered.index, answered.question, answered.answer) == (0, "is it red?", "yes")


def test_models_tell_what_is_served(ask: Ask, service: Service) -> None:
    first, second = ask(service, "models")
    assert (first.name, second.name) == ("student", "teacher")
    assert (first.kind, first.precision, first.facts["threads"]) == ("dual_encoder", "fp32", 2)


def test_a_model_is_named_by_the_client_or_by_the_call(ask: Ask, service: Service) -> None:
    ask(service, "embed_texts", ["a"], options={"model": "teacher"})
    ask(service, "embed_images", [b"a"], options={"model": "teacher"})
    ask(service, "embed_texts", ["a"], model="student", options={"model": "teacher"})
    ask(service, "embed_texts", ["a"])
    assert service.models == ["teacher", "teacher", "student", None]


def test_readiness(ask: Ask, service: Service) -> None:
    assert ask(service, "ready") is True
    service.script = [refusal(503, "shutting_down", "is going down")]
    assert ask(service, "ready") is False
    assert len(service.requests) == 2, "a service that is not ready was asked again"
    assert ask(nobody(), "ready") is False
    service.script = [refusal(404, "no_such_path", "there is no such path")]
    with pytest.raises(ServiceError):
        ask(service, "ready")


def test_a_key_is_sent_and_not_shown(ask: Ask) -> None:
    service = Service(key=KEY)
    with pytest.raises(ServiceError) as caught:
        ask(service, "models")
    assert (caught.value.status, caught.value.code) == (401, "no_key")
    assert len(ask(service, "models", options={"key": KEY})) == 2
    for key in ("", "two words", "line\nbreak", "ключ"):
        with pytest.raises(DataError, match="a key is") as refused:
            ask(service, "models", options={"key": key})
        assert not key or key not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "service",
        "ftp://service",
        "http://",
        "http://a:b@service",
        "http://service?a=1",
        "http://a:port",
        "/a",
    ],
)
def test_an_address_that_is_none_is_one_sentence(ask: Ask, url: str) -> None:
    with pytest.raises(DataError, match="address of a service") as caught:
        ask(url, "models")
    assert "\n" not in str(caught.value)


def test_a_service_may_lie_below_a_path(service: Service) -> None:
    app = Starlette(routes=[Mount("/below", service.app())])
    for url in ("http://service/below", "http://service/below/"):
        with Client(url, transport=Bridge(app)) as client:
            assert client.embed_texts(["a"]).shape == (1, 6)


def test_nobody_there_is_one_sentence(ask: Ask) -> None:
    with pytest.raises(ConnectionFailedError) as caught:
        ask(nobody(), "models")
    assert caught.value.kind == "refused"
    assert str(caught.value).startswith("http://127.0.0.1:")
    assert caught.value.exit_code == 2


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> dict[str, str]:
        return {
            name: str(inspect.signature(member))
            for name, member in vars(kind).items()
            if inspect.isfunction(member) and not name.startswith("_") and "close" not in name
        }

    assert public(Client) == public(AsyncClient)
    assert len(public(Client)) == 14


def test_results_become_json(ask: Ask, service: Service) -> None:
    found = ask(service, "rank", image=b"picture", texts=["a"])
    assert json.loads(json.dumps(dataclasses.asdict(found)))["model"] == "student"

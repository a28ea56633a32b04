"""A real process under hostile input: each answer is one of ours, and the next good request succeeds."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving.bundles import other_weights
from tests.serving.hostile import Answer, Hostile, send
from tests.serving.hostile_bodies import PICTURE, bodies
from tests.serving.hostile_gallery import galleries
from tests.serving.hostile_pictures import MOST_PIXELS, pictures
from tests.serving.hostile_protocol import protocol
from tests.serving.processes import KEY, Served, serving

LISTS = {"pictures": pictures, "bodies": bodies, "protocol": protocol, "galleries": galleries}
_LEAK = re.compile(r"Traceback|File \"|site-packages|\.py:\d|0x[0-9a-f]{8}|/(?:home|usr|opt|tmp|work|root)/")


@pytest.fixture(scope="module")
def served(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two bundles and one gallery, which is the first one's."""
    folder = tmp_path_factory.mktemp("hostile")
    other = other_weights(exported, folder / "another")
    limits = {"max_body": 2_000_000, "max_pixels": MOST_PIXELS, "deadline": 3, "gallery": folder / "gallery"}
    with serving(exported, folder / "log", f"other={other}", **limits) as served:
        item = {"id": "one", "image": PICTURE, "metadata": {"a": "b"}}
        assert served.ask("POST", "/gallery", json={"items": [item]}).status_code == 200
        yield served


@pytest.mark.parametrize("name", LISTS)
def test_nothing_that_is_sent_harms_it(served: Served, name: str) -> None:
    workers, before = served.workers(), served.log.stat().st_size
    port = int(served.url.rpartition(":")[2])
    faults = []
    with httpx.Client(base_url=served.url, headers=KEY, timeout=20) as friend:
        for hostile in LISTS[name]():
            answer = send(port, hostile)
            faults += [f"{hostile.name}: {fault}" for fault in (*_faults(hostile, answer), *_harm(friend))]
    log = served.log.read_bytes()[before:].decode(errors="replace")
    assert not faults, "\n".join(faults)
    assert "Traceback" not in log
    assert not re.search(r" 500\b", log)
    assert served.workers() == workers


def test_there_are_many_and_each_has_a_name_of_its_own() -> None:
    names = [hostile.name for made in LISTS.values() for hostile in made()]
    assert len(names) > 500
    assert not [name for name, count in Counter(names).items() if count > 1]


def _faults(hostile: Hostile, answer: Answer) -> Iterator[str]:
    """What is wrong with an answer: its status, its form, or what it tells."""
    if answer.status not in hostile.allowed:
        yield f"{answer.status} {answer.content[:300]!r}"
    if "X-Injected" in answer.headers:
        yield "a header was injected"
    if answer.status < 400 or hostile.wire.startswith(b"HEAD"):
        return
    try:
        error = json.loads(answer.content)["error"]
    except (ValueError, KeyError, TypeError):
        if not hostile.bare:
            yield f"not an error of ours: {answer.status} {answer.content[:100]!r}"
        return
    message = error["message"]
    if (
        set(error) != {"code", "message", "param"}
        or not 1 <= len(message) <= 500
        or not message.isprintable()
    ):
        yield f"an error of another form: {error}"
    if _LEAK.search(message):
        yield f"it tells of itself: {message}"


def _harm(friend: httpx.Client) -> Iterator[str]:
    """What is wrong with the service now."""
    for method, path, sent in (
        ("POST", "/encode/text", {"texts": ["a red circle"]}),
        ("GET", "/readyz", None),
    ):
        try:
            answer = friend.request(method, path, json=sent)
        except httpx.HTTPError as error:
            yield f"then {path}: {error!r}"
        else:
            if answer.status_code != 200:
                yield f"then {path}: {answer.status_code} {answer.text}"

"""A request that is refused leaves nothing that waits for the garbage collector: its body would wait too."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from serving.errors import ApiError
from tests.serving.conftest import Ask


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/encode/text", {"content": b'{"texts": [', "headers": {"Content-Type": "application/json"}}),
        ("/encode/text", {"content": b'{"texts": NaN}', "headers": {"Content-Type": "application/json"}}),
        ("/encode/text", {"json": {"texts": [7]}}),
        ("/encode/image", {"json": {"images": ["AAAA", "@@"]}}),
        ("/encode/image", {"content": b"no picture", "headers": {"Content-Type": "image/png"}}),
        (
            "/encode/image",
            {"content": b"--c--", "headers": {"Content-Type": "multipart/form-data; boundary=c"}},
        ),
    ],
)
def test_no_error_outlives_its_answer(ask: Ask, path: str, sent: dict[str, Any]) -> None:
    ask("POST", path, **sent)
    gc.collect()
    gc.disable()
    try:
        assert ask("POST", path, **sent).status_code >= 400
        left = [each for each in gc.get_objects() if type(each) is ApiError]
    finally:
        gc.enable()
    assert not left

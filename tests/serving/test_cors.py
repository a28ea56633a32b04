from __future__ import annotations

import pytest

from compressor.errors import DataError
from serving.app import App
from serving.cors import Cors
from serving.settings import from_environment
from tests.serving.conftest import Ask

ORIGIN = "https://app.example.org"
ASKS = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


def allow(app: App, *origins: str) -> None:
    app.cors = Cors(origins)


def test_without_origins_no_answer_speaks_of_them(ask: Ask) -> None:
    answer = ask("GET", "/models", headers={"Origin": ORIGIN})
    assert not [name for name in answer.headers if name.startswith("access-control") or name == "vary"]
    preflight = ask("OPTIONS", "/encode/text", headers={"Origin": ORIGIN, **ASKS})
    assert (preflight.status_code, preflight.json()["error"]["code"]) == (405, "wrong_method")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/models", 200),
        ("POST", "/encode/text", 415),
        ("GET", "/nowhere", 404),
        ("PUT", "/models", 405),
    ],
)
def test_answers_and_errors_tell_an_allowed_origin_that_it_may_read_them(
    ask: Ask, app: App, method: str, path: str, status: int
) -> None:
    allow(app, ORIGIN, "https://other.example.org")
    answer = ask(method, path, headers={"Origin": ORIGIN})
    assert answer.status_code == status
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Vary"] == "Origin"
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"X-Request-Id", "X-Shape", "Retry-After"} <= set(exposed)
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("origin", [None, "https://evil.example.org", "http://app.example.org", "null", ""])
def test_other_origins_are_told_nothing_but_that_answers_vary(ask: Ask, app: App, origin: str | None) -> None:
    allow(app, ORIGIN)
    headers = {} if origin is None else {"Origin": origin}
    for method, given in (("GET", {}), ("OPTIONS", ASKS)):
        answer = ask(method, "/models", headers={**headers, **given})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["Vary"] == "Origin"
    assert answer.status_code == 405


def test_a_preflight_is_answered_without_a_key_and_has_an_id(ask: Ask, app: App) -> None:
    allow(app, ORIGIN)
    answer = ask("OPTIONS", "/encode/text", headers={"Origin": ORIGIN, **ASKS})
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in answer.headers["Access-Control-Allow-Methods"].split(", ")
    assert {"Authorization", "Content-Type"} <= set(
        answer.headers["Access-Control-Allow-Headers"].split(", ")
    )
    assert answer.headers["Vary"] == "Origin"
    assert answer.headers["X-Request-Id"]
    plain = ask("OPTIONS", "/encode/text", headers={"Origin": ORIGIN})
    assert plain.status_code == 405, "without a method that is asked for it is no preflight"


def test_all_origins_may_be_allowed_explicitly(ask: Ask, app: App) -> None:
    allow(app, "*")
    for answer in (
        ask("GET", "/models"),
        ask("OPTIONS", "/models", headers={"Origin": "https://any.test", **ASKS}),
    ):
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Vary" not in answer.headers


@pytest.mark.parametrize(
    "given", ["app.example.org", "null", "https://a.test/b", "https://*.a.test", "ftp://a"]
)
def test_origins_that_are_none_are_refused_at_the_start(given: str) -> None:
    with pytest.raises(DataError, match=r"COMPRESSOR_CORS: '.*' is not an origin"):
        from_environment({"COMPRESSOR_CORS": given})
    assert from_environment({"COMPRESSOR_CORS": "https://A.test/,http://localhost:5173"}).cors == (
        "https://a.test",
        "http://localhost:5173",
    )

"""The service as a real process over HTTP: it starts, answers, drains and ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.serving.processes import marked, serving, until


def test_it_starts_answers_and_ends_in_order(exported: Path, tmp_path: Path) -> None:
    with serving(exported, tmp_path / "log", keys="") as served:
        process, url = served.process, served.url
        answer = httpx.post(f"{url}/encode/text", json={"texts": ["a red circle"]})
        assert answer.status_code == 200
        assert answer.json()["model"] == "toy"
        httpx.get(f"{url}/gallery/an-item?model=another")
        metrics = httpx.get(f"{url}/metrics").text
        assert 'compressor_answers_total{path="/encode/text",status="200"} 1.0' in metrics
        assert "an-item" not in metrics
        for path in ("/docs.json", "/static_content/swagger-ui.css", "/schema.json"):
            assert httpx.get(url + path).status_code == 404, "no page of BentoML's: they load third parties"
        for _ in range(5):  # callers that do not wait must not keep the process from ending
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as caller:
                caller.sendall(b"GET /readyz HTTP/1.1\r\nHost: test\r\n\r\n")
        process.terminate()
        assert process.wait(30) == 0
        assert not marked(served.mark), "no worker is left behind"
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert log.count("/encode/text") == log.count("/gallery/{id}") == 1, "one line a request"
    assert "an-item" not in log


def test_nothing_is_left_of_one_whose_test_fails(exported: Path, tmp_path: Path) -> None:
    """Not where its supervisor was killed, nor where a worker was stopped and cannot end by itself."""
    mark = ""

    def fail() -> None:
        nonlocal mark
        with serving(exported, tmp_path / "log", "--workers", "2") as served:
            mark = served.mark
            until(lambda: len(served.workers()) == 2, 30)
            os.kill(served.workers()[0], signal.SIGSTOP)
            os.kill(served.process.pid, signal.SIGKILL)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert mark
    assert not marked(mark)


@pytest.mark.parametrize(
    ("bundles", "sentence"),
    [
        (["nowhere"], "nowhere: there is no such folder; name a bundle or a run that has one"),
        (["a=x", "a=y"], "two bundles are called 'a'"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(bundles: list[str], sentence: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "compressor", "serve", *bundles],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert ended.returncode == 2
    assert sentence in ended.stderr
    assert len(ended.stderr.splitlines()) == 1

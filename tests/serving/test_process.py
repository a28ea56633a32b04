"""The service as a real process over HTTP: it starts, answers, drains and ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.runtime.conftest import exported  # noqa: F401


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(bundle: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    command = [sys.executable, "-m", "compressor", "serve", f"toy={bundle}", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--threads", "1"], stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        until_ready(process, url, log)
        yield process, url
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_it_starts_answers_and_ends_in_order(exported: Path, tmp_path: Path) -> None:  # noqa: F811
    with serving(exported, tmp_path / "log") as (process, url):
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
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert log.count("/encode/text") == log.count("/gallery/{id}") == 1, "one line a request"
    assert "an-item" not in log


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

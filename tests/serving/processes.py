"""`compressor serve` as a process of its own, asked by many callers at once."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

KEY = {"Authorization": "Bearer a-key-for-the-tests"}
ROOT = Path(__file__).parents[2]
_MARK = "SERVED_FOR_A_TEST"
_PATIENCE = 10.0


@dataclass
class Served:
    """A service that is ready."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    mark: str

    def ask(self, method: str, path: str, **given: object) -> httpx.Response:
        """One request on a connection of its own: any of the workers may get it."""
        with httpx.Client(base_url=self.url, headers=KEY, timeout=60) as client:
            return client.request(method, path, **given)  # type: ignore[arg-type]

    def kill(self) -> None:
        """SIGKILL to the supervisor, which would start workers again, and then to all that it has started."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        left = marked(self.mark)
        for each in left:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(left, 30)

    def end(self) -> None:
        """SIGTERM, and what is still there a few seconds later is killed: workers are in sessions of their
        own and outlive a supervisor that dies."""
        if self.process.poll() is None:
            for each in marked(self.mark):
                with suppress(psutil.NoSuchProcess):
                    each.resume()  # those that a test has stopped
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_PATIENCE)
        self.kill()

    def workers(self) -> list[int]:
        """The processes that answer."""
        found = []
        for each in marked(self.mark):
            with suppress(psutil.NoSuchProcess):  # zombies too
                if any("worker.service" in word for word in each.cmdline()):
                    found.append(each.pid)
        return sorted(found)


def marked(mark: str) -> list[psutil.Process]:
    """All processes that have this mark in their environment: who was started by one inherits it."""
    found = []
    for each in psutil.process_iter():
        with suppress(psutil.Error):
            if each.environ().get(_MARK) == mark:
                found.append(each)
    return found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(bundle: Path, log: Path, *options: str, **settings: object) -> Iterator[Served]:
    """Serve a bundle as `toy`; `settings` by their names in the environment, in lower case."""
    port = free_port()
    command = [sys.executable, "-m", "compressor", "serve", f"toy={bundle}", "--port", str(port)]
    told = {f"COMPRESSOR_{name.upper()}": str(value) for name, value in settings.items()}
    mark = secrets.token_hex(8)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "COMPRESSOR_KEYS": KEY["Authorization"].removeprefix("Bearer "),
        _MARK: mark,
        **told,
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "--threads", "1", *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
    served = Served(process, f"http://127.0.0.1:{port}", log, mark)
    try:
        until(lambda: _is_ready(served), 60)
        yield served
    finally:
        served.end()


def _is_ready(served: Served) -> bool:
    assert served.process.poll() is None, served.log.read_text()
    try:
        return served.ask("GET", "/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def until(holds: Callable[[], bool], seconds: float) -> None:
    """Wait until something holds. Raises `AssertionError` when it takes longer."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


@dataclass
class Load:
    """What callers that ask again and again were answered, by path and status."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def all_well(self) -> bool:
        """Every request was answered, each with 200."""
        return not self.failures and {status for _, status in self.answers} == {200}


@contextmanager
def under_load(
    served: Served, requests: Sequence[tuple[str, dict[str, object]]], callers: int
) -> Iterator[Load]:
    """Post all requests in turn, from so many threads with a connection each, until the block ends."""
    load, ended = Load(), threading.Event()

    def call(number: int) -> None:
        with httpx.Client(base_url=served.url, headers=KEY, timeout=60) as client:
            turn = number
            while not ended.is_set():
                path, content = requests[turn % len(requests)]
                turn += 1
                try:
                    answer = client.post(path, json=content)
                except httpx.HTTPError as error:
                    load.failures.append(f"{path}: {error!r}")
                    return
                load.answers[path, answer.status_code] += 1
                if answer.status_code != 200:
                    load.failures.append(f"{path}: {answer.text}")

    threads = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)

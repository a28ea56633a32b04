"""Services as processes of their own on chosen cores, and the requests that they get."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from benchmarks.bare_http import request
from compressor.client.bodies import phrases

START = 60.0
"""Seconds that a service may take to be ready."""


@dataclass(frozen=True)
class Served:
    """A service that answers at 127.0.0.1:`port`. `ready`: seconds from its start to the first answer."""

    port: int
    process: subprocess.Popen[bytes]
    ready: float

    def resident(self) -> float:
        """MB of memory of all its processes (each counts what it shares)."""
        parent = psutil.Process(self.process.pid)
        return sum(each.memory_info().rss for each in (parent, *parent.children(recursive=True))) / 1e6


@contextmanager
def served(
    arguments: Sequence[str], cores: Sequence[int], environment: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """`python -m ARGUMENTS --port PORT` on `cores`, from ready to its end. Raises `RuntimeError` with the end
    of its log where it does not start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments, "--port", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "BENTOML_DO_NOT_TRACK": "True", **(environment or {})},
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        try:
            while not _is_ready(port):
                if process.poll() is not None or time.monotonic() - started > START:
                    log.seek(0)
                    raise RuntimeError(f"{' '.join(arguments)} did not start:\n{log.read()[-2000:].decode()}")
                time.sleep(0.02)
            yield Served(port, process, time.monotonic() - started)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(START)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def jpegs(count: int = 16, side: int = 224) -> list[bytes]:
    """Files of `side` pixels with as much in them as photos have (some 17 kB each)."""
    files = []
    for seed in range(count):
        noise = np.random.default_rng(seed).integers(0, 255, (side // 8, side // 8, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def requests_of(service: str, kind: str) -> list[bytes]:
    """The same texts or pictures, as `service` ("compressor", "nothing", "tutorial") takes them."""
    if kind == "text":
        if service == "compressor":
            return [_json("/encode/text", {"texts": [text]}) for text in phrases()]
        if service == "tutorial":
            return [_json("/text", {"texts": [text]}) for text in phrases()]
        return [_json("/text", {"text": text}) for text in phrases()]
    if service == "compressor":
        return [request("/encode/image", file, "image/jpeg") for file in jpegs()]
    if service == "tutorial":
        return [_multipart("/image", "images", file) for file in jpegs()]
    return [request("/image", file, "image/jpeg") for file in jpegs()]


def _json(path: str, content: object) -> bytes:
    return request(path, json.dumps(content).encode(), "application/json")


def _multipart(path: str, name: str, file: bytes) -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="a.jpg"\r\nContent-Type: image/jpeg'
    body = b"--limit\r\n" + head.encode() + b"\r\n\r\n" + file + b"\r\n--limit--\r\n"
    return request(path, body, "multipart/form-data; boundary=limit")


def bundle_of(run: Path) -> Path:
    """The bundle's folder, of a run or itself."""
    return run / "bundle" if (run / "bundle").is_dir() else run

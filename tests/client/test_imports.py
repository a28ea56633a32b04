from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from compressor.client import AsyncClient, Client
from compressor.client.load import Load, measure
from compressor.errors import MissingDependencyError

HEAVY = ("torch", "torchvision", "transformers", "onnxruntime", "bentoml", "pydantic", "PIL", "yaml", "rich")


def test_the_client_loads_nothing_else_of_the_package_and_httpx_late() -> None:
    program = (
        "import sys, compressor.client, compressor.client.load\n"
        f"assert not set({HEAVY!r}) & set(sys.modules), set({HEAVY!r}) & set(sys.modules)\n"
        "assert 'httpx' not in sys.modules\n"
        "rooms = {name.split('.')[1] for name in sys.modules if name.startswith('compressor.')}\n"
        "assert rooms == {'client', 'errors'}, rooms\n"
        "compressor.client.Client('http://service')\n"
        "assert 'httpx' in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_without_httpx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from compressor.client.bodies import text_body

    monkeypatch.setitem(sys.modules, "httpx", None)
    for made in (
        lambda: Client("http://service"),
        lambda: AsyncClient("http://service"),
        lambda: measure("http://service", text_body(), Load(1)),
    ):
        with pytest.raises(MissingDependencyError, match=r"pip install 'compressor\[client\]'"):
            made()

"""These tests compare bits, so they keep to the CPU, their subprocesses too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.distill.world import World, build_world

os.environ["ACCELERATE_USE_CPU"] = "true"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return build_world(tmp_path)

"""These tests compare bits, so they keep to the CPU, their subprocesses too."""

from __future__ import annotations

import os

os.environ["ACCELERATE_USE_CPU"] = "true"

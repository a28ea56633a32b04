"""The gallery runs without torch, and imports its store only when one is opened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "torchvision", "transformers", "timm", "open_clip", "accelerate", "onnx", "scipy")
PROGRAM = f"""
import sys
sys.modules.update(dict.fromkeys({HEAVY!r}))
import compressor.gallery, compressor.gallery.build, compressor.gallery.rebuild
before = [name for name in ("lancedb", "pyarrow", "onnxruntime") if name in sys.modules]
from tests.gallery.world import filled
gallery, rows = filled(sys.argv[1], 3)
print(before, [hits[0].id for hits in gallery.search(rows, 1)])
"""


def test_it_runs_where_training_libraries_are_not_installed(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "g")],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.stdout, done.stderr) == ("[] ['i0000', 'i0001', 'i0002']\n", "")

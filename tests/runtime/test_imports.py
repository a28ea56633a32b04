from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from compressor.recipe.blip import Head
from tests.export.toys import pictures
from tests.export.writers import Exported

HEAVY = ("torch", "torchvision", "transformers", "timm", "open_clip", "pandas", "onnx", "accelerate", "scipy")

PROGRAM = """
import sys
from pathlib import Path
from compressor.runtime import Bundle
before = "onnxruntime" in sys.modules
bundle = Bundle.open(sys.argv[1], threads=1)
images = bundle.encode_images([Path(sys.argv[2]).read_bytes()])
texts = bundle.encode_texts(["a red circle", "a blue star"])
bundle.verify()
print(images.shape, texts.shape, before, [name for name in sys.argv[3:] if name in sys.modules])
"""


def run(*arguments: str) -> str:
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout


def test_bundle_opens_and_runs_without_importing_a_training_library(exported: Path, tmp_path: Path) -> None:
    pictures(1)[0].save(tmp_path / "picture.png")
    said = run("-c", PROGRAM, str(exported), str(tmp_path / "picture.png"), *HEAVY)
    assert said.strip() == "(1, 24) (2, 24) False []"


def test_bundle_runs_where_training_libraries_are_not_installed(exported: Path, tmp_path: Path) -> None:
    """Importing one of them raises, as it would on an edge device."""
    pictures(1)[0].save(tmp_path / "picture.png")
    block = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r}))\n"
    said = run("-c", block + PROGRAM, str(exported), str(tmp_path / "picture.png"))
    assert said.strip() == "(1, 24) (2, 24) False []"


WRITES = """
import sys
from pathlib import Path
from compressor.runtime import Writer
before = "onnxruntime" in sys.modules
writer = Writer.open(sys.argv[1], threads=1)
texts = writer.caption([Path(sys.argv[2]).read_bytes()])
writer.verify()
print(len(texts), before, [name for name in sys.argv[3:] if name in sys.modules])
"""


def test_captions_are_written_where_training_libraries_are_not_installed(
    writers: dict[Head, Exported], tmp_path: Path
) -> None:
    pictures(1)[0].save(tmp_path / "picture.png")
    arguments = (str(writers["caption"].folder), str(tmp_path / "picture.png"))
    assert run("-c", WRITES, *arguments, *HEAVY).strip() == "1 False []"
    block = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r}))\n"
    assert run("-c", block + WRITES, *arguments).strip() == "1 False []"


def test_command_runs_as_a_module(exported: Path, tmp_path: Path) -> None:
    pictures(1)[0].save(tmp_path / "picture.png")
    said = run("-m", "compressor.runtime", str(exported), str(tmp_path / "picture.png"), "a dog", "a cat")
    assert said.splitlines()[0].split() == ["cosine", "logit", "probability", "text"]


def test_importing_the_runtime_loads_nothing_that_takes_long() -> None:
    """ONNX Runtime waits until a bundle is opened."""
    names = ("onnxruntime", "yaml", "rich", "typer", *HEAVY)
    program = "import sys, compressor.runtime; print([name for name in sys.argv[1:] if name in sys.modules])"
    assert run("-c", program, *names).strip() == "[]"

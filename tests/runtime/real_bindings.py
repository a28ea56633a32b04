"""Run the tests of TensorRT and CUDA against the real bindings, where TensorRT itself is not installed.

python -m tests.runtime.real_bindings

The bindings are small packages, linked with libraries of gigabytes that need a GPU. Over empty libraries of
the same names they import all the same, and with them names, parameters and values, and what they raise where
the libraries return nothing, are the real ones. Nothing is built and nothing is run. Needs pip and `cc`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

BINDINGS = {10: "tensorrt_cu12_bindings==10.16.1.11", 11: "tensorrt_cu13_bindings==11.4.0.106"}
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
TESTS = ("tests/runtime/test_nvidia.py", "tests/runtime/test_tensorrt_real.py")


def main() -> int:
    """Install both versions into a temporary folder and run the tests with each; the worse exit code."""
    worst = 0
    for major, package in BINDINGS.items():
        with TemporaryDirectory() as folder:
            _install(Path(folder), package)
            _empty_libraries(Path(folder), major)
            print(package, flush=True)
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *TESTS]
            worst = max(worst, subprocess.run(command, env=_environment(folder), check=False).returncode)
    return worst


def _install(folder: Path, package: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, package]
    subprocess.run(command, check=True)
    (folder / "tensorrt").mkdir()  # of another package, which wants the libraries too
    words = "from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n"
    (folder / "tensorrt/__init__.py").write_text(words)


def _empty_libraries(folder: Path, major: int) -> None:
    """Libraries with every function that the bindings look for, each returning 0."""
    source = folder / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS))
    for library in LIBRARIES:
        command = ["cc", "-shared", "-fPIC", "-o", folder / f"lib{library}.so.{major}", source]
        subprocess.run(command, check=True)


def _environment(folder: str) -> dict[str, str]:
    found = dict(os.environ)
    for name in ("LD_LIBRARY_PATH", "PYTHONPATH"):
        found[name] = os.pathsep.join([folder, *([found[name]] if found.get(name) else [])])
    return found


if __name__ == "__main__":
    sys.exit(main())

"""What this machine has, what is missing, and which feature needs it. Works on the base install alone."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from compressor.benchmark.device import device_fingerprint
from compressor.evaluate.java import MIN_JAVA

State = Literal["ok", "missing", "warning"]

MIN_MEMORY_GIB = 4
MIN_DISK_GIB = 10

_UNKNOWN = "unknown version"
_TRAIN = "pip install 'compressor[train]'"
_LIBRARIES = (
    # module, distribution, what needs it, how to get it
    ("torchvision", "torchvision", "training: augmentation", _TRAIN),
    ("timm", "timm", "students with timm image towers", _TRAIN),
    ("transformers", "transformers", "transformers teachers and towers", _TRAIN),
    ("open_clip", "open_clip_torch", "open_clip teachers, CLIP's tokenizer", _TRAIN),
    ("accelerate", "accelerate", "training", _TRAIN),
    ("datasets", "datasets", "data of kind huggingface", _TRAIN),
    ("webdataset", "webdataset", "data of kind webdataset", _TRAIN),
    ("tensorboard", "tensorboard", "curves in TensorBoard", _TRAIN),
    ("onnx", "onnx", "export", _TRAIN),
    ("onnxscript", "onnxscript", "export", _TRAIN),
    ("bentoml", "bentoml", "serving", "pip install 'compressor[serve]'"),
    ("lancedb", "lancedb", "galleries", "pip install 'compressor[gallery]'"),
)

_ARTIFACTS = {"tensorrt engines": " (tensorrt_*)", "openvino": " (openvino_*)"}
"""Artifacts of a bundle that only one backend runs."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for: its state, what was found, and which feature needs it."""

    name: str
    state: State
    detail: str
    needed_for: str


def diagnose(folder: Path | None = None) -> list[Finding]:
    """Look at the machine and the environment; `folder` is where runs would be written (default: here).

    Imports torch where it is installed, for the facts about CUDA, and nothing else heavy. A library that
    is broken is a finding, not an error.
    """
    device = device_fingerprint()
    libraries = [_library(*row) for row in _LIBRARIES]
    return [
        _python(),
        _cpu(device),
        _memory(device),
        _disk(folder or Path.cwd()),
        *_torch(),
        *(_torchvision_fits(finding) if finding.name == "torchvision" else finding for finding in libraries),
        *_onnxruntime(device),
        *_backends(),
        _java(),
    ]


def print_findings(findings: Sequence[Finding]) -> None:
    """The findings as a table on standard output: what is missing says what for, what is there need not."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    colours = {"ok": "green", "missing": "yellow", "warning": "red"}
    columns = [Column("what", no_wrap=True), Column("state", no_wrap=True), Column("found", overflow="fold")]
    table = Table(*columns, box=None, pad_edge=False)
    for finding in findings:
        state = Text(finding.state, style=colours[finding.state])
        found = finding.detail if finding.state == "ok" else f"{finding.detail}\n(for {finding.needed_for})"
        table.add_row(finding.name, state, Text(found))
    Console().print(table)


def _python() -> Finding:
    state: State = "ok" if sys.version_info >= (3, 11) else "warning"
    return Finding(
        "python", state, f"{platform.python_version()} ({sys.executable})", "everything (3.11 or later)"
    )


def _cpu(device: dict[str, Any]) -> Finding:
    cpu = device["cpu"]
    cores = cpu["available_cores"] or cpu["logical_cores"]
    quota = f", limited to the time of {cpu['quota_cores']:g}" if cpu["quota_cores"] else ""
    counted = "1 core" if cores == 1 else f"{cores} cores"
    flags = ", ".join(cpu["flags"]) or "none of note"
    return Finding(
        "cpu", "ok", f"{cpu['model']}, {counted}{quota}; {flags}", "everything; vnni makes int8 fast"
    )


def _memory(device: dict[str, Any]) -> Finding:
    total = device["memory_gib"]
    if total is None:
        return Finding("memory", "warning", "this system does not tell", "training")
    limit = _container_limit_gib()
    usable = total if limit is None else min(total, limit)
    shown = (
        f"{total} GiB"
        if limit is None or limit >= total
        else f"{usable:g} GiB of {total} GiB in this container"
    )
    state: State = "ok" if usable >= MIN_MEMORY_GIB else "warning"
    return Finding("memory", state, shown, f"training (the quickstart needs {MIN_MEMORY_GIB} GiB)")


def _container_limit_gib() -> float | None:
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        file = Path(path)
        if file.is_file() and (text := file.read_text(errors="replace").strip()).isdigit():
            return round(int(text) / 2**30, 1)
    return None


def _disk(folder: Path) -> Finding:
    needed = "installing, caches and runs"
    try:
        free = shutil.disk_usage(folder).free / 2**30
    except OSError as error:
        return Finding("disk", "warning", f"{folder} cannot be asked: {error.strerror}", needed)
    state: State = "ok" if free >= MIN_DISK_GIB else "warning"
    return Finding("disk", state, f"{free:.1f} GiB free in {folder}", needed)


def _torch() -> Iterator[Finding]:
    needed = "training, export"
    if not _is_installed("torch"):
        yield Finding("torch", "missing", f"not installed; {_TRAIN}", needed)
        return
    try:
        import torch

        cuda = torch.cuda.is_available()
        names = (
            [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if cuda else []
        )
    except Exception as error:  # a broken install fails in many ways, and each is only a finding here
        yield Finding("torch", "warning", f"{_version('torch')} does not work: {_first_line(error)}", needed)
        return
    yield Finding("torch", "ok", torch.__version__, needed)
    if names:
        yield Finding("cuda", "ok", f"CUDA {torch.version.cuda}: {', '.join(names)}", "training on a GPU")
    else:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for the CPU only"
        yield Finding("cuda", "missing", f"no usable GPU; torch is {built}", "training on a GPU")


def _library(module: str, distribution: str, needed: str, remedy: str) -> Finding:
    if not _is_installed(module):
        return Finding(module, "missing", f"not installed; {remedy}", needed)
    return Finding(module, "ok", _version(distribution), needed)


def _torchvision_fits(finding: Finding) -> Finding:
    """A CPU-only torch beside another build of torchvision breaks timm and transformers on import."""
    builds = [("+cpu" in _version(name)) for name in ("torch", "torchvision")]
    if finding.state != "ok" or not _is_installed("torch") or builds[0] == builds[1]:
        return finding
    detail = (
        f"{finding.detail} and torch {_version('torch')} are of different builds; install both from one index"
    )
    return Finding(finding.name, "warning", detail, finding.needed_for)


def _onnxruntime(device: dict[str, Any]) -> Iterator[Finding]:
    needed = "export, evaluation, latency, serving"
    installed = [name for name in ("onnxruntime", "onnxruntime-gpu") if _version(name) != _UNKNOWN]
    providers = ", ".join(device["onnxruntime_providers"])
    if not _is_installed("onnxruntime"):
        remedy = "pip install 'compressor[cpu]' (or [gpu])"
        yield Finding("onnxruntime", "missing", f"not installed; {remedy}", needed)
    elif len(installed) == 2:
        trouble = "onnxruntime and onnxruntime-gpu are both installed and overwrite each other"
        remedy = "uninstall both, then install one of compressor[cpu] and compressor[gpu]"
        yield Finding("onnxruntime", "warning", f"{trouble}; {remedy}", needed)
    elif not providers:
        yield Finding(
            "onnxruntime", "warning", "installed, but it does not import or has no provider", needed
        )
    else:
        versions = ", ".join(f"{name} {_version(name)}" for name in installed) or _UNKNOWN
        yield Finding("onnxruntime", "ok", f"{versions}: {providers}", needed)


def _backends() -> Iterator[Finding]:
    """Every way to run a model, by what would really load; numpy, which all of them need, may be missing."""
    try:
        from compressor.runtime.backends import backends
    except ImportError as error:
        yield Finding("backends", "warning", f"cannot be asked: {error}", "running exported models")
        return
    for backend in backends():
        state: State = "ok" if backend.usable else "missing"
        needed = f"running exported models{_ARTIFACTS.get(backend.name, '')}"
        yield Finding(f"run on {backend.name}", state, backend.detail, needed)


def _java() -> Finding:
    needed = "METEOR and SPICE scores of captions"
    program = shutil.which("java")
    if program is None:
        return Finding("java", "missing", f"not found; install a Java runtime, {MIN_JAVA} or later", needed)
    try:
        told = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("java", "warning", f"{program} does not run: {_first_line(error)}", needed)
    match = re.search(r'version "(\d+)[^"]*"', told.stderr + told.stdout)
    if match is None or int(match[1]) < MIN_JAVA:
        found = match[0] if match else "of unknown version"
        return Finding("java", "warning", f"{program} is {found}; {MIN_JAVA} or later is needed", needed)
    return Finding("java", "ok", match[0].removeprefix("version ").strip('"'), needed)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return _UNKNOWN


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

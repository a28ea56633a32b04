"""What a figure was measured on: processor, cores, memory, operating system, library versions. Torch-free.

Nothing is imported to learn its version, nothing is run, and nothing that names the machine or its user is
recorded.
"""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from compressor.files import hash_json

FLAGS_OF_NOTE = (
    *(
        "sse4_2",
        "avx",
        "avx2",
        "fma",
        "f16c",
        "avx_vnni",
        "avx512f",
        "avx512bw",
        "avx512_vnni",
        "avx512_bf16",
    ),
    *("avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
_LIBRARIES = (
    "compressor",
    "numpy",
    "Pillow",
    "tokenizers",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "torch",
)


def device_fingerprint(root: Path = Path("/")) -> dict[str, Any]:
    """Everything a reader needs to judge a latency. What this system does not tell is null.

    `root` is where /proc and /sys are looked for.
    """
    return {
        "key": device_key(root),
        "cpu": _cpu(root),
        "gpus": _gpus(root),
        "memory_gib": _memory_gib(root),
        "os": _os(root),
        "python": platform.python_version(),
        "libraries": _libraries(),
        "onnxruntime_providers": _providers(),
    }


def device_key(root: Path = Path("/")) -> str:
    """Hash of what makes two machines interchangeable for a latency: two runs with one key may share their
    figures.

    Processor, usable cores, accelerators, memory to the nearest GiB and ONNX Runtime; not the governor or
    the clock, which drift on one machine, nor names.
    """
    cpu = _cpu(root)
    libraries = _libraries()
    return hash_json(
        {
            "cpu": {name: value for name, value in cpu.items() if name != "governor"},
            "gpus": _gpus(root),
            "memory_gib": _memory_gib(root),
            "system": platform.system(),
            "runtime": {name: libraries.get(name) for name in ("onnxruntime", "onnxruntime-gpu", "tensorrt")},
            "providers": _providers(),
        }
    )


def _cpu(root: Path) -> dict[str, Any]:
    lines = _key_values(root / "proc/cpuinfo", ":")
    flags = set((lines.get("flags") or lines.get("Features") or "").split())
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "model": lines.get("model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "flags": [flag for flag in FLAGS_OF_NOTE if flag in flags],
        "logical_cores": os.cpu_count(),
        "available_cores": affinity,
        "quota_cores": _quota_cores(root),
        "governor": _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    }


def _quota_cores(root: Path) -> float | None:
    """Cores' worth of time that the control groups allow, the tightest of them; None without a limit."""
    group = root / "sys/fs/cgroup"
    own = (_key_values(root / "proc/self/cgroup", "::").get("0") or "/").strip("/")
    limits = [_read(folder / "cpu.max") or "" for folder in (group / own, *(group / own).parents)]
    version_1 = [_read(group / "cpu" / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
    found = [cores for cores in map(_cores, [*limits, " ".join(version_1)]) if cores is not None]
    return min(found, default=None)


def _cores(limit: str) -> float | None:
    """`quota period` in microseconds as cores; None for `max` (v2), -1 (v1) and nothing."""
    words = limit.split()
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[1]) == 0:
        return None
    return round(int(words[0]) / int(words[1]), 2)


def _gpus(root: Path) -> list[dict[str, str]]:
    """Names of NVIDIA devices with the driver's version, from /proc: no library is loaded, no process
    started."""
    version = _read(root / "proc/driver/nvidia/version") or ""
    driver = next((word for word in version.split() if word[:1].isdigit() and "." in word), "")
    files = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    return [{"name": _key_values(file, ":").get("Model", "unknown"), "driver": driver} for file in files]


def _memory_gib(root: Path) -> int | None:
    words = _key_values(root / "proc/meminfo", ":").get("MemTotal", "").split()
    return round(int(words[0]) / 2**20) if words and words[0].isdigit() else None


def _os(root: Path) -> str:
    pretty = _key_values(root / "etc/os-release", "=").get("PRETTY_NAME", "").strip('"')
    return f"{pretty or platform.system()}, kernel {platform.release()}"


def _libraries() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _providers() -> list[str]:
    """ONNX Runtime's execution providers; empty where it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return []
    return list(onnxruntime.get_available_providers())


def _key_values(path: Path, separator: str) -> dict[str, str]:
    """First value of every `key separator value` line."""
    found: dict[str, str] = {}
    for line in (_read(path) or "").splitlines():
        name, sign, value = line.partition(separator)
        if sign:
            found.setdefault(name.strip(), value.strip())
    return found


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None

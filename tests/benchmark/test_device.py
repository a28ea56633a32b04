from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from compressor.benchmark.device import device_fingerprint, device_key

CPUINFO = """processor\t: 0
model name\t: Imaginary 9000
flags\t\t: fpu sse4_2 avx2 avx512f avx512_vnni amx_int8 unknown_flag

processor\t: 1
model name\t: Imaginary 9000
"""


def machine(root: Path, **changed: str) -> Path:
    """A root folder with what Linux tells of itself."""
    files = {
        "proc/cpuinfo": CPUINFO,
        "proc/meminfo": "MemTotal:       16384000 kB\nMemFree: 12 kB\n",
        "proc/self/cgroup": "0::/system/job\n",
        "sys/fs/cgroup/cpu.max": "max 100000\n",
        "sys/fs/cgroup/system/job/cpu.max": "150000 100000\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        "etc/os-release": 'NAME="X"\nPRETTY_NAME="Imaginary Linux 12"\n',
        "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  555.42.02  Mon\n",
        "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA Test 1\nIRQ: 5\n",
    } | changed
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_fingerprint_says_what_shapes_a_latency(tmp_path: Path) -> None:
    found = device_fingerprint(machine(tmp_path))
    assert found["cpu"]["model"] == "Imaginary 9000"
    assert found["cpu"]["flags"] == ["sse4_2", "avx2", "avx512f", "avx512_vnni", "amx_int8"]
    assert found["cpu"]["quota_cores"] == 1.5
    assert found["cpu"]["governor"] == "powersave"
    assert found["memory_gib"] == 16
    assert found["os"].startswith("Imaginary Linux 12, kernel ")
    assert found["gpus"] == [{"name": "NVIDIA Test 1", "driver": "555.42.02"}]
    assert "CPUExecutionProvider" in found["onnxruntime_providers"]
    assert found["libraries"]["numpy"]
    assert json.loads(json.dumps(found)) == found


def test_the_key_follows_the_machine_and_not_its_mood(tmp_path: Path) -> None:
    plain = device_key(machine(tmp_path / "a"))
    governor = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    memory = "MemTotal:       16384900 kB\n"
    assert device_key(machine(tmp_path / "b", **{governor: "performance", "proc/meminfo": memory})) == plain
    other = {
        "model": {"proc/cpuinfo": CPUINFO.replace("9000", "9001")},
        "flags": {"proc/cpuinfo": CPUINFO.replace("avx512_vnni", "")},
        "quota": {"sys/fs/cgroup/system/job/cpu.max": "100000 100000\n"},
        "gpu": {"proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: NVIDIA Test 2\n"},
    }
    keys = {name: device_key(machine(tmp_path / name, **change)) for name, change in other.items()}
    assert len({plain, *keys.values()}) == 5


def test_a_system_that_tells_nothing_gives_nulls(tmp_path: Path) -> None:
    found = device_fingerprint(tmp_path)
    assert found["memory_gib"] is None
    assert found["cpu"]["quota_cores"] is None
    assert found["cpu"]["governor"] is None
    assert found["cpu"]["model"]
    assert found["gpus"] == []


def test_old_control_groups_limit_too(tmp_path: Path) -> None:
    for name, text in {"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"}.items():
        path = tmp_path / "sys/fs/cgroup/cpu" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert device_fingerprint(tmp_path)["cpu"]["quota_cores"] == 0.5
    (tmp_path / "sys/fs/cgroup/cpu/cpu.cfs_quota_us").write_text("-1\n")
    assert device_fingerprint(tmp_path)["cpu"]["quota_cores"] is None


def test_measuring_needs_no_torch() -> None:
    code = (
        "import sys; import compressor.benchmark.latency, compressor.evaluate.examples;"
        "import compressor.report.goals; from compressor.benchmark.device import device_fingerprint;"
        "device_fingerprint(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""The doctor says what is here and what is missing, on any machine, broken ones included."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compressor import doctor
from compressor.doctor import Finding, diagnose
from tests.runtime.fake_gpu import without


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def versions(monkeypatch: pytest.MonkeyPatch, **known: str) -> None:
    def version(name: str) -> str:
        if name.replace("-", "_") in known:
            return known[name.replace("-", "_")]
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "version", version)


def installed(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    monkeypatch.setattr(
        doctor.importlib.util, "find_spec", lambda name: object() if name in modules else None
    )


def test_everything_is_looked_for_once_and_told(tmp_path: Path) -> None:
    findings = diagnose(tmp_path)
    names = [finding.name for finding in findings]
    assert len(names) == len(set(names))
    assert {"python", "cpu", "memory", "disk", "torch", "onnxruntime", "java", "bentoml"} <= set(names)
    assert {"torchvision", "timm", "transformers", "open_clip", "accelerate", "onnx", "lancedb"} <= set(names)
    assert all(finding.detail and finding.needed_for for finding in findings)
    assert {finding.state for finding in findings} <= {"ok", "missing", "warning"}
    assert str(tmp_path) in by_name(findings)["disk"].detail


def test_every_way_to_run_a_model_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with without(monkeypatch, "tensorrt", "cuda.bindings.runtime", "openvino"):
        found = by_name(diagnose())
    assert found["run on onnxruntime cpu"].state == "ok"
    engines = found["run on tensorrt engines"]
    assert engines.state == "missing"
    assert engines.detail.startswith(
        "TensorRT is not installed (pip install 'compressor[gpu]'), and NVIDIA's"
    )
    assert found["run on openvino"].detail == "OpenVINO is not installed (pip install 'compressor[openvino]')"


def test_a_base_install_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    versions(monkeypatch)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    found = by_name(diagnose())
    assert found["torch"] == Finding(
        "torch", "missing", "not installed; pip install 'compressor[train]'", "training, export"
    )
    assert found["onnxruntime"].detail == "not installed; pip install 'compressor[cpu]' (or [gpu])"
    assert found["lancedb"].detail == "not installed; pip install 'compressor[gallery]'"
    assert found["java"].state == "missing"
    assert "cuda" not in found


def test_it_runs_where_nothing_heavy_can_be_imported() -> None:
    script = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'torch', 'numpy', 'onnxruntime', 'timm', 'bentoml'}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from compressor.doctor import diagnose, print_findings\n"
        "print_findings(diagnose())\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "compressor[train]" in told
    assert "Traceback" not in told


def test_a_torch_that_does_not_import_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> bool:
        raise RuntimeError("operator torchvision::nms does not exist\nmore")

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_available=broken)))
    installed(monkeypatch, "torch")
    versions(monkeypatch, torch="2.6.0")
    finding = by_name(diagnose())["torch"]
    assert finding.state == "warning"
    assert finding.detail == "2.6.0 does not work: operator torchvision::nms does not exist"


@pytest.mark.parametrize("usable", [True, False])
def test_cuda_is_told(monkeypatch: pytest.MonkeyPatch, usable: bool) -> None:
    cuda = SimpleNamespace(
        is_available=lambda: usable, device_count=lambda: 2, get_device_name=lambda index: f"GPU {index}"
    )
    fake = SimpleNamespace(cuda=cuda, __version__="2.6.0", version=SimpleNamespace(cuda="12.4"))
    monkeypatch.setitem(sys.modules, "torch", fake)
    installed(monkeypatch, "torch")
    finding = by_name(diagnose())["cuda"]
    if usable:
        assert (finding.state, finding.detail) == ("ok", "CUDA 12.4: GPU 0, GPU 1")
    else:
        assert (finding.state, finding.detail) == ("missing", "no usable GPU; torch is built for CUDA 12.4")


@pytest.mark.parametrize(
    ("torch", "torchvision", "state"),
    [("2.6.0+cpu", "0.21.0", "warning"), ("2.6.0+cpu", "0.21.0+cpu", "ok"), ("2.6.0", "0.21.0", "ok")],
)
def test_builds_of_torch_and_torchvision_must_match(
    monkeypatch: pytest.MonkeyPatch, torch: str, torchvision: str, state: str
) -> None:
    installed(monkeypatch, "torch", "torchvision")
    versions(monkeypatch, torch=torch, torchvision=torchvision)
    assert by_name(diagnose())["torchvision"].state == state


@pytest.mark.parametrize(
    ("known", "providers", "state", "words"),
    [
        ({"onnxruntime": "1.2"}, ["CPUExecutionProvider"], "ok", "onnxruntime 1.2: CPUExecutionProvider"),
        (
            {"onnxruntime_gpu": "1.2"},
            ["CUDAExecutionProvider"],
            "ok",
            "onnxruntime-gpu 1.2: CUDAExecutionProvider",
        ),
        (
            {"onnxruntime": "1.2", "onnxruntime_gpu": "1.2"},
            ["CPUExecutionProvider"],
            "warning",
            "overwrite each other",
        ),
        ({"onnxruntime": "1.2"}, [], "warning", "does not import or has no provider"),
    ],
)
def test_onnx_runtime_is_told_with_its_providers(
    monkeypatch: pytest.MonkeyPatch, known: dict[str, str], providers: list[str], state: str, words: str
) -> None:
    device: dict[str, Any] = doctor.device_fingerprint() | {"onnxruntime_providers": providers}
    monkeypatch.setattr(doctor, "device_fingerprint", lambda: device)
    installed(monkeypatch, "onnxruntime")
    versions(monkeypatch, **known)
    finding = by_name(diagnose())["onnxruntime"]
    assert finding.state == state
    assert words in finding.detail


@pytest.mark.parametrize(
    ("script", "state", "words"),
    [
        ("echo 'openjdk version \"21.0.1\" 2023' >&2", "ok", "21.0.1"),
        ("echo 'java version \"1.8.0_51\"' >&2", "warning", "17 or later is needed"),
        ("echo gibberish", "warning", "of unknown version"),
        ("exit 3", "warning", "does not run"),
    ],
)
def test_java_must_be_recent_and_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, state: str, words: str
) -> None:
    program = tmp_path / "java"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: str(program))
    finding = doctor._java()
    assert finding.state == state
    assert words in finding.detail


def test_little_memory_and_disk_are_warnings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    device = doctor.device_fingerprint() | {"memory_gib": 2}
    monkeypatch.setattr(doctor, "device_fingerprint", lambda: device)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**30))
    found = by_name(diagnose(tmp_path))
    assert found["memory"].state == "warning"
    assert (found["disk"].state, found["disk"].detail) == ("warning", f"1.0 GiB free in {tmp_path}")


def test_a_container_s_memory_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_container_limit_gib", lambda: 3.0)
    finding = doctor._memory({"memory_gib": 64})
    assert (finding.state, finding.detail) == ("warning", "3 GiB of 64 GiB in this container")


def test_a_folder_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    assert by_name(diagnose(tmp_path / "none"))["disk"].state == "warning"


def test_the_table_holds_every_finding(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.print_findings([Finding("a", "ok", "[b] found", "x"), Finding("c", "missing", "none", "y")])
    told = capsys.readouterr().out
    assert "[b] found" in told
    assert "missing" in told


@pytest.mark.parametrize(("cores", "counted"), [(1, ", 1 core;"), (2, ", 2 cores;")])
def test_one_core_is_one(cores: int, counted: str) -> None:
    cpu = {"model": "x", "available_cores": cores, "logical_cores": 8, "quota_cores": None, "flags": []}
    assert counted in doctor._cpu({"cpu": cpu}).detail

"""What the manifests name exists: ports, probes, variables, the metric, the user; there is time to drain."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prometheus_client import CollectorRegistry

from serving.app import ENDPOINTS
from serving.batching import Engine, Lane
from serving.metrics import Metrics
from serving.settings import Settings, from_environment

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict[str, Any]]:
    found = list(yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text()))
    assert len({each["kind"] for each in found}) == len(found)
    return {each["kind"]: each for each in found}


@pytest.fixture(scope="module")
def pod(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    spec = manifests["Deployment"]["spec"]["template"]["spec"]
    assert len(spec["containers"]) == 1
    return spec


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    return pod["containers"][0]


def test_the_port_is_the_one_of_the_image_everywhere(
    manifests: dict[str, dict[str, Any]], container: dict[str, Any]
) -> None:
    (exposed,) = re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.M)
    (port,) = container["ports"]
    assert str(port["containerPort"]) == exposed
    (service,) = manifests["Service"]["spec"]["ports"]
    assert service["targetPort"] == port["name"]
    annotations = manifests["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == exposed
    assert annotations["prometheus.io/path"] == "/metrics"


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_ask_endpoints_that_need_no_key(container: dict[str, Any], probe: str) -> None:
    asked = container[probe]["httpGet"]
    assert ENDPOINTS[asked["path"]]["GET"].key == "never"
    assert asked["port"] == container["ports"][0]["name"]
    # A canary waits its turn behind requests: a busy replica is taken out of service, but never killed.
    assert asked["path"] == ("/livez" if probe == "livenessProbe" else "/readyz")


def test_labels_and_names_hold_together(manifests: dict[str, dict[str, Any]]) -> None:
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert manifests["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    scaled = manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert scaled == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "compressor"}
    assert manifests["Deployment"]["metadata"]["name"] == scaled["name"]
    assert "replicas" not in manifests["Deployment"]["spec"]


def test_variables_are_settings_and_their_files_are_mounted(
    manifests: dict[str, dict[str, Any]], pod: dict[str, Any], container: dict[str, Any]
) -> None:
    variables = {each["name"]: each["value"] for each in container["env"]}
    known = {f"COMPRESSOR_{name.upper()}" for name in Settings.model_fields} | {"COMPRESSOR_WORKERS"}
    assert set(variables) <= known
    settings = from_environment(variables)
    mounted = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert set(mounted) == {each["name"] for each in pod["volumes"]}
    assert settings.keys_file is not None
    assert str(Path(settings.keys_file).parent) == mounted["keys"]
    assert settings.gallery == mounted["gallery"]
    claims = {each["name"]: each.get("persistentVolumeClaim") for each in pod["volumes"]}
    claim = manifests["PersistentVolumeClaim"]
    assert claims["gallery"] == {"claimName": claim["metadata"]["name"]}
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]  # replicas share it
    assert variables["COMPRESSOR_THREADS"] == container["resources"]["limits"]["cpu"]
    # A Service called `compressor` would otherwise set COMPRESSOR_... of its own.
    assert pod["enableServiceLinks"] is False


def test_there_is_time_to_drain(pod: dict[str, Any], container: dict[str, Any]) -> None:
    (program, pause) = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    deadline = from_environment({each["name"]: each["value"] for each in container["env"]}).deadline
    assert pod["terminationGracePeriodSeconds"] >= int(pause) + deadline + 5


def test_it_runs_as_the_user_of_the_image_and_may_do_nothing(
    pod: dict[str, Any], container: dict[str, Any]
) -> None:
    ((uid, gid),) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.M)
    security = pod["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (
        int(uid),
        int(gid),
        int(gid),
    )
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert "/tmp" in [each["mountPath"] for each in container["volumeMounts"]]


def test_replicas_follow_a_metric_that_is_counted_and_falls_again(
    manifests: dict[str, dict[str, Any]],
) -> None:
    (followed,) = manifests["HorizontalPodAutoscaler"]["spec"]["metrics"]
    name = followed["pods"]["metric"]["name"]
    (rule,) = yaml.safe_load((ROOT / "deploy/prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert rule["name"]["as"] == name
    assert re.fullmatch(rule["name"]["matches"], name)
    assert rule["seriesQuery"].startswith(f"{name}{{")

    registry = CollectorRegistry()
    seen: list[float | None] = []

    def counted() -> float | None:
        return registry.get_sample_value(name, {"stage": "inference", "model": "toy"})

    def run(rows: np.ndarray) -> np.ndarray:
        seen.append(counted())
        return rows

    observe = Metrics(registry).batches("toy", lambda: 7)
    with Engine({"text": Lane(run, max_batch=4)}, 100, observe=observe) as engine:
        engine.submit("text", np.zeros((10, 1)), time.monotonic() + 30).result(20)
        assert counted() == 0
    assert seen[1:] == [6, 2], "what was left after the batch before"
    assert registry.get_sample_value(name, {"stage": "decode", "model": ""}) == 7

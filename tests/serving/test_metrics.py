from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from serving.metrics import STAGES, Metrics
from serving.models import Models
from serving.settings import Settings
from tests.serving.conftest import Ask


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"gallery": str(tmp_path / "gallery")})


@pytest.fixture
def models(exported: Path, settings: Settings, registry: CollectorRegistry) -> Iterator[Models]:
    models = Models({"toy": exported}, settings, Metrics(registry))
    yield models
    models.close()


def test_every_stage_is_timed_and_every_answer_counted(
    ask: Ask, files: list[bytes], registry: CollectorRegistry
) -> None:
    picture = {"content": files[0], "headers": {"Content-Type": "image/png"}}
    assert ask("POST", "/encode/image", **picture).status_code == 200
    assert ask("POST", "/search", json={"text": "a star"}).status_code == 200
    assert ask("POST", "/encode/text", json={}).status_code == 422
    assert ask("GET", "/nowhere/at/all").status_code == 404

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    for stage in STAGES:
        assert (value("compressor_stage_seconds_count", stage=stage, model="toy") or 0) >= 1, stage
    assert value("compressor_batch_rows_count", model="toy", lane="image") == 1
    assert value("compressor_answers_total", path="/encode/image", status="200") == 1
    assert value("compressor_answers_total", path="/encode/text", status="422") == 1
    assert value("compressor_answers_total", path="other", status="404") == 1
    assert value("compressor_request_seconds_count", path="/encode/image") == 1
    assert value("compressor_queue_rows", stage="inference", model="toy") is not None

"""Which bundles make vectors that may be compared."""

from __future__ import annotations

from typing import Any

import pytest

from compressor.gallery.identity import Identity, embedding_fingerprint
from compressor.runtime.bundle import Bundle
from compressor.runtime.schema import BundleManifest


def fingerprint(manifest: BundleManifest, **changes: Any) -> str:
    return Identity.of(manifest.model_copy(update=changes), "fp32").fingerprint


def test_the_fingerprint_is_a_sha256_of_the_open_precision(bundle: Bundle, other_bundle: Bundle) -> None:
    assert len(bytes.fromhex(embedding_fingerprint(bundle))) == 32
    assert embedding_fingerprint(bundle) == fingerprint(bundle.manifest)
    assert embedding_fingerprint(bundle) != embedding_fingerprint(other_bundle)


def test_what_people_read_does_not_change_it(bundle: Bundle) -> None:
    manifest = bundle.manifest
    same = fingerprint(manifest, name="another", licence="mine", results={"a": 1}, logit_scale=1.0)
    assert same == fingerprint(manifest)


@pytest.mark.parametrize("part", ["preprocess", "tokenizer"])
def test_preprocessing_changes_it(bundle: Bundle, part: str) -> None:
    entry = getattr(bundle.manifest, part).model_copy(update={"sha256": "0" * 64})
    assert fingerprint(bundle.manifest, **{part: entry}) != fingerprint(bundle.manifest)


@pytest.mark.parametrize("tower", ["image", "text"])
def test_either_graph_changes_it(bundle: Bundle, tower: str) -> None:
    artifact = bundle.manifest.artifacts["fp32"]
    graph = getattr(artifact, tower)
    changed = graph.model_copy(update={"file": graph.file.model_copy(update={"sha256": "0" * 64})})
    artifacts = {"fp32": artifact.model_copy(update={tower: changed})}
    assert fingerprint(bundle.manifest, artifacts=artifacts) != fingerprint(bundle.manifest)

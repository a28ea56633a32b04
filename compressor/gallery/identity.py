"""Which space vectors belong to: a hash of everything in a bundle that decides them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from compressor.runtime.bundle import Bundle
from compressor.runtime.schema import BundleManifest


@dataclass(frozen=True, slots=True)
class Identity:
    """An embedding space. Two vectors may be compared only where `fingerprint` is the same.

    `name` and `precision` are for people; `width` is the number of values in a vector.
    """

    fingerprint: str
    width: int
    name: str
    precision: str

    @classmethod
    def of(cls, manifest: BundleManifest, precision: str) -> Identity:
        """The space of one precision of a bundle, from its manifest alone: no graph is opened."""
        artifact = manifest.artifacts[precision]
        towers = {
            name: [entry.sha256.lower() for entry in (tower.file, tower.external_data) if entry is not None]
            for name, tower in (("image", artifact.image), ("text", artifact.text))
        }
        facts = {
            "towers": towers,
            "preprocess": manifest.preprocess.sha256.lower(),
            "tokenizer": manifest.tokenizer.sha256.lower(),
            "precision": precision,
            "runtime": artifact.runtime,
            "compute": artifact.compute,
            "width": manifest.embed_dim,
        }
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        fingerprint = hashlib.sha256(text.encode("ascii", "backslashreplace")).hexdigest()
        return cls(fingerprint, manifest.embed_dim, manifest.name, precision)


def identity_of(bundle: Bundle | Identity) -> Identity:
    """The space of an open bundle."""
    return bundle if isinstance(bundle, Identity) else Identity.of(bundle.manifest, bundle.precision)


def embedding_fingerprint(bundle: Bundle) -> str:
    """Hex sha256 over the hashes of both graphs, preprocessing and tokeniser, precision, runtime and width.

    How a bundle was opened (threads, execution provider, fast decoding) is not part of it: such choices move
    a vector by rounding errors, another precision moves it by more.
    """
    return identity_of(bundle).fingerprint

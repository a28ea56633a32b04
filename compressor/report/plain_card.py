"""The card of a bundle that was exported without a run: what it is, and what the parity gate said."""

from __future__ import annotations

from typing import Any

import yaml

from compressor.report.markdown import fenced, text
from compressor.report.runtimes import NAMES, install, runtime_of
from compressor.runtime.manifest import AnyManifest
from compressor.runtime.schema import TERMS

_TASKS = {
    "dual_encoder": ("feature-extraction", ["clip", "image-text-retrieval"]),
    "captioner": ("image-to-text", ["blip"]),
    "vqa": ("visual-question-answering", ["blip"]),
}
_USE = {
    "dual_encoder": 'Bundle\n\nbundle = Bundle.open("bundle")\nrows = bundle.encode_texts(["a red circle"])',
    "captioner": 'Writer\n\nwriter = Writer.open("bundle")\n'
    'print(writer.caption([open("photo.jpg", "rb").read()]))',
    "vqa": 'Writer\n\nwriter = Writer.open("bundle")\n'
    'print(writer.answer([open("photo.jpg", "rb").read()], ["what colour is it?"]))',
}


def plain_card(manifest: AnyManifest) -> str:
    """`README.md` with the head that the hub reads."""
    task, tags = _TASKS[manifest.kind]
    head: dict[str, Any] = {
        "license": "other",
        "license_name": "terms-of-the-original-model",
        "license_link": TERMS,
        "library_name": "onnx",
        "pipeline_tag": task,
        "tags": ["onnx", *tags, "compressor"],
    }
    rows: list[tuple[str, str, str, str]] = [
        (name, NAMES[runtime_of(manifest, name)], each.status, each.reason)
        for name, each in manifest.artifacts.items()
    ]
    rows += [(name, "", "not made", reason) for name, reason in manifest.not_made.items()]
    table = "\n".join(f"| {' | '.join([text(name), *runs, text(why)])} |" for name, *runs, why in rows)
    needed = install(runtime_of(manifest, manifest.default_precision))
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False).rstrip()}\n---",
        f"# {text(manifest.name)}",
        f"{manifest.parameters['total'] / 1e6:.1f} M parameters, exported to ONNX. "
        f"Made from: {text(manifest.origin or 'not recorded')}.",
        "Precisions marked passed or failed were compared with the original in PyTorch on "
        f"{text(str(manifest.lineage.get('compared_on') or 'samples'))}. Their quality was not measured.",
        f"| Precision | Runs in | Parity | Remark |\n| --- | --- | --- | --- |\n{table}",
        f"`{needed}` is all it needs; there is no torch in it. "
        "Download it as files: `hf download REPOSITORY --local-dir bundle`.",
        fenced(f"from compressor.runtime import {_USE[manifest.kind]}", "python"),
    ]
    return "\n\n".join(parts) + "\n"

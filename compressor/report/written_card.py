"""What the model card says of a student that writes."""

from __future__ import annotations

from typing import Any

from compressor.report import numbers as n
from compressor.report.generation_tables import FIGURES
from compressor.report.markdown import fenced, text
from compressor.report.results import Results

_HUB = {"bleu_4": "bleu", "vqa_accuracy": "accuracy", "rouge_l": "rouge"}


def written_metadata(results: Results) -> dict[str, Any]:
    """The part of the card's head that the task decides."""
    task = "visual-question-answering" if _asks(results) else "image-to-text"
    return {
        "library_name": "transformers",
        "pipeline_tag": task,
        "tags": ["blip", task, "knowledge-distillation", "compressor"],
    }


def written_task(results: Results) -> dict[str, str]:
    """The task as the hub names it."""
    if _asks(results):
        return {"type": "visual-question-answering", "name": "Visual question answering"}
    return {"type": "image-to-text", "name": "Image captioning"}


def written_metrics(results: Results) -> list[dict[str, Any]]:
    """The student's figures; none of a rehearsal."""
    student = results.quality.get("student")
    if student is None or results.rehearsal:
        return []
    return [
        {"type": _HUB.get(name, name), "name": label, "value": round(value, 2)}
        for name, label in FIGURES.items()
        if (value := getattr(student, name, None)) is not None
    ]


def what_writes(results: Results) -> str:
    """One paragraph: the model, its size, its teacher."""
    student, found = results.recipe.get("student", {}), results.size.student
    image, words = student.get("image", {}), student.get("text", {})
    does = "answers questions about pictures" if _asks(results) else "captions pictures"
    counted = f", {n.parameters(found.parameters)} parameters, {n.size(found.bytes)} at fp32" if found else ""
    facts = results.lineage.get("teacher")
    origin = facts.get("origin") if isinstance(facts, dict) else None
    taught = f" It was distilled from: {text(str(origin))}." if origin else ""
    return (
        f"A BLIP that {does}: ViT of {image.get('layers')} layers and {image.get('width')} channels, BERT of "
        f"{words.get('layers')} and {words.get('width')}{counted}, exported to ONNX.{taught}"
    )


def how_to_write(results: Results, alone: bool = False) -> str:
    """How the bundle is used, and, where it is not `alone`, the checkpoint beside it."""
    kind = "BlipForQuestionAnswering" if _asks(results) else "BlipForConditionalGeneration"
    example = "\n".join(
        (
            "from compressor.runtime import Writer\n",
            'writer = Writer.open("bundle")',
            'picture = open("photo.jpg", "rb").read()',
            'print(writer.answer([picture], ["what colour is it?"]))'
            if _asks(results)
            else "print(writer.caption([picture]))",
        )
    )
    told = (
        "Writing about pictures like those it was trained on. `pip install 'compressor[cpu]'` is all the "
        "bundle needs; there is no torch in it.\n\n" + fenced(example, "python")
    )
    return told if alone else f"{told}\n\nThe folder `checkpoint` loads in transformers as `{kind}`."


def _asks(results: Results) -> bool:
    return bool(results.recipe.get("teacher", {}).get("head") == "vqa")

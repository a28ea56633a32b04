"""What `compressor plan` knows of a recipe whose student writes: sizes and steps, without any weights."""

from __future__ import annotations

from typing import Any

from compressor.pipeline.context import Context


def written_sizes(context: Context, *, known: bool) -> dict[str, Any]:
    """Parameters of both models where they can be told, and steps where the data are there."""
    from compressor.distill.schedule import total_steps

    counts = _parameters(context)
    steps = total_steps(context.recipe.distill, len(context.pairs("train").rows)) if known else None
    return {
        "student": _figures(counts.get("student")),
        "teacher": _figures(counts.get("teacher")),
        "steps": steps,
        "store_bytes": None,
        "hours": None,
    }


def _figures(counts: dict[str, int] | None) -> dict[str, Any] | None:
    if counts is None:
        return None
    return {"parameters": counts, "embed_dim": None, "gflops_image": None, "gflops_text": None}


def _parameters(context: Context) -> dict[str, dict[str, int]]:
    """By role; a tokeniser that is yet to be trained counts with its full size."""
    import torch
    from transformers import BlipConfig

    from compressor.recipe.models import TrainedTokenizer
    from compressor.students.blip import build_blip, halves
    from compressor.students.blip_build import blip_student_sizes
    from compressor.students.build import vocabulary_of
    from compressor.students.dual_encoder import parameter_counts
    from compressor.students.generator import Vocabulary
    from compressor.students.transformers_tower import read_config
    from compressor.teachers.blip_published import published_config

    writers = context.writers
    section, sizes = writers.section, writers.section.sizes
    if sizes is not None:
        tokenizer = section.tokenizer or TrainedTokenizer(kind="train")
        size = vocabulary_of(tokenizer, section.context_length) + 2
        vocabulary = Vocabulary(size, size - 2, 2, 0)
        own = blip_student_sizes(sizes, section.head, vocabulary)
        return {
            "teacher": own,
            "student": blip_student_sizes(writers.student_section, section.head, vocabulary),
        }
    config: Any = published_config(section.name)
    if section.path is not None and (section.path / "config.json").is_file():
        config = read_config(section.path)
    if not isinstance(config, BlipConfig):
        return {}
    size = halves(config)[1].vocab_size
    vocabulary = Vocabulary(size, size - 2, 2, 0)
    with torch.device("meta"):
        whole = parameter_counts(build_blip(config, section.head, vocabulary))
    student = blip_student_sizes(writers.student_section, section.head, vocabulary, config)
    return {"teacher": whole, "student": student}

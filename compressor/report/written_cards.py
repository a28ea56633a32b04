"""Examples of captions and answers as HTML: the picture, the ground truth, and what each model wrote."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from compressor.report.example_cards import picture
from compressor.report.tables import ROLES

_LEAD = (
    "Chosen where the student does best and worst beside its teacher, in turn: an illustration, not a sample "
    "to count on. Beside each text stands its own score: {score}."
)
_REHEARSED = "Random weights: these show that the page works, nothing else."
_SCORES = {"caption": "CIDEr of this caption where it was measured", "answer": "accuracy in percent"}


def written_cards(examples: Sequence[dict[str, Any]], rehearsal: bool = False) -> str:
    """All examples as cards."""
    lead = _REHEARSED if rehearsal else _LEAD.format(score=_SCORES[str(examples[0]["kind"])])
    cards = "".join(_card(example) for example in examples)
    return f'<p class="lead">{lead}</p><div class="examples">{cards}</div>'


def _card(example: dict[str, Any]) -> str:
    asks = example["kind"] == "answer"
    title = "Question" if asks else "Picture"
    question = f"<blockquote>{escape(str(example['question']))}</blockquote>" if asks else ""
    truth = "".join(f"<li><span>{escape(str(text))}</span></li>" for text in example["references"])
    columns = "".join(_column(role, example["written"][role]) for role in ROLES if role in example["written"])
    told = "People answered" if asks else "People wrote"
    shown = picture(example["image"], f"Picture {example['id']}")
    return (
        f'<article class="example written"><header><h4>{title}</h4></header>'
        f'<div class="asked"><div class="query">{shown}{question}</div><div class="answers">'
        f'<div><p>{told}</p><ol class="captions">{truth}</ol></div>{columns}</div></div></article>'
    )


def _column(role: str, written: dict[str, Any]) -> str:
    text = str(written["text"]) or "(nothing)"
    score = f"{float(written['score']):.0f}"
    return (
        f'<div class="c-{role}"><p>{role.capitalize()}</p><ol class="captions"><li>'
        f'<span>{escape(text)}</span><span class="mark">{score}</span></li></ol></div>'
    )

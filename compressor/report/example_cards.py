"""Example retrievals as HTML: the question, and the three best answers of teacher and student side by side.

The form of an example is documented in `compressor.evaluate.examples`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

_LEAD = (
    "Chosen to show agreement, wins and losses in turn: an illustration, not a sample to count on. Right and "
    "wrong are judged by the first of the three answers; beside each stands its cosine with the question."
)
_REHEARSED = "Random weights: these show that the page works, nothing else."
_TITLES = {"text_to_image": "Caption to picture", "image_to_text": "Picture to caption"}
_TONES = {"both right": "good", "student only": "good", "student right": "good", "both wrong": "muted"}
_OUTCOMES = {
    "both right": "both right",
    "both wrong": "both wrong",
    "student only": "only the student is right",
    "teacher only": "only the teacher is right",
    "student right": "right",
    "student wrong": "wrong",
}


def example_cards(examples: Sequence[dict[str, Any]], rehearsal: bool = False) -> str:
    """All examples as cards."""
    cards = "".join(_card(example) for example in examples)
    return f'<p class="lead">{_REHEARSED if rehearsal else _LEAD}</p><div class="examples">{cards}</div>'


def _card(example: dict[str, Any]) -> str:
    outcome, query = str(example["outcome"]), example["query"]
    if "caption" in query:
        asked = f"<blockquote>{escape(query['caption'])}</blockquote>"
    else:
        asked = picture(query["image"], f"Query picture {query['id']}")
    columns = "".join(
        _column(role, example.get(role)) for role in ("teacher", "student") if example.get(role)
    )
    tone, kind = _TONES.get(outcome, "bad"), str(example["kind"])
    return (
        f'<article class="example {kind.replace("_", "-")}"><header><h4>{_TITLES[kind]}</h4>'
        f'<span class="chip {tone}">{escape(_OUTCOMES.get(outcome, outcome))}</span></header>'
        f'<div class="asked"><div class="query">{asked}</div>'
        f'<div class="answers">{columns}</div></div></article>'
    )


def _column(role: str, answers: Sequence[dict[str, Any]] | None) -> str:
    items = [_answer(role, place, answer) for place, answer in enumerate(answers or [], start=1)]
    kind = "pictures" if answers and "image" in answers[0] else "captions"
    return f'<div class="c-{role}"><p>{role.capitalize()}</p><ol class="{kind}">{"".join(items)}</ol></div>'


def _answer(role: str, place: int, answer: dict[str, Any]) -> str:
    right = bool(answer["correct"])
    score = f"{float(answer['score']):.2f}".replace("-", "\u2212")
    verdict = (
        f'<span class="mark">{"✓ right" if right else "✕<span class=unseen> wrong</span>"} · {score}</span>'
    )
    if "image" in answer:
        shown = picture(answer["image"], f"Answer {place} of the {role}: {answer['id']}")
    else:
        shown = f"<span>{escape(answer['caption'])}</span>"
    return f'<li class="{"right" if right else "wrong"}">{shown}{verdict}</li>'


def picture(jpeg: str, about: str) -> str:
    """A picture inside the page; `jpeg` is base64."""
    data = escape(str(jpeg), quote=True)
    return f'<img class="picture" alt="{escape(about, quote=True)}" src="data:image/jpeg;base64,{data}">'

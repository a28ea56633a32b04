"""Whose terms apply to a student, as far as the recipe knows. Notes for people, no legal advice."""

from __future__ import annotations

from typing import Any

from compressor.report.results import Results

_DATA = {
    "scenes": "drawn by this project's own generator, no terms of others",
    "scenes_questions": "drawn by this project's own generator, no terms of others",
    "coco_captions": "captions CC BY 4.0 (COCO Consortium); the photos under Flickr's terms of use",
    "vqa": "questions and answers CC BY 4.0 (VQA v2); the photos of COCO under Flickr's terms of use",
}
UNKNOWN = "not recorded; look it up before you pass the model on"


def licences(results: Results) -> dict[str, str]:
    """A note for each part that the student was made of."""
    found: dict[str, str] = {}
    facts = results.lineage.get("teacher")
    if isinstance(facts, dict) and facts.get("kind") not in (None, "none"):
        found["teacher"] = _model(facts)
    starts = {name: _start(results.recipe.get("student", {}).get(name)) for name in ("image", "text")}
    found |= {f"{name} tower's starting weights": note for name, note in starts.items() if note}
    found["data"] = _DATA.get(str(results.recipe.get("data", {}).get("kind")), UNKNOWN)
    return found


def licence_notes(name: str, notes: dict[str, str]) -> str:
    """`LICENSE.md`: the notes in a sentence each."""
    lines = [f"- {part}: {note}" for part, note in notes.items()]
    return "\n".join(
        (
            f"# Terms of {name}",
            "",
            "The weights in this folder were made with the help of what is listed here, and its terms apply.",
            "The weights themselves have no licence of their own yet: whoever publishes them gives them one.",
            "",
            *lines,
            "",
        )
    )


def _model(facts: dict[str, Any]) -> str:
    members = facts.get("members")
    if isinstance(members, list):
        return "; ".join(_model(each) for each in members if isinstance(each, dict))
    origin = str(facts.get("origin") or facts.get("kind"))
    return f"{origin}: {facts.get('licence') or UNKNOWN}"


def _start(tower: Any) -> str:
    """What is known of the weights a tower starts from; nothing for random ones."""
    if not isinstance(tower, dict) or not any(tower.get(key) for key in ("weights", "path")):
        return ""
    name = tower.get("name") or tower.get("kind") or "a local file"
    return f"{name}: {UNKNOWN}"

"""Example retrievals of a finished run, with drawn pictures."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {"red": "#d23b33", "green": "#3a9a4b", "blue": "#3a5bd0", "yellow": "#e2bd35", "violet": "#8b4bc4"}
SHAPES = ("circle", "square", "triangle")


def scene(seed: int, size: int = 96) -> str:
    """A small drawn scene as base64 JPEG."""
    generator = np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), ("#f4efe4", "#dfe8ee", "#e9e4ef")[seed % 3])
    draw = ImageDraw.Draw(image)
    for _ in range(2 + seed % 2):
        x, y, r = generator.integers(22, 74), generator.integers(22, 74), generator.integers(9, 21)
        colour = list(COLOURS.values())[generator.integers(len(COLOURS))]
        shape = SHAPES[generator.integers(3)]
        if shape == "circle":
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        elif shape == "square":
            draw.rectangle((x - r, y - r, x + r, y + r), fill=colour)
        else:
            draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return base64.b64encode(file.getvalue()).decode()


def examples() -> list[dict[str, Any]]:
    captions = (
        "a small red circle above a large blue square on a pale background",
        "two green triangles beside each other, the left one is striped",
        "there is a violet square to the right of a yellow circle",
        "a blue triangle and, below it, a tiny red triangle",
    )
    ranks = {"both right": (0, 0), "student only": (1, 0), "teacher only": (0, 2), "both wrong": (9, 1)}
    found = []
    for k, (outcome, right) in enumerate(ranks.items()):
        answers = [
            [
                {
                    "id": f"scene-{k}-{role}-{j}",
                    "image": scene(10 * k + 3 * role + j),
                    "correct": right[role] == j,
                    "score": round(0.61 - 0.07 * j - 0.02 * role, 4),
                }
                for j in range(3)
            ]
            for role in range(2)
        ]
        query = {"id": f"scene-{k}", "caption": captions[k]}
        found.append(
            {
                "kind": "text_to_image",
                "outcome": outcome,
                "query": query,
                "teacher": answers[0],
                "student": answers[1],
            }
        )
    for k, (outcome, right) in enumerate(ranks.items()):
        answers = [
            [
                {
                    "id": f"scene-{k}",
                    "caption": captions[(k + j + role) % 4],
                    "correct": right[role] <= j,
                    "score": 0.58 - 0.04 * j,
                }
                for j in range(3)
            ]
            for role in range(2)
        ]
        query = {"id": f"scene-{k}", "image": scene(50 + k)}
        found.append(
            {
                "kind": "image_to_text",
                "outcome": outcome,
                "query": query,
                "teacher": answers[0],
                "student": answers[1],
            }
        )
    return found

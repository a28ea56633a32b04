"""The losses over pairs, relations and logits once more, in float64 NumPy loops from their definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tests.losses.reference import Array, cosine, info_nce


def softmax(values: Sequence[float]) -> list[float]:
    largest = max(values)
    exponentials = [math.exp(value - largest) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def divergence(target: list[float], own: list[float], kind: str) -> float:
    total = 0.0
    for p, q in zip(target, own, strict=True):
        if p > 0:
            total += p * (math.log(p) - math.log(q)) if kind == "kl" else -p * math.log(q)
    return total


def kept_indices(row: int, size: int, mask: Array | None, transposed: bool = False) -> list[int]:
    """The counterparts of an image (or of a text) that count."""
    kept = []
    for other in range(size):
        hidden = mask is not None and (mask[other, row] if transposed else mask[row, other])
        if other == row or not hidden:
            kept.append(other)
    return kept


def affinity(
    sides: Sequence[Array], temperature: float, teachers_own: float, kind: str, mask: Array | None = None
) -> float:
    v, t, V, T = sides
    size, total = len(v), 0.0
    for i in range(size):
        texts, images = kept_indices(i, size, mask), kept_indices(i, size, mask, transposed=True)
        total += divergence(
            softmax([cosine(V[i], T[j]) / teachers_own for j in texts]),
            softmax([cosine(v[i], t[j]) / temperature for j in texts]),
            kind,
        )
        total += divergence(
            softmax([cosine(V[j], T[i]) / teachers_own for j in images]),
            softmax([cosine(v[j], t[i]) / temperature for j in images]),
            kind,
        )
    return total / (2 * size)


def icl(sides: Sequence[Array], temperature: float, mask: Array | None = None) -> float:
    v, t, V, T = sides
    size, total = len(v), 0.0
    for i in range(size):
        texts = [cosine(v[i], T[j]) for j in kept_indices(i, size, mask) if j != i]
        images = [cosine(t[i], V[j]) for j in kept_indices(i, size, mask, transposed=True) if j != i]
        total += info_nce(cosine(v[i], T[i]), texts, temperature)
        total += info_nce(cosine(t[i], V[i]), images, temperature)
    return total / (2 * size)


def gram(sides: Sequence[Array], level: str) -> float:
    v, t, V, T = sides
    size = len(v)
    pairs = [(i, j) for i in range(size) for j in range(size) if level == "batch" or i == j]
    total = 0.0
    for i, j in pairs:
        for first, teacher_first in ((v[i], V[i]), (t[i], T[i])):
            for second, teacher_second in ((v[j], V[j]), (t[j], T[j])):
                student = sum(a * b for a, b in zip(first, second, strict=True))
                teacher = sum(a * b for a, b in zip(teacher_first, teacher_second, strict=True))
                total += (student - teacher) ** 2
    return total / len(pairs)


def regression(v: Array, t: Array, z: Array, normalize: bool = False, has_text: Array | None = None) -> float:
    sides = []
    for own in (v, t):
        total, count = 0.0, 0
        for i in range(len(z)):
            if own is t and has_text is not None and not has_text[i]:
                continue
            lengths = [math.sqrt(sum(x * x for x in row)) if normalize else 1.0 for row in (own[i], z[i])]
            for x, y in zip(own[i], z[i], strict=True):
                total += (x / lengths[0] - y / lengths[1]) ** 2
                count += 1
        sides.append(total / count if count else 0.0)
    return (sides[0] + sides[1]) / 2


def logits(student: Array, teacher: Array, temperature: float, mask: Array | None = None) -> float:
    total, count = 0.0, 0
    for position in np.ndindex(student.shape[:-1]):
        if mask is not None and not mask[position]:
            continue
        target = softmax([value / temperature for value in teacher[position]])
        own = softmax([value / temperature for value in student[position]])
        total += divergence(target, own, "cross_entropy")
        count += 1
    return temperature**2 * total / count if count else 0.0


def rkd_distance(student: Array, teacher: Array) -> float:
    pairs = [(i, j) for i in range(len(student)) for j in range(len(student)) if i != j]
    scaled = []
    for rows in (student, teacher):
        distances = [
            math.sqrt(sum((a - b) ** 2 for a, b in zip(rows[i], rows[j], strict=True))) for i, j in pairs
        ]
        positive = [distance for distance in distances if distance > 0]
        mean = sum(positive) / len(positive) if positive else 1.0
        scaled.append([distance / mean for distance in distances])
    total = 0.0
    for d, e in zip(*scaled, strict=True):
        error = abs(d - e)
        total += error**2 / 2 if error <= 1 else error - 0.5
    return total / len(pairs) if pairs else 0.0

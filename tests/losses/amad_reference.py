"""AMAD once more, in float64 loops written from its definition; what is masked is left out, not zeroed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Array = np.ndarray
Vector = list[float]
Place = tuple[int, int]


class Total(NamedTuple):
    value: float
    elements: int
    samples: int

    def reduced(self, reduction: str) -> float:
        """A divergence of a row of zeros may lie below 0, where it is cut."""
        return max(0.0, self.value / max(self.elements if reduction == "mean" else self.samples, 1))


def loss(
    variant: str,
    teacher: Array,
    student: Array,
    counted: Array,
    temperature: float = 1.0,
    reduction: str = "mean",
) -> float:
    """`counted` is bool (B, Q, K)."""
    if variant == "rkd":
        return relational(teacher, student, counted, reduction)
    forms: dict[str, Callable[[Array, Array, list[Place], float], tuple[float, int]]] = {
        "mse": squared_error,
        "student_to_teacher": lambda t, s, places, tau: squared_error(s, t, places, tau),
        "one_to_one": one_to_one,
        "kl": divergence,
        "token": divergence_by_query,
    }
    value, elements, samples = 0.0, 0, 0
    for b in range(len(teacher)):
        places = [(int(q), int(k)) for q, k in np.argwhere(counted[b])]
        if places:
            more, number = forms[variant](teacher[b], student[b], places, temperature)
            value, elements, samples = value + more, elements + number, samples + 1
    return Total(value, elements, samples).reduced(reduction)


def flat(maps: Array, places: list[Place]) -> list[Vector]:
    return [[float(head[place]) for place in places] for head in maps]


def scaled(vector: Vector, power: int) -> Vector:
    length = sum(abs(x) ** power for x in vector) ** (1 / power)
    return [x / length for x in vector] if length else vector


def dot(first: Vector, second: Vector) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


def mixed(target: Vector, pool: list[Vector], temperature: float) -> Vector:
    """The pool's vectors, weighted with the softmax of their dot products with the target."""
    similar = [dot(target, vector) / temperature for vector in pool]
    powers = [math.exp(value - max(similar)) for value in similar]
    return [
        sum(power * vector[i] for power, vector in zip(powers, pool, strict=True)) / sum(powers)
        for i in range(len(target))
    ]


def squared_error(targets: Array, pool: Array, places: list[Place], temperature: float) -> tuple[float, int]:
    heads = [scaled(vector, 2) for vector in flat(targets, places)]
    others = [scaled(vector, 2) for vector in flat(pool, places)]
    total = 0.0
    for head in heads:
        mix = scaled(mixed(head, others, temperature), 2)
        total += sum((a - b) ** 2 for a, b in zip(mix, head, strict=True))
    return total, len(heads) * len(places)


def one_to_one(teacher: Array, student: Array, places: list[Place], _: float) -> tuple[float, int]:
    total = 0.0
    for own, taught in zip(flat(student, places), flat(teacher[: len(student)], places), strict=True):
        total += sum((a - b) ** 2 for a, b in zip(scaled(own, 2), scaled(taught, 2), strict=True))
    return total, len(student) * len(places)


def divergence(teacher: Array, student: Array, places: list[Place], temperature: float) -> tuple[float, int]:
    heads = [scaled(vector, 1) for vector in flat(teacher, places)]
    others = [scaled(vector, 1) for vector in flat(student, places)]
    total = 0.0
    for head in heads:
        mix = mixed(head, others, temperature)
        for query in sorted({q for q, _ in places}):
            row = [i for i, (q, _) in enumerate(places) if q == query]
            total += row_divergence([head[i] for i in row], [mix[i] for i in row])
    return total, len(heads) * len(places)


def divergence_by_query(
    teacher: Array, student: Array, places: list[Place], temperature: float
) -> tuple[float, int]:
    total, elements = 0.0, 0
    for query in sorted({q for q, _ in places}):
        row = [place for place in places if place[0] == query]
        more, number = divergence(teacher, student, row, temperature)
        total, elements = total + more, elements + number
    return total, elements


def row_divergence(target: Vector, row: Vector) -> float:
    epsilon = 1e-7
    return sum(
        (t + epsilon) * (math.log(t + epsilon) - math.log(s + epsilon))
        for t, s in zip(scaled(target, 1), scaled(row, 1), strict=True)
    )


def projected(student: Array, weight: Array, bias: Array, counted: Array) -> Array:
    """ReLU(W s + b) of every flattened map, entries that do not count being 0 on the way in."""
    result = np.zeros_like(student)
    for b, h in np.ndindex(*student.shape[:2]):
        vector = (student[b, h] * counted[b]).reshape(-1)
        values = [
            max(0.0, sum(weight[i, j] * vector[j] for j in range(len(vector))) + bias[i])
            for i in range(len(vector))
        ]
        result[b, h] = np.reshape(values, student.shape[2:])
    return result


def relational(teacher: Array, student: Array, counted: Array, reduction: str) -> float:
    there = [b for b in range(len(teacher)) if counted[b].any()]
    far_teacher, far_student = (relative_distances(maps, counted, there) for maps in (teacher, student))
    total = 0.0
    for pair, far in far_teacher.items():
        error = abs(far - far_student[pair])
        total += error**2 / 2 if error <= 1 else error - 0.5
    return Total(total, len(far_teacher), len(there)).reduced(reduction)


def relative_distances(maps: Array, counted: Array, there: list[int]) -> dict[tuple[int, int], float]:
    distances = {
        (i, j): math.sqrt(sum(x * x for x in (maps[i] * counted[i] - maps[j] * counted[j]).reshape(-1)))
        for i in there
        for j in there
        if i != j
    }
    apart = [distance for distance in distances.values() if distance > 0]
    mean = sum(apart) / len(apart) if apart else 1.0
    return {pair: distance / mean for pair, distance in distances.items()}

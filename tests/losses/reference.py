"""The losses once more, in float64 NumPy loops written from their definitions."""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray


def cosine(first: Array, second: Array) -> float:
    lengths = math.sqrt(sum(x * x for x in first)) * math.sqrt(sum(x * x for x in second))
    return sum(a * b for a, b in zip(first, second, strict=True)) / lengths if lengths else 0.0


def info_nce(positive: float, negatives: list[float], temperature: float) -> float:
    exponents = [positive / temperature, *(value / temperature for value in negatives)]
    largest = max(exponents)
    return -(exponents[0] - largest) + math.log(sum(math.exp(value - largest) for value in exponents))


def contrastive(
    student: Array,
    teacher: Array,
    temperature: float,
    negatives: Array | None = None,
    mask: Array | None = None,
) -> float:
    total = 0.0
    for i in range(len(student)):
        others = []
        if negatives is None:
            for j in range(len(teacher)):
                if j != i and not (mask is not None and mask[i, j]):
                    others.append(cosine(student[i], teacher[j]))
        else:
            for k in range(len(negatives)):
                if mask is None or not mask[i, k]:
                    others.append(cosine(student[i], negatives[k]))
        total += info_nce(cosine(student[i], teacher[i]), others, temperature)
    return total / len(student)


def feature(student: Array, teacher: Array, norm: str) -> float:
    total = 0.0
    for i in range(student.shape[0]):
        for d in range(student.shape[1]):
            difference = student[i, d] - teacher[i, d]
            total += abs(difference) if norm == "l1" else difference**2
    return total / student.size


def similarity(student: Array, teacher: Array) -> float:
    return sum(1 - (cosine(row, target) + 1) / 2 for row, target in zip(student, teacher, strict=True)) / len(
        student
    )


def hard_negative(
    student: Array, teacher: Array, margin: float, mining: str, mask: Array | None = None
) -> float:
    total = 0.0
    size = len(student)
    for i in range(size):
        own = cosine(student[i], teacher[i])
        rows, columns = [0.0], [0.0]
        for j in range(size):
            if j == i:
                continue
            if mask is None or not mask[i, j]:
                rows.append(max(0.0, margin + cosine(student[i], teacher[j]) - own))
            if mask is None or not mask[j, i]:
                columns.append(max(0.0, margin + cosine(student[j], teacher[i]) - own))
        total += max(rows) + max(columns) if mining == "hardest" else sum(rows) + sum(columns)
    return total / size


def task(image: Array, text: Array, scale: float, mask: Array | None = None) -> float:
    total = 0.0
    size = len(image)
    for i in range(size):
        own = cosine(image[i], text[i])
        texts = [
            cosine(image[i], text[j]) for j in range(size) if j != i and not (mask is not None and mask[i, j])
        ]
        images = [
            cosine(image[j], text[i]) for j in range(size) if j != i and not (mask is not None and mask[j, i])
        ]
        total += (info_nce(own, texts, 1 / scale) + info_nce(own, images, 1 / scale)) / 2
    return total / size

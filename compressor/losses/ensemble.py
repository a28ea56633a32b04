"""Several teachers as one: their rows joined, or their distributions averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.losses.pairs import check_temperature, hidden_entries
from compressor.losses.rows import full_precision, paired, unit_rows, without_autocast


@dataclass(frozen=True)
class Member:
    """One teacher's part of joined rows: so many columns, and its share of the sum of all weights, 1."""

    width: int
    weight: float


def members_of(widths: Sequence[int], weights: Sequence[float] | None = None) -> tuple[Member, ...]:
    """Members of these widths; `weights` count relative to each other, None makes them equal.

    Raises:
        ValueError: for no member, another number of weights than of widths, or a weight that is not positive.
    """
    given = [1.0] * len(widths) if weights is None else list(weights)
    if not widths or len(given) != len(widths) or not all(weight > 0 for weight in given):
        raise ValueError(f"{len(widths)} members need a weight above 0 each, got {given}")
    total = sum(given)
    return tuple(Member(width, weight / total) for width, weight in zip(widths, given, strict=True))


def join_rows(rows: Sequence[Tensor], members: Sequence[Member]) -> Tensor:
    """Unit rows of n teachers side by side as unit rows of one: (B, D_k) each -> (B, ΣD_k).

    Teacher k is scaled by √w_k; for equal weights that is 1/√n. The cosine of two joined rows is then the
    weighted mean of the members' cosines, Σ_k w_k · cos_k. A row of zeros (no caption) stays zeros.

    Raises:
        ValueError: for rows that are not as many and as wide as the members say.
    """
    widths = [member.width for member in members]
    if [part.shape[1] for part in rows] != widths or len({len(part) for part in rows}) != 1:
        shapes = ", ".join(str(tuple(part.shape)) for part in rows)
        raise ValueError(f"the members are {widths} wide and must have equally many rows, got {shapes}")
    return torch.cat(
        [unit_rows(part) * member.weight**0.5 for part, member in zip(rows, members, strict=True)], dim=1
    )


def split_rows(joined: Tensor, members: Sequence[Member]) -> list[Tensor]:
    """What `join_rows` joined: (B, ΣD_k) -> n times (B, D_k), unit rows.

    Raises:
        ValueError: for rows that are not as wide as all members together.
    """
    widths = [member.width for member in members]
    if joined.shape[1] != sum(widths):
        raise ValueError(f"joined rows of {sum(widths)} columns are expected, got {joined.shape[1]}")
    return [unit_rows(part) for part in joined.split(widths, dim=1)]


def mean_distributions(
    image: Tensor,
    text: Tensor,
    members: Sequence[Member],
    temperature: float,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The weighted mean of the members' softmax distributions, in both directions (arXiv 1503.02531, 2).

    With V_k, T_k the unit rows of member k: Σ_k w_k · softmax(V_k T_kᵀ / τ) over the texts for each image,
    and over the images for each text. A member that is sure outvotes those that are not, where a mean of
    similarities would average its certainty away.

    Args:
        image: (B, ΣD_k) joined rows.
        text: (B, ΣD_k), row i describes image i.
        members: their widths and shares.
        temperature: τ, above 0.
        mask: bool (B, B), true where image i and text j must not count; the diagonal always counts.

    Returns:
        (B, B) image i over the texts and (B, B) text j over the images, rows that sum to 1; hidden entries
        are 0.

    Raises:
        ValueError: for shapes that do not fit or a temperature that is not positive.
    """
    paired(image, text)
    check_temperature(temperature)
    with without_autocast(image):
        image, text = full_precision(image, text)
        hidden = hidden_entries(mask, image)
        over_texts = over_images = image.new_zeros(len(image), len(image))
        for member, own, other in zip(
            members, split_rows(image, members), split_rows(text, members), strict=True
        ):
            logits = own / temperature @ other.T
            if hidden is not None:
                logits = logits.masked_fill(hidden, -torch.inf)
            over_texts = over_texts + member.weight * logits.softmax(dim=1)
            over_images = over_images + member.weight * logits.T.softmax(dim=1)
        return over_texts, over_images

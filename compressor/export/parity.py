"""The parity gate: an artifact is offered only if it still is the model that was trained.

The measure is the cosine of each sample's embedding with PyTorch's, after PyTorch's mean over the samples
has been subtracted from both. The plain cosine judges nothing on a model that maps all photos to nearly one
vector (an untrained one does): a graph with constant output passes it. Two guards go with the measure:

- The same measure between the artifact's rows and *other* samples' rows must fall below the floor. If it
  does not, the samples cannot tell a right artifact from a wrong one, and the artifact fails for that reason.
- A sample that lies at the mean has no direction there. Rows nearer to it than 5 % of the samples' root
  mean square distance (in both models) are left out of the cosines; at least half of the rows must remain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressor.errors import CompressorError
from compressor.export.samples import ParitySamples, RecallSet
from compressor.recipe.outcome import ParityBounds
from compressor.runtime.tower import AnyTower

__all__ = ["ParitySamples", "RecallSet", "TowerParity", "centred_cosines", "judge_tower"]

NEAR_MEAN = 0.05
ROUNDING = 1e-6
"""Distance from the mean, relative to unit length, below which the rows differ by float32 rounding alone."""
HARDLY_VARIES = 1e-4
"""The same distance, where rounding begins to show in the cosines and may explain why they do not pass."""
UNIT_LENGTH = 1e-3
AGREEMENT = {"fp32": 0.9999, "fp16": 0.999, "bf16": 0.99} | dict.fromkeys(
    ("int8_static", "int8_weights", "int4_weights"), 0.99
)
"""Floor of the agreement between batch sizes. Dynamic int8 has one activation scale per call, hence another
value per batch: what is not named here is held to the bound of the worst cosine."""
_BATCH = 32
_OTHER_BATCHES = (1, 3, 7)
"""Batch sizes that must give what the large batch gives: one, and odd ones that no kernel is made for."""


@dataclass(frozen=True)
class TowerParity:
    """What the gate found for one tower. Cosines are None where they could not be taken."""

    passed: bool
    reason: str = ""
    cosine: float | None = None
    worst_cosine: float | None = None


def judge_tower(
    tower: AnyTower,
    inputs: NDArray[np.float32] | NDArray[np.int64],
    reference: NDArray[np.float32],
    bounds: ParityBounds,
    precision: str,
) -> TowerParity:
    """Compare a loaded graph with PyTorch's embeddings `reference` (N, D) of the same `inputs` (N, ...)."""
    try:
        output = np.concatenate([tower.run(inputs[at : at + _BATCH]) for at in range(0, len(inputs), _BATCH)])
    except CompressorError as error:
        return TowerParity(False, str(error))
    fault = _fault(output, reference)
    if fault:
        return TowerParity(False, fault)
    cosines = centred_cosines(reference, output)
    mean, worst = _mean(cosines), _worst(cosines)
    verdict = _verdict(cosines, reference, output, bounds) or _batch_fault(
        tower, inputs, output, _spread(reference), AGREEMENT.get(precision, bounds.worst_cosine)
    )
    return TowerParity(not verdict, verdict, mean, worst)


def centred_cosines(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> NDArray[np.float64]:
    """cos(r_i - m, c_i - m) for every row, m the mean of the reference rows; NaN where both rows lie at the
    mean.

    `reference` and `candidate` (N, D); the result (N,) in float64.
    """
    wide = reference.astype(np.float64)
    mean = wide.mean(axis=0)
    r, c = wide - mean, candidate.astype(np.float64) - mean
    lengths = np.linalg.norm(r, axis=1), np.linalg.norm(c, axis=1)
    product = lengths[0] * lengths[1]
    cosines = np.divide((r * c).sum(axis=1), product, out=np.zeros(len(r)), where=product > 0)
    cosines[np.maximum(*lengths) <= NEAR_MEAN * _spread(reference)] = np.nan
    return cosines


def judge_states(
    reference: NDArray[np.float32], output: NDArray[np.float32], bounds: ParityBounds
) -> TowerParity:
    """Compare rows (N, D) of any length, one a sample: the same measure, in units of the reference's root
    mean square length."""
    fault = _broken(output, reference, "rows")
    if fault:
        return TowerParity(False, fault)
    scale = np.float32(max(np.sqrt((reference.astype(np.float64) ** 2).sum(axis=1).mean()), 1e-30))
    reference, output = reference / scale, output / scale
    cosines = centred_cosines(reference, output)
    verdict = _verdict(cosines, reference, output, bounds)
    return TowerParity(not verdict, verdict, _mean(cosines), _worst(cosines))


def _fault(output: NDArray[np.float32], reference: NDArray[np.float32]) -> str:
    """What is wrong with the output before any comparison of directions, or nothing."""
    broken = _broken(output, reference, "embeddings")
    if broken:
        return broken
    off = float(np.abs(np.linalg.norm(output.astype(np.float64), axis=1) - 1).max())
    if off > UNIT_LENGTH:
        return f"embeddings are not of unit length (off by up to {off:.2g})"
    return ""


def _broken(output: NDArray[np.float32], reference: NDArray[np.float32], what: str) -> str:
    if output.shape != reference.shape:
        return f"gives {what} {output.shape} where PyTorch gives {reference.shape}"
    if not np.isfinite(reference).all():
        return f"PyTorch's own {what} are NaN or infinite"
    bad = int((~np.isfinite(output).all(axis=1)).sum())
    if bad:
        return f"{bad} of {len(output)} {what} are NaN or infinite"
    return ""


def _verdict(
    cosines: NDArray[np.float64],
    reference: NDArray[np.float32],
    output: NDArray[np.float32],
    bounds: ParityBounds,
) -> str:
    """Why the cosines do not pass, or nothing."""
    spread = _spread(reference)
    mean, worst, control = _mean(cosines), _worst(cosines), _control(reference, output)
    flat = f"cannot be judged: the outputs hardly vary over the {len(cosines)} samples (spread {spread:.1e})"
    too_few = 2 * np.isfinite(cosines).sum() < len(cosines)
    if mean is None or worst is None or too_few or spread < ROUNDING:
        return flat
    if control >= bounds.cosine:
        return f"{flat}, shuffled ones agree as well (cosine {control:.4f}, floor {bounds.cosine})"
    if mean >= bounds.cosine and worst >= bounds.worst_cosine:
        return ""
    if spread < HARDLY_VARIES:
        return f"{flat}, rounding decides their directions (cosine {mean:.4f}, floor {bounds.cosine})"
    if mean < bounds.cosine:
        return f"mean cosine {mean:.4f} to PyTorch is below {bounds.cosine}"
    return f"worst cosine {worst:.4f} to PyTorch is below {bounds.worst_cosine}"


def _control(reference: NDArray[np.float32], output: NDArray[np.float32]) -> float:
    """Mean centred cosine of every output with another sample's reference: what a wrong artifact would score.

    The derangement is one step along a fixed random order, so that neither sorted nor grouped samples help
    it.
    """
    order = np.random.default_rng(0).permutation(len(reference))
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)
    mean = _mean(centred_cosines(reference, output[other]))
    return 1.0 if mean is None else mean


def _batch_fault(
    tower: AnyTower,
    inputs: NDArray[np.float32] | NDArray[np.int64],
    output: NDArray[np.float32],
    spread: float,
    floor: float,
) -> str:
    """Run the first samples one, three and seven at a time; each must agree with its row of the large batch.

    Agreement is 1 - |difference|^2 / (2 spread^2), which is the cosine for two rows at the samples' usual
    distance from their mean.
    """
    for size in _OTHER_BATCHES:
        rows = np.concatenate(
            [tower.run(inputs[at : at + size]) for at in range(0, min(8, len(inputs)), size)]
        )
        difference = np.linalg.norm(rows.astype(np.float64) - output[: len(rows)], axis=1).max()
        agreement = 1 - difference**2 / (2 * spread**2)
        if agreement < floor:
            large = min(_BATCH, len(inputs))
            return f"batches of {size} and of {large} disagree ({agreement:.4f}, floor {floor})"
    return ""


def _spread(reference: NDArray[np.float32]) -> float:
    """Root mean square distance of the rows from their mean; between 0 and 1 for unit rows."""
    wide = reference.astype(np.float64)
    return float(np.sqrt(((wide - wide.mean(axis=0)) ** 2).sum(axis=1).mean()))


def _mean(cosines: NDArray[np.float64]) -> float | None:
    return float(np.nanmean(cosines)) if np.isfinite(cosines).any() else None


def _worst(cosines: NDArray[np.float64]) -> float | None:
    return float(np.nanmin(cosines)) if np.isfinite(cosines).any() else None

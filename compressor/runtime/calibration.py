"""What a cosine of the teacher is on the student's scale, and back. Torch-free.

A threshold that was set on the teacher's cosines means something else on the student's: the student's lie
elsewhere and closer together. The map is monotone and made of straight lines between knots; how it is found,
and its error, `compressor.export.calibration` says.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from compressor.runtime.strict import Strict

Knots = tuple[float, ...]


class CalibrationError(Strict):
    """How far thresholds that were mapped miss, on images that the map was not fitted on.

    Means over thresholds of the teacher that accept 5 % to 95 % of an even mix of matches and other pairs.
    Points are of a hundred pairs.
    """

    folds: int = Field(ge=2, description="Parts of the images, each held out once.")
    cosine: float = Field(
        ge=0, description="Mean |student's cosine - mapped cosine of the teacher|, matches and others alike."
    )
    accepted: float = Field(ge=0, description="Share of the mix that is accepted, in points.")
    accepted_worst: float = Field(ge=0, description="The same at the threshold where it is largest.")
    matches: float = Field(ge=0, description="Share of the matches that is accepted, in points.")
    others: float = Field(ge=0, description="Share of the other pairs that is accepted, in points.")
    disagree: float = Field(ge=0, description="Pairs that only one of the models accepts, in points.")


class Calibration(Strict):
    """The map, where it was measured, and its error.

    `teacher` and `student` are the knots: cosines, strictly increasing, from -1 to 1. Outside `measured`, the
    cosines of the teacher that were seen, the map is a straight line to the end and only keeps the order.
    """

    method: Literal["quantiles"] = "quantiles"
    precision: str = Field(description="The student's artifact whose cosines these are.")
    split: str
    images: int = Field(ge=2)
    matches: int = Field(ge=1, description="Pairs of an image and one of its captions.")
    others: int = Field(ge=1, description="Pairs of an image and a caption of another one.")
    measured: tuple[float, float]
    teacher: Knots = Field(max_length=10_000)
    student: Knots = Field(max_length=10_000)
    error: CalibrationError

    @model_validator(mode="after")
    def _is_a_map(self) -> Calibration:
        for knots in (self.teacher, self.student):
            rises = all(low < high for low, high in pairwise(knots))
            if len(knots) < 2 or not rises or (knots[0], knots[-1]) != (-1, 1):
                raise ValueError("the knots of a calibration rise from -1 to 1")
        if len(self.teacher) != len(self.student):
            raise ValueError("a calibration has as many knots of the teacher as of the student")
        return self

    def to_student(self, cosines: ArrayLike) -> NDArray[np.float64]:
        """Cosines of the teacher, thresholds for example, on the student's scale. Any shape."""
        return np.interp(np.asarray(cosines, np.float64), self.teacher, self.student)

    def to_teacher(self, cosines: ArrayLike) -> NDArray[np.float64]:
        """Cosines of the student on the teacher's scale. Any shape."""
        return np.interp(np.asarray(cosines, np.float64), self.student, self.teacher)

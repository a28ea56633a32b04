"""What the model card says of thresholds: the teacher's on the student's scale, and how far they miss."""

from __future__ import annotations

import numpy as np

from compressor.report.markdown import fenced
from compressor.runtime.calibration import Calibration

_SHOWN = 5
_SPLITS = {"val": "validation", "train": "training"}


def calibration_text(found: Calibration) -> str:
    """A few thresholds, the error, and how to map others."""
    error = found.error
    thresholds = np.linspace(*found.measured, _SHOWN + 2)[1:-1]
    pairs = zip(thresholds, found.to_student(thresholds), strict=True)
    rows = "\n".join(f"| {teacher:.3f} | {student:.3f} |" for teacher, student in pairs)
    example = (
        "# the teacher's threshold 0.25 on this model's scale, or this model's cosines on the teacher's\n"
        "threshold = bundle.manifest.calibration.to_student(0.25)\n"
        "as_teacher = bundle.calibrated(cosines)"
    )
    return (
        f"Cosines of the teacher and of this model ({found.precision}) that accept the same share of pairs, "
        f"half of them matches, on {found.images} {_SPLITS.get(found.split, found.split)} images:\n\n"
        f"| Teacher | This model |\n| ---: | ---: |\n{rows}\n\n"
        f"On held-out images ({error.folds} folds) a mapped threshold misses the accepted share by "
        f"{error.accepted:.1f} points on average ({error.accepted_worst:.1f} at worst), that of the matches "
        f"by {error.matches:.1f} and that of the others by {error.others:.1f}; {error.disagree:.1f} of 100 "
        "pairs are decided differently, which no map can mend.\n\n" + fenced(example, "python")
    )

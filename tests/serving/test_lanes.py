"""What a model answers is the item's own, whoever else is asking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor.runtime import Bundle
from serving.lanes import lanes_of
from tests.export.toys import pictures


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_rows_do_not_shift_each_other(exported: Path, precision: str) -> None:
    bundle = Bundle.open(exported, precision=precision, threads=1)
    lanes = lanes_of(bundle, 32, lambda: False)
    images = np.stack([bundle.preprocessor.images([picture])[0] for picture in pictures(6)])
    ids = bundle.preprocessor.texts([f"a star {n}" for n in range(6)])
    for lane, rows in (("image", images), ("text", ids)):
        together = lanes[lane].run(rows)
        alone = np.concatenate([lanes[lane].run(row[None]) for row in rows])
        if precision == "int8":
            np.testing.assert_array_equal(together, alone)
        else:
            np.testing.assert_allclose(together, alone, atol=1e-6)

"""Items per second over batch sizes, and what decoding and preprocessing cost. Torch-free."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image

from compressor.preprocess.image import decode_image

Clock = Callable[[], int]

BUDGET_NS = 5_000_000_000
"""A cell of the sweep ends after this time, with fewer calls than wished, but never with none."""
_SAMPLES = 16


class Runner(Protocol):
    """Runs a tower on the k-th ready batch."""

    def image(self, k: int, batch: int = 1) -> None: ...

    def text(self, k: int, batch: int = 1) -> None: ...


def sweep(
    runners: Mapping[str, Runner],
    batch_sizes: Sequence[int],
    repeats: int,
    told: Callable[[int], None],
    clock: Clock,
) -> list[dict[str, Any]]:
    """One row per tower, batch size and role: `p50_ms` of a call, `per_second` items, `n` timed calls.

    Roles alternate call by call. One call warms up, unless it alone used the budget: then it is the
    measurement.
    """
    rows: list[dict[str, Any]] = []
    for tower in ("image", "text"):
        for batch in batch_sizes:
            taken = _cell(runners, tower, batch, repeats, clock)
            for role, times in taken.items():
                p50 = float(np.median(times))
                rows.append(
                    {
                        "role": role,
                        "tower": tower,
                        "batch": batch,
                        "p50_ms": p50,
                        "per_second": batch * 1000 / p50 if p50 > 0 else None,
                        "n": len(times),
                    }
                )
                told(len(rows))
    return rows


def _cell(
    runners: Mapping[str, Runner], tower: str, batch: int, repeats: int, clock: Clock
) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {}
    spent = dict.fromkeys(runners, 0)

    def call(role: str, k: int) -> int:
        start = clock()
        getattr(runners[role], tower)(k, batch)
        return clock() - start

    for role in runners:
        spent[role] = call(role, 0)
        taken[role] = [spent[role] / 1e6] if spent[role] >= BUDGET_NS else []
    for k in range(1, repeats + 1):
        for role in runners:
            if not taken[role] or spent[role] < BUDGET_NS:
                elapsed = call(role, k)
                spent[role] += elapsed
                taken[role].append(elapsed / 1e6)
    return taken


def preprocess_times(
    preprocessors: Mapping[str, Any],
    images: Sequence[bytes | Image.Image],
    texts: Sequence[str],
    clock: Clock,
) -> dict[str, Any]:
    """Medians in milliseconds for one item: `decode` (the same for all models) and, per role, `image` and
    `text`.

    Pictures that come decoded are packed as JPEG of quality 90 first, so that decoding has something to
    decode.
    """
    given = any(isinstance(image, bytes) for image in images[:_SAMPLES])
    files = [image if isinstance(image, bytes) else _jpeg(image) for image in images[:_SAMPLES]]
    pictures = [decode_image(file) for file in files]
    decode = _each(decode_image, files, clock)
    source = "the files as given" if given else "JPEG, quality 90"
    times: dict[str, Any] = {
        "decode": {"p50_ms": float(np.median(decode)), "n": len(files), "source": source}
    }
    for role, preprocessor in preprocessors.items():
        image = _each(preprocessor.images, [[picture] for picture in pictures], clock)
        text = _each(preprocessor.texts, [[text] for text in texts[:_SAMPLES]], clock)
        times[role] = {
            "image_p50_ms": float(np.median(image)),
            "text_p50_ms": float(np.median(text)),
            "n": min(len(image), len(text)),
        }
    return times


def _each(action: Callable[[Any], object], items: Sequence[Any], clock: Clock) -> list[float]:
    """Milliseconds of `action` on every item, after one call that warms up."""
    action(items[0])
    times = []
    for item in items:
        start = clock()
        action(item)
        times.append((clock() - start) / 1e6)
    return times


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=90)
    return file.getvalue()

"""What the trainings of an ablation share: their rows, and the one who watches them."""

from __future__ import annotations

from dataclasses import dataclass, field

from compressor.data import open_pairs
from compressor.data.pairs import PairSet
from compressor.files import hash_json
from compressor.pipeline.context import Context
from compressor.pipeline.progress import QuietReporter, Reporter
from compressor.recipe.data import DataSection, Split


class Rows:
    """The pair sets of all trainings, each opened once.

    A recipe's seed decides which rows `data.limit` takes. Here it is the seed of the recipe as it stands,
    whatever seed a training has: other pictures would hide what the seeds are to show.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._open: dict[str, PairSet] = {}

    def of(self, data: DataSection, split: Split) -> PairSet:
        key = hash_json([data.model_dump(mode="json"), split])
        if key not in self._open:
            self._open[key] = open_pairs(data, split, seed=self.seed)
        return self._open[key]


@dataclass(kw_only=True)
class SharedContext(Context):
    """An ordinary run, but for its rows, which are those of all the others."""

    rows: Rows

    def pairs(self, split: Split) -> PairSet:
        return self.rows.of(self.recipe.data, split)


@dataclass
class Within(QuietReporter):
    """Inside a training only its steps are shown, and every remark once."""

    outer: Reporter
    said: set[str] = field(default_factory=set)

    def work(self, label: str, done: int, total: int, detail: str = "") -> None:
        self.outer.work(label, done, total, detail)

    def note(self, message: str) -> None:
        if message not in self.said:
            self.said.add(message)
            self.outer.note(message)

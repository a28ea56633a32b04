"""A comparison at work: its variants and trainings, the run of each, and what of them is finished."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from compressor import __version__
from compressor.data import missing_data
from compressor.errors import CompressorError, MissingResourceError, RecipeError
from compressor.files import hash_json
from compressor.pipeline.ablation.comparison import (
    BASE,
    Comparison,
    Training,
    Variant,
    all_trainings,
    seconds_left,
)
from compressor.pipeline.ablation.context import Rows, SharedContext, Within
from compressor.pipeline.ablation.figures import variant_figures
from compressor.pipeline.ablation.measure import Measure, Scores, measure_of
from compressor.pipeline.ablation.measured import Measured, measured_teacher, measured_training
from compressor.pipeline.ablation.teacher import is_tuned, taught_by
from compressor.pipeline.ablation.variants import find_variants
from compressor.pipeline.ablation.variants_file import read_variants
from compressor.pipeline.context import Context
from compressor.pipeline.folder import RunFolder
from compressor.pipeline.keys import versions
from compressor.pipeline.progress import Reporter
from compressor.pipeline.run import walk
from compressor.recipe import Recipe
from compressor.recipe.check import splits_missing
from compressor.recipe.data import Split
from compressor.report.ablation.results import Ablation, Failure, ModelFigures

State = Literal["done", "begun", "to run"]


class AblationTable:
    """Every variant and training of a comparison, in `<runs>/<name>-ablation/`. Torch-free.

    Raises `RecipeError` for a recipe, variants or a split that cannot be compared.
    """

    def __init__(self, comparison: Comparison, reporter: Reporter) -> None:
        if comparison.split not in get_args(Split):
            raise RecipeError(f"--split {comparison.split}: the splits are train, val and test")
        self.comparison = comparison
        self.split = cast(Split, comparison.split)
        self.variants = find_variants(
            comparison.recipe,
            comparison.overrides,
            losses=comparison.losses,
            balancers=comparison.balancers,
            named=read_variants(comparison.variants) if comparison.variants is not None else {},
        )
        first = self.variants[0].recipe
        assert first is not None  # a recipe that is refused as it is raises
        self.base: Recipe = first
        self.measure: Measure[Any] = measure_of(first)
        for path, text in splits_missing(self.base.data, [self.split]):
            raise RecipeError(f"--split {self.split}: {'.'.join(map(str, path))} {text}")
        runs = comparison.runs
        self.folder = RunFolder(runs / f"{self.base.name}-ablation", runs / ".cache")
        self.found: dict[str, dict[int, Measured]] = {variant.name: {} for variant in self.variants}
        self.failures: dict[str, list[Failure]] = {variant.name: [] for variant in self.variants}
        self.teacher: Scores | None = None
        """The recipe's own teacher, once it is measured."""
        self._rows = Rows(self.base.seed)
        self._reporter = Within(reporter)

    @property
    def trainings(self) -> list[Training]:
        """In the order in which they are run."""
        return all_trainings(self.variants, self.comparison.seeds)

    @property
    def waiting(self) -> list[Training]:
        """Trainings that are not known to be finished."""
        return [each for each in self.trainings if each.seed not in self.found[each.variant.name]]

    def require_data(self) -> None:
        """Refuse variants that would be measured on other rows.

        Raises `MissingResourceError` or `DataError` where the recipe's own rows cannot be opened.
        """
        missing = missing_data(self.base.data)
        if missing:
            raise MissingResourceError("\n".join(missing))
        rows = self._rows.of(self.base.data, self.split).fingerprint
        self.variants = [self._comparable(variant, rows) for variant in self.variants]

    def _comparable(self, variant: Variant, rows: str) -> Variant:
        if variant.recipe is None:
            return variant
        try:
            same = self._rows.of(variant.recipe.data, self.split).fingerprint == rows
            refusal = "" if same else f"has another {self.split} split, so that its figures do not compare"
        except CompressorError as error:
            refusal = str(error)
        return replace(variant, recipe=None, refusal=refusal) if refusal else variant

    def context(self, training: Training) -> Context:
        """The run of one training."""
        recipe = training.recipe
        if not is_tuned(recipe):
            return self._context(recipe, training.folder)
        tuned = taught_by(recipe, self._teaching(recipe).folder.tuned_teacher.absolute())
        return self._context(tuned, training.folder)

    def teachers(self) -> list[Context]:
        """One run for each teacher that has something to do before or beside the trainings: it is fine-tuned,
        or it is the recipe's own and measured."""
        wanted = [training.recipe for training in self.trainings if is_tuned(training.recipe)]
        if self.measure.teaches(self.base):
            wanted.insert(0, self.base)
        found = {context.folder.root: context for context in map(self._teaching, wanted)}
        return list(found.values())

    def is_measured(self, context: Context) -> bool:
        """True for the run of the teacher that stands in the table."""
        return self.measure.teaches(self.base) and context.recipe.teacher == self.base.teacher

    def _teaching(self, recipe: Recipe) -> Context:
        """A teacher is tuned once for all trainings, with the recipe's own seed."""
        assert recipe.teacher is not None
        own = recipe.model_copy(update={"seed": self.base.seed})
        return self._context(own, Path(f"teacher-{hash_json(recipe.teacher.model_dump(mode='json'))[:8]}"))

    def _context(self, recipe: Recipe, folder: Path) -> Context:
        own = RunFolder(self.folder.root / folder, self.folder.cache)
        return SharedContext(recipe, own, self._reporter, rows=self._rows)

    def look_at_teacher(self, context: Context) -> bool:
        """Whether the teacher that stands in the table is measured; if so, its figures are read."""
        state = next(walk(context))
        self.teacher = measured_teacher(context, self.split) if state.done else None
        return self.teacher is not None

    def look(self, training: Training) -> State:
        """Whether a training is finished, as its folder tells; if so, what was measured is read."""
        context = self.context(training)
        for state in walk(context):
            if not state.done:
                begun = state.key is not None and context.folder.training_of(state.key).is_dir()
                return "begun" if begun else "to run"
            if state.stage.name == "distill":
                break
        found = measured_training(context, self.split)
        if found is None:
            return "begun"
        self.found[training.variant.name][training.seed] = found
        return "done"

    def seconds_left(self) -> float | None:
        """An estimate from what is finished; None where nothing is."""
        finished = {name: [each.seconds for each in found.values()] for name, found in self.found.items()}
        return seconds_left(finished, [each.variant.name for each in self.waiting])

    def figures(self) -> Ablation:
        """All that is finished, as ablation.json holds it."""
        resamples, base = self.base.evaluate.bootstrap, self.found[BASE]
        every = [each.scores for found in self.found.values() for each in found.values()]
        keys = sorted({key for scores in every for key in scores.figures})
        first = every[0] if every else None
        return Ablation(
            name=self.base.name,
            recipe=self.base.model_dump(mode="json"),
            command=self.comparison.command,
            baseline=BASE,
            measured=self.measure.measured,
            compared=self.measure.compared,
            beside=self.measure.beside(keys),
            unavailable=list(dict.fromkeys(why for scores in every for why in scores.unavailable)),
            split=self.split,
            images=None if first is None else first.images,
            texts=None if first is None else first.texts,
            bad_images=0 if first is None else first.bad_images,
            teacher=None
            if self.teacher is None
            else ModelFigures(value=self.teacher.value, figures=dict(self.teacher.figures)),
            seeds=[self.base.seed + number for number in range(self.comparison.seeds)],
            resamples=resamples,
            variants=[
                variant_figures(each, self.found[each.name], base, self.failures[each.name], resamples)
                for each in self.variants
            ],
            trainings=len(self.trainings),
            left=len(self.waiting),
            seconds_left=self.seconds_left(),
            versions={"compressor": __version__, **versions("distill")},
        )

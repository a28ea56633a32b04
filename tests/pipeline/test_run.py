"""The chain of stages: what is skipped, what runs again, what is kept after a failure. Stages are fakes."""

from __future__ import annotations

import errno
import json
import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from compressor.errors import CompressorError, DiskFullError, RecipeError, RunLockedError
from compressor.pipeline import run as run_module
from compressor.pipeline.context import Context
from compressor.pipeline.progress import QuietReporter
from compressor.pipeline.run import Options, open_context, run, walk
from compressor.pipeline.stage import Outcome, Stage
from compressor.recipe import Recipe
from compressor.recipe.load import load_recipe
from compressor.report.results import Results
from tests.integration.tiny import write_recipe

NEEDS: dict[str, tuple[str, ...]] = {
    "teacher": (),
    "cache": ("teacher",),
    "distill": ("teacher", "cache"),
    "export": ("distill",),
    "report": ("export",),
}
CHAIN = list(NEEDS)


class Chain:
    """Stages that only write their key to a file. A test changes inputs, or makes a stage fail."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.inputs: dict[str, Any] = dict.fromkeys(CHAIN, 0)
        self.failing: dict[str, BaseException] = {}
        self.before: Callable[[Context, str, str], None] = lambda context, name, key: None
        self.stages = tuple(self._stage(name) for name in CHAIN)

    def _stage(self, name: str) -> Stage:
        def work(context: Context, key: str) -> Outcome:
            self.before(context, name, key)
            if name in self.failing:
                raise self.failing[name]
            self.ran.append(name)
            output = context.folder.root / f"{name}.txt"
            output.write_text(f"{name} with {key}")
            if name == "report":
                context.folder.results.write_text(Results(name="tiny", recipe={}).model_dump_json())
            return Outcome([output], f"{name} done", {})

        return Stage(name, NEEDS[name], lambda _: f"about {name}", lambda _: {"x": self.inputs[name]}, work)

    def started(self) -> list[str]:
        """The stages that ran since this was last asked."""
        ran, self.ran = self.ran, []
        return ran


class Told(QuietReporter):
    """Remembers what was said of each stage."""

    def __init__(self) -> None:
        self.skips: list[str] = []
        self.stages: list[tuple[int, int, str]] = []
        self.closed = 0

    def stage(self, number: int, total: int, name: str, about: str) -> None:
        self.stages.append((number, total, name))

    def skipped(self, number: int, total: int, name: str, reason: str) -> None:
        self.skips.append(name)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Chain:
    chain = Chain()
    monkeypatch.setattr(run_module, "STAGES", chain.stages)
    return chain


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return load_recipe(write_recipe(tmp_path)).recipe


def test_stages_run_in_order_and_are_then_skipped(chain: Chain, recipe: Recipe, tmp_path: Path) -> None:
    first, second = Told(), Told()
    assert run(recipe, tmp_path, reporter=first) == Results(name="tiny", recipe={})
    assert chain.started() == CHAIN
    assert first.stages == [(number, len(CHAIN), name) for number, name in enumerate(CHAIN, start=1)]
    assert run(recipe, tmp_path, reporter=second) == Results(name="tiny", recipe={})
    assert chain.started() == []
    assert second.skips == CHAIN
    assert (first.closed, second.closed) == (1, 1)


def test_a_changed_input_runs_its_stage_and_those_that_build_on_it(
    chain: Chain, recipe: Recipe, tmp_path: Path
) -> None:
    run(recipe, tmp_path)
    chain.started()
    chain.inputs["distill"] = 1
    run(recipe, tmp_path)
    assert chain.started() == ["distill", "export", "report"]


def test_a_stage_that_writes_the_same_again_leaves_the_others_alone(
    chain: Chain, recipe: Recipe, tmp_path: Path
) -> None:
    run(recipe, tmp_path)
    chain.started()
    (tmp_path / "tiny" / "cache.txt").unlink()
    run(recipe, tmp_path)
    assert chain.started() == ["cache"]


def test_an_altered_output_is_made_again(chain: Chain, recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path)
    chain.started()
    (tmp_path / "tiny" / "export.txt").write_text("export 1")
    run(recipe, tmp_path)
    assert chain.started() == ["export"]


def test_a_lost_state_runs_everything_again(chain: Chain, recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path)
    chain.started()
    (tmp_path / "tiny" / "state.json").write_text('{"version": 1, "stages": {"teacher"')
    run(recipe, tmp_path)
    assert chain.started() == CHAIN


def test_from_runs_a_stage_and_all_after_it(chain: Chain, recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path)
    chain.started()
    run(recipe, tmp_path, options=Options(start="export"))
    assert chain.started() == ["export", "report"]


def test_force_runs_every_stage(chain: Chain, recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path)
    chain.started()
    run(recipe, tmp_path, options=Options(force=True))
    assert chain.started() == CHAIN


def test_until_stops_and_the_next_run_goes_on_there(chain: Chain, recipe: Recipe, tmp_path: Path) -> None:
    assert run(recipe, tmp_path, options=Options(until="cache")) is None
    assert chain.started() == ["teacher", "cache"]
    assert run(recipe, tmp_path) is not None
    assert chain.started() == ["distill", "export", "report"]


def test_from_after_until_runs_nothing_anew(chain: Chain, recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path)
    chain.started()
    with pytest.raises(RecipeError, match="export comes after cache"):
        run(recipe, tmp_path, options=Options(start="export", until="cache"))
    assert chain.started() == []


@pytest.mark.parametrize("options", [Options(start="train"), Options(until="train")])
def test_an_unknown_stage_is_refused_with_the_names(
    chain: Chain, recipe: Recipe, tmp_path: Path, options: Options
) -> None:
    with pytest.raises(RecipeError, match="no stage 'train'; the stages are teacher, cache, distill"):
        run(recipe, tmp_path, options=options)
    assert not (tmp_path / "tiny").exists()


def test_forcing_leaves_nothing_of_an_earlier_training(chain: Chain, recipe: Recipe, tmp_path: Path) -> None:
    found: list[list[str]] = []

    def look(context: Context, name: str, key: str) -> None:
        if name == "distill":
            folder = context.folder.training_of(key)
            found.append([path.name for path in folder.glob("*")])
            (folder / "student").mkdir(parents=True, exist_ok=True)

    chain.before = look
    run(recipe, tmp_path)
    chain.failing["distill"] = KeyboardInterrupt()
    for options in (Options(), Options(start="distill"), Options()):
        (tmp_path / "tiny" / "distill.txt").unlink(missing_ok=True)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, tmp_path, options=options)
    assert found == [[], ["student"], [], ["student"]], "only the forced one begins anew"


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), CompressorError("no"), ValueError("a bug")])
def test_what_was_finished_before_a_failure_is_kept(
    chain: Chain, recipe: Recipe, tmp_path: Path, failure: BaseException
) -> None:
    chain.failing["distill"] = failure
    told = Told()
    with pytest.raises(type(failure)):
        run(recipe, tmp_path, reporter=told)
    assert told.closed == 1
    assert chain.started() == ["teacher", "cache"]
    chain.failing.clear()
    run(recipe, tmp_path)
    assert chain.started() == ["distill", "export", "report"]


def test_a_ctrl_c_that_a_library_swallows_ends_the_run_after_its_stage(
    chain: Chain, recipe: Recipe, tmp_path: Path
) -> None:
    def swallow(_: Context, name: str, key: str) -> None:
        if name == "cache":
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)

    chain.before = swallow
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            run(recipe, tmp_path)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert chain.started() == ["teacher", "cache"]
    chain.before = lambda context, name, key: None
    run(recipe, tmp_path)
    assert chain.started() == ["distill", "export", "report"]


def test_a_stage_that_failed_is_not_taken_for_done_by_its_earlier_record(
    chain: Chain, recipe: Recipe, tmp_path: Path
) -> None:
    run(recipe, tmp_path)
    chain.started()
    chain.failing["export"] = CompressorError("no")
    with pytest.raises(CompressorError):
        run(recipe, tmp_path, options=Options(start="export"))
    chain.failing.clear()
    run(recipe, tmp_path)
    assert chain.started() == ["export"], "the report stands: it builds on the same export"


def test_an_error_of_the_system_is_a_sentence_with_the_stage_and_the_file(
    chain: Chain, recipe: Recipe, tmp_path: Path
) -> None:
    chain.failing["export"] = PermissionError(errno.EACCES, "Permission denied", "/a/file")
    with pytest.raises(CompressorError) as caught:
        run(recipe, tmp_path)
    assert str(caught.value) == "export: Permission denied (/a/file)"
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded", "x"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_says_so_and_how_much_is_free(
    chain: Chain, recipe: Recipe, tmp_path: Path, failure: Exception
) -> None:
    chain.failing["distill"] = failure
    with pytest.raises(DiskFullError, match=r"no space left on the disk \(\d+ MB free\)"):
        run(recipe, tmp_path)
    assert chain.started() == ["teacher", "cache"]


def test_a_log_that_cannot_be_written_does_not_garble_the_output(
    chain: Chain,
    recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(logging.FileHandler, "format", full)
    assert run(recipe, tmp_path) is not None
    assert capsys.readouterr().err == ""


def test_a_runs_folder_that_is_a_file_is_a_sentence(chain: Chain, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    with pytest.raises(CompressorError, match=r"^run: (Not a directory|File exists) "):
        run(recipe, tmp_path / "runs")


def test_what_the_project_logs_is_in_run_log(chain: Chain, recipe: Recipe, tmp_path: Path) -> None:
    chain.failing["distill"] = ValueError("a bug")
    chain.before = lambda context, name, key: logging.getLogger("compressor.x").info("inside %s", name)
    handlers = list(logging.getLogger("compressor").handlers)
    with pytest.raises(ValueError, match="a bug"):
        run(recipe, tmp_path)
    text = (tmp_path / "tiny" / "run.log").read_text()
    assert "inside cache" in text
    assert "distill failed" in text
    assert "Traceback" in text
    assert logging.getLogger("compressor").handlers == handlers


def test_a_run_inside_a_run_is_refused(chain: Chain, recipe: Recipe, tmp_path: Path) -> None:
    def again(context: Context, name: str, key: str) -> None:
        if name == "cache":
            run(recipe, tmp_path)

    chain.before = again
    with pytest.raises(RunLockedError):
        run(recipe, tmp_path)


def test_a_plan_walks_as_far_as_keys_are_known(chain: Chain, recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path, options=Options(until="cache"))
    states = list(walk(open_context(recipe, tmp_path, QuietReporter())))
    assert [state.done for state in states] == [True, True, False, False, False]
    assert [state.key is not None for state in states] == [True, True, True, False, False]


def test_a_rehearsal_has_a_folder_of_its_own(recipe: Recipe, tmp_path: Path) -> None:
    context = open_context(recipe, tmp_path, QuietReporter(), rehearse=True)
    assert context.folder.root == tmp_path / "tiny-rehearsal"
    assert context.rehearsal


def test_the_state_names_every_output(chain: Chain, recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path)
    state = json.loads((tmp_path / "tiny" / "state.json").read_text())
    assert list(state["stages"]) == CHAIN
    assert list(state["stages"]["export"]["outputs"]) == ["export.txt"]

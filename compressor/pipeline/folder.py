"""The run folder: its layout, its lock, and the record of which stage finished with which inputs."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compressor.errors import CompressorError, RunLockedError
from compressor.files import atomic_write_bytes, read_json, sha256_file, write_json
from compressor.runtime.schema import Role

STATE_VERSION = 1


class RunFolder:
    """`runs/<name>/`: every path that a stage writes, and `state.json`, the record of what is done.

    `cache` is shared by all runs beside this one: what lies there is keyed by content, so that an ablation,
    another seed or the control student never decodes a picture or runs the teacher twice. `cache` names it
    for a run that lies deeper than the others.
    """

    def __init__(self, root: Path, cache: Path | None = None) -> None:
        self.root = root
        self.cache = cache or root.parent / ".cache"
        self.state_file = root / "state.json"
        self.teacher = root / "teacher"
        self.tuned_teacher = self.teacher / "checkpoint"
        self.training = root / "training"
        self.checkpoint = root / "checkpoint"
        self.bundle = root / "bundle"
        self.evaluation = root / "evaluation.json"
        self.benchmark = root / "benchmark.json"
        self.results = root / "results.json"
        self.log = root / "run.log"

    def bundle_of(self, role: Role) -> Path:
        """The student's bundle is the product; the others are kept for comparison."""
        return self.bundle if role == "student" else self.root / role / "bundle"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this folder alone; a second run is refused with the number of the process that has it.

        The lock is the operating system's (flock): it vanishes with its process, so a killed run leaves none.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                owner = handle.read().strip() or "unknown"
                raise RunLockedError(
                    f"{self.root} is in use by process {owner}; wait for it, or run under another name "
                    "(add `name=...` to the command)"
                ) from None
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            yield

    def training_of(self, key: str) -> Path:
        """Where trainings of one stage key keep their checkpoints; a rerun with that key goes on there."""
        return self.training / key[:12]

    def record(self, stage: str) -> dict[str, Any] | None:
        """What `state.json` says of a stage; None when it never finished or the file cannot be trusted."""
        return self._stages().get(stage)

    def finished(self, stage: str, key: str) -> bool:
        """True when the stage ran with these inputs and everything it wrote still stands."""
        entry = self.record(stage)
        if entry is None or entry.get("key") != key:
            return False
        added = entry.get("rewritten", {})
        return all(
            any(self._stands(path, known) for known in [facts, *added.get(path, [])])
            for path, facts in entry["outputs"].items()
        )

    def rewrite(self, stage: str, file: Path, content: bytes) -> None:
        """Replace an output of a finished stage, which goes on counting as finished.

        For a later stage that completes what an earlier one began. The new hash is recorded before the file
        is replaced, beside the one that stands there now: a kill between the two leaves a file that is known.
        What was recorded first stays, so that the keys of the stages in between do.
        """
        stages = self._stages()
        if stage in stages:
            path = str(file.relative_to(self.root))
            coming = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            stages[stage].setdefault("rewritten", {})[path] = [_facts(file), coming]
            self._write(stages)
        atomic_write_bytes(file, content)

    def _stands(self, path: str, facts: dict[str, Any]) -> bool:
        file = self.root / path
        return (
            file.is_file() and file.stat().st_size == facts["bytes"] and sha256_file(file) == facts["sha256"]
        )

    def finish(
        self, stage: str, key: str, outputs: list[Path], seconds: float, facts: dict[str, Any]
    ) -> None:
        """Record a finished stage with the hashes of its outputs (folders: every file in them)."""
        files = [
            f
            for path in outputs
            for f in (sorted(path.rglob("*")) if path.is_dir() else [path])
            if f.is_file()
        ]
        entry = {
            "key": key,
            "seconds": round(seconds, 3),
            "facts": facts,
            "outputs": {str(f.relative_to(self.root)): _facts(f) for f in files},
        }
        stages = self._stages()
        stages[stage] = entry
        self._write(stages)

    def forget(self, stage: str) -> None:
        """Drop the record of a stage, so that it runs again."""
        stages = self._stages()
        if stages.pop(stage, None) is not None:
            self._write(stages)

    def _write(self, stages: dict[str, dict[str, Any]]) -> None:
        write_json(self.state_file, {"version": STATE_VERSION, "stages": stages})

    def _stages(self) -> dict[str, dict[str, Any]]:
        try:
            state = read_json(self.state_file)
        except (OSError, CompressorError):
            return {}
        if not isinstance(state, dict) or state.get("version") != STATE_VERSION:
            return {}
        stages = state.get("stages")
        if not isinstance(stages, dict):
            return {}
        return {name: entry for name, entry in stages.items() if _is_record(entry)}


def _facts(file: Path) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": sha256_file(file)}


def _is_record(entry: Any) -> bool:
    """True for an entry of `state.json` that has all its parts."""
    if not isinstance(entry, dict):
        return False
    parts = {"key": str, "seconds": int | float, "facts": dict, "outputs": dict}
    rewritten = entry.get("rewritten", {})
    return (
        all(isinstance(entry.get(name), kind) for name, kind in parts.items())
        and all(map(_are_facts, entry["outputs"].values()))
        and isinstance(rewritten, dict)
        and all(isinstance(known, list) and all(map(_are_facts, known)) for known in rewritten.values())
    )


def _are_facts(facts: Any) -> bool:
    return (
        isinstance(facts, dict)
        and isinstance(facts.get("bytes"), int)
        and isinstance(facts.get("sha256"), str)
    )

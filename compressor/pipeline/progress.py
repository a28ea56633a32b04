"""What a person or a script sees while a run works."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

_REST = Column(no_wrap=True, overflow="ellipsis", ratio=1)


class Reporter(Protocol):
    """Told of every stage and of every step of long work. Implementations only show; they decide nothing."""

    def stage(self, number: int, total: int, name: str, about: str) -> None: ...

    def skipped(self, number: int, total: int, name: str, reason: str) -> None: ...

    def work(self, label: str, done: int, total: int, detail: str = "") -> None: ...

    def finished(self, name: str, seconds: float, summary: str) -> None: ...

    def note(self, message: str) -> None: ...

    def close(self) -> None: ...


class RichReporter:
    """For a terminal: one line per finished stage, a live bar with an estimate for the work at hand."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def stage(self, number: int, total: int, name: str, about: str) -> None:
        self._stop()
        self.console.print(f"[bold]\\[{number}/{total}] {name}[/]  {escape(about)}", highlight=False)

    def skipped(self, number: int, total: int, name: str, reason: str) -> None:
        self._stop()
        self.console.print(f"[dim]\\[{number}/{total}] {name}  skipped: {escape(reason)}[/]", highlight=False)

    def work(self, label: str, done: int, total: int, detail: str = "") -> None:
        if self._progress is None:
            self._progress = Progress(
                TextColumn("      {task.description}", table_column=Column(no_wrap=True)),
                BarColumn(bar_width=min(28, max(8, self.console.width // 6))),
                MofNCompleteColumn(),
                TimeRemainingColumn(compact=True),
                # What is left of the line: on a narrow terminal the losses are cut, not the estimate.
                TextColumn("[dim]{task.fields[detail]}", table_column=_REST),
                console=self.console,
                transient=True,
                expand=True,
            )
            self._progress.start()
        detail = escape(detail)
        if label not in self._tasks:
            for task in self._tasks.values():
                self._progress.update(task, visible=False)
            self._tasks[label] = self._progress.add_task(escape(label), total=total, detail=detail)
        self._progress.update(self._tasks[label], completed=done, total=total, detail=detail, visible=True)

    def finished(self, name: str, seconds: float, summary: str) -> None:
        self._stop()
        self.console.print(f"      [green]done[/] in {seconds:.1f} s  {escape(summary)}", highlight=False)

    def note(self, message: str) -> None:
        self.console.print(f"      [yellow]note[/] {escape(message)}", highlight=False)

    def close(self) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress, self._tasks = None, {}


class PlainReporter:
    """For a log file or a pipe: a line when a stage starts or ends, one every few seconds of long work."""

    def __init__(self, console: Console, interval: float = 5.0) -> None:
        self.console = console
        self.interval = interval
        self._label = ""
        self._started = self._last = 0.0

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def stage(self, number: int, total: int, name: str, about: str) -> None:
        self._line(f"[{number}/{total}] {name}: {about}")

    def skipped(self, number: int, total: int, name: str, reason: str) -> None:
        self._line(f"[{number}/{total}] {name}: skipped, {reason}")

    def work(self, label: str, done: int, total: int, detail: str = "") -> None:
        now = time.monotonic()
        if label != self._label:
            self._label, self._started, self._last = label, now, now
        if now - self._last < self.interval and done < total:
            return
        self._last = now
        left = f", {(now - self._started) / done * (total - done):.0f} s left" if 0 < done < total else ""
        self._line(f"      {label} {done}/{total}{left}{'  ' + detail if detail else ''}")

    def finished(self, name: str, seconds: float, summary: str) -> None:
        self._line(f"      done in {seconds:.1f} s  {summary}")

    def note(self, message: str) -> None:
        self._line(f"      note: {message}")

    def close(self) -> None:
        pass


class JsonReporter:
    """For a program: one JSON object a line on standard error."""

    def _emit(self, event: str, **facts: Any) -> None:
        sys.stderr.write(json.dumps({"event": event, **facts}) + "\n")
        sys.stderr.flush()

    def stage(self, number: int, total: int, name: str, about: str) -> None:
        self._emit("stage", number=number, total=total, name=name, about=about)

    def skipped(self, number: int, total: int, name: str, reason: str) -> None:
        self._emit("skipped", number=number, total=total, name=name, reason=reason)

    def work(self, label: str, done: int, total: int, detail: str = "") -> None:
        self._emit("work", label=label, done=done, total=total, detail=detail)

    def finished(self, name: str, seconds: float, summary: str) -> None:
        self._emit("finished", name=name, seconds=round(seconds, 3), summary=summary)

    def note(self, message: str) -> None:
        self._emit("note", message=message)

    def close(self) -> None:
        pass


class QuietReporter:
    """Says nothing; errors still reach standard error."""

    def stage(self, number: int, total: int, name: str, about: str) -> None:
        pass

    def skipped(self, number: int, total: int, name: str, reason: str) -> None:
        pass

    def work(self, label: str, done: int, total: int, detail: str = "") -> None:
        pass

    def finished(self, name: str, seconds: float, summary: str) -> None:
        pass

    def note(self, message: str) -> None:
        pass

    def close(self) -> None:
        pass

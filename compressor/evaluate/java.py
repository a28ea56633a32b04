"""Java programs of caption metrics: found, started, spoken to and ended, always within a limit of time."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

MIN_JAVA = 17

# The programs' numbers and letters must not depend on the language that the machine is set to.
_NEUTRAL = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8")
_PROBE_SECONDS = 60.0


class NotAvailableError(Exception):
    """A metric that cannot be computed here; the message is one sentence that says why."""


def find_java() -> str:
    """The path of a Java runtime that is new enough. Raises `NotAvailableError`."""
    program = shutil.which("java")
    if program is None:
        raise NotAvailableError(
            f"no Java runtime was found; install Java {MIN_JAVA} or later and put it on PATH"
        )
    try:
        told = subprocess.run(
            [program, "-version"], capture_output=True, text=True, errors="replace", timeout=_PROBE_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NotAvailableError(f"{program} does not run: {error}") from error
    version = re.search(r'version "(?:1\.)?(\d+)', told.stderr + told.stdout)
    if told.returncode or version is None:
        raise NotAvailableError(f"{program} does not tell its version; Java {MIN_JAVA} or later is needed")
    if int(version[1]) < MIN_JAVA:
        raise NotAvailableError(f"{program} is Java {version[1]}; Java {MIN_JAVA} or later is needed")
    return program


def run_java(java: str, arguments: Sequence[str], folder: Path, what: str, seconds: float, text: str) -> str:
    """What a program says on standard output when it is given `text` (both UTF-8).

    `folder` is its working folder, `what` its name in messages. A program that runs longer than `seconds` is
    killed. Raises `NotAvailableError` for that, and where it cannot be started or fails.
    """
    try:
        done = subprocess.run(
            [java, *_NEUTRAL, *arguments],
            cwd=folder,
            input=text.encode(),
            capture_output=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise NotAvailableError(f"{what} did not finish within {seconds:g} s") from error
    except OSError as error:
        raise NotAvailableError(f"{what} could not be started: {error.strerror or error}") from error
    if done.returncode:
        raise NotAvailableError(f"{what} failed: {_cause(done.stderr)}")
    return done.stdout.decode("utf-8", "replace")


class JavaConversation:
    """A program that answers lines with lines, killed after `seconds` and at the end of the `with` block.

    Its errors go to a file and not to a pipe: a pipe that nobody reads fills up, and both sides then wait
    for ever.
    """

    def __init__(self, java: str, arguments: Sequence[str], folder: Path, what: str, seconds: float) -> None:
        self._command = [java, *_NEUTRAL, *arguments]
        self._folder, self._what, self._seconds = folder, what, seconds

    def __enter__(self) -> JavaConversation:
        self._errors: IO[bytes] = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
            )
        except OSError as error:
            self._errors.close()
            raise NotAvailableError(
                f"{self._what} could not be started: {error.strerror or error}"
            ) from error
        self._late = threading.Event()
        self._timer = threading.Timer(self._seconds, self._give_up)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):  # what was not yet sent cannot be sent any more
            self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()

    def ask(self, line: str) -> str:
        """Send one line and wait for one line."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
        except OSError as error:
            raise self._ended() from error
        return self.hear()

    def hear(self) -> str:
        """Wait for one more line. Raises `NotAvailableError` where the program ended or was killed."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._ended()
        return line.decode("utf-8", "replace").strip()

    def _give_up(self) -> None:
        self._late.set()
        self._process.kill()

    def _ended(self) -> NotAvailableError:
        self._process.kill()
        self._process.wait()
        if self._late.is_set():
            return NotAvailableError(f"{self._what} did not finish within {self._seconds:g} s")
        self._errors.seek(0)
        return NotAvailableError(f"{self._what} ended early: {_cause(self._errors.read())}")


def _cause(errors: bytes) -> str:
    """The line that names the exception, or else the last line."""
    lines = [line.strip() for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
    named = [line for line in lines if "Exception" in line or "Error" in line]
    return (named or lines[::-1] or ["it gave no reason"])[0].removeprefix('Exception in thread "main" ')

"""Every failure that a user can cause or mend, each with one clear sentence and an exit code.

Exit codes: 1 the run failed, 2 the input is at fault (recipe, data, weights, request), 3 a goal was missed,
4 training diverged, 5 the run folder is in use, 130 interrupted.
"""

from __future__ import annotations


class CompressorError(Exception):
    """Base of all expected failures. The message is one sentence that a user can act on."""

    exit_code = 1


class RecipeError(CompressorError):
    """A recipe that cannot be run; the message starts with `file:line:` where a line is known."""

    exit_code = 2


class DataError(CompressorError):
    """Data that cannot be read: missing or malformed annotations, an empty split, too many bad samples."""

    exit_code = 2


class BadImageError(DataError):
    """One image that cannot be decoded; `reason` says why without naming the sample.

    `fault`: `damaged`, `unknown_format` (no image, or of a kind that is not read) or `too_large`.
    """

    def __init__(self, reason: str, fault: str = "damaged") -> None:
        super().__init__(reason)
        self.reason = reason
        self.fault = fault


class MissingResourceError(CompressorError):
    """Data or weights that are not there: what is missing, where it was looked for, how to get it."""

    exit_code = 2


class MissingDependencyError(CompressorError):
    """A feature whose extra is not installed; the message names the `pip install` that brings it."""

    exit_code = 2


class ModelError(CompressorError):
    """A model whose weights, activation, shapes or preprocessing do not fit what was asked of it."""

    exit_code = 2


class BundleError(CompressorError):
    """A bundle that cannot be trusted or opened: wrong hash, newer schema, a path outside its folder."""

    exit_code = 2


class GalleryError(CompressorError):
    """A gallery that cannot be used as asked: none there, damaged, of a newer schema, changed meanwhile."""

    exit_code = 2


class GalleryMismatchError(GalleryError):
    """A gallery of another embedding space than the bundle it was opened with."""


class FilterError(GalleryError):
    """A metadata filter that says nothing this version understands; the message names the part at fault."""


class GoalsMissedError(CompressorError):
    """The run is complete, but at least one goal of the recipe is not met."""

    exit_code = 3


class DivergedError(CompressorError):
    """A loss became NaN or infinite; names the step, the losses and the last good checkpoint."""

    exit_code = 4


class RunLockedError(CompressorError):
    """Another process is working in this run folder."""

    exit_code = 5


class DiskFullError(CompressorError):
    """No space left; what was finished before is kept and a rerun resumes."""

"""Greedy and beam search in NumPy, with the outcome of transformers' `generate` (5.23): the same tokens.

What its settings are: length penalty 1, no early stopping, no sampling, one closing token. A beam's score is
the sum of the log-probabilities of its tokens; a finished one is ranked by that sum divided by the number of
its generated tokens, the closing one included. An item is done when its best running beam, at its present
length, cannot beat the worst of as many finished ones as there are beams. What is cut off at the greatest
length counts as finished.

Scores are float32 as there. Of equal scores the earlier beam and the smaller id come first; transformers
leaves that to `torch.topk`, whose order of equals is not defined.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Scores = NDArray[np.float32]
Step = Callable[[Ids, Ids | None], Scores]
"""One step of a decoder: what it reads (B, K, L), and logits (B, K, V) after the last token of each.

The second argument says, for each beam, which beam of the step before it goes on from, (B, K); None at the
first step, which has one beam an item, and where each goes on from itself.
"""

_FAR = np.float32(-1e9)
"""Score of what is not in the running."""


@dataclass(frozen=True)
class SearchSettings:
    """`max_length` and `min_length` count the given tokens too, as BLIP does."""

    end_id: int
    pad_id: int
    beams: int = 3
    max_length: int = 20
    min_length: int = 0


def search(step: Step, given: Ids, settings: SearchSettings) -> Ids:
    """Texts that go on from `given` (B, P), P >= 1: int64 (B, T) without it, padded behind the closing token.

    T is the length of the longest, its closing token counted. Raises `ValueError` for settings that leave
    nothing to search.
    """
    if settings.beams < 1:
        raise ValueError(f"beams must be at least 1, not {settings.beams}")
    if settings.max_length <= given.shape[1]:
        raise ValueError(
            f"max_length is {settings.max_length}: it must be above the {given.shape[1]} given tokens"
        )
    if len(given) == 0:
        return np.zeros((0, 0), np.int64)
    greedy = settings.beams == 1
    found = _greedy(step, given, settings) if greedy else _BeamSearch(step, given, settings).run()
    ended = np.cumsum(found == settings.end_id, axis=1) > 0
    return np.where(ended, settings.pad_id, found)


def _greedy(step: Step, given: Ids, settings: SearchSettings) -> Ids:
    """The likeliest token each time."""
    columns: list[Ids] = []
    done = np.zeros(len(given), bool)
    tokens = given[:, None, :]
    for length in range(given.shape[1], settings.max_length):
        logits = step(tokens, None)[:, 0]
        if length < settings.min_length:
            logits = _without(logits, settings.end_id)
        best = np.where(done, settings.pad_id, logits.argmax(axis=-1))
        columns.append(best)
        done |= best == settings.end_id
        if done.all():
            break
        tokens = best[:, None, None]
    return np.stack(columns, axis=1)


class _BeamSearch:
    """All items side by side. Texts are (B, K, most new tokens), filled from the left."""

    def __init__(self, step: Step, given: Ids, settings: SearchSettings) -> None:
        self.step, self.given, self.settings = step, given, settings
        shape = (len(given), settings.beams)
        self.most = settings.max_length - given.shape[1]
        self.running = np.full((*shape, self.most), settings.pad_id)
        # All beams start alike: only the first may go on, or they would all write the same.
        self.running_scores = np.full(shape, _FAR)
        self.running_scores[:, 0] = 0
        self.finished = self.running.copy()
        self.finished_scores = np.full(shape, _FAR)
        self.finished_lengths = np.zeros(shape, np.int64)
        self.is_finished = np.zeros(shape, bool)
        self.can_improve = np.ones(len(given), bool)

    def run(self) -> Ids:
        """The best finished text of every item (B, T)."""
        tokens, parents = self.given[:, None, :], None
        for length in range(1, self.most + 1):
            scores = self._scores(self.step(tokens, parents), length)
            best, where = _largest(scores.reshape(len(scores), -1), 2 * self.settings.beams)
            origins, ids = np.divmod(where, scores.shape[-1])
            texts = _take(self.running, origins)
            texts[:, :, length - 1] = ids
            stops = (ids == self.settings.end_id) | (length == self.most)
            kept = self._go_on(best, texts, stops)
            self._finish(best, texts, stops, length)
            self._give_up(length)
            if stops.all() or not self.can_improve.any():
                break
            tokens = _take(ids, kept)[:, :, None]
            # Before the second step there is one beam only.
            parents = _take(origins, kept) if length > 1 else np.zeros_like(kept)
        return self.finished[:, 0, : self.finished_lengths[:, 0].max()]

    def _scores(self, logits: Scores, length: int) -> Scores:
        """Of every beam's every next token (B, K, V)."""
        scores = _log_softmax(logits)
        if self.given.shape[1] + length - 1 < self.settings.min_length:
            scores = _without(scores, self.settings.end_id)
        return scores + self.running_scores[:, :, None]

    def _go_on(self, best: Scores, texts: Ids, stops: NDArray[np.bool_]) -> Ids:
        """The best candidates that have not ended become the running beams: which they are, (B, K)."""
        scores, kept = _largest(_set_back(best, stops), self.settings.beams)
        self.running, self.running_scores = _take(texts, kept), scores
        return kept

    def _finish(self, best: Scores, texts: Ids, stops: NDArray[np.bool_], length: int) -> None:
        """Put what has ended among the finished, where it is better. The second half of the candidates is
        there to go on with, not to end."""
        ended = stops.copy()
        ended[:, self.settings.beams :] = False
        mean: Scores = best / np.float32(length)
        scores = _set_back(_set_back(mean, ~self.can_improve[:, None]), ~ended)
        self.finished_scores, kept = _largest(
            np.concatenate([self.finished_scores, scores], axis=1), self.settings.beams
        )
        lengths = np.full_like(ended, length, dtype=np.int64)
        self.finished = _take(np.concatenate([self.finished, texts], axis=1), kept)
        self.finished_lengths = _take(np.concatenate([self.finished_lengths, lengths], axis=1), kept)
        self.is_finished = _take(np.concatenate([self.is_finished, ended], axis=1), kept)

    def _give_up(self, length: int) -> None:
        """Items whose best running beam cannot beat the worst finished one are done."""
        possible = self.running_scores[:, :1] / np.float32(length)
        worst = np.where(self.is_finished, self.finished_scores.min(axis=1, keepdims=True), _FAR)
        self.can_improve &= (possible > worst).any(axis=1)


def _log_softmax(logits: Scores) -> Scores:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: Scores = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def _without(scores: Scores, token: int) -> Scores:
    scores = scores.copy()
    scores[..., token] = -np.inf
    return scores


def _set_back(scores: Scores, out: NDArray[np.bool_]) -> Scores:
    """Where something is out of the running it stays comparable, far behind all that is in it."""
    return np.where(out, scores + _FAR, scores)


def _largest(values: Scores, count: int) -> tuple[Scores, Ids]:
    """The `count` largest of every row, falling, and where they are; of equals the first."""
    least = np.partition(values, -count, axis=1)[:, -count, None]
    places = np.empty((len(values), count), np.int64)
    for row, wanted in enumerate(values >= least):
        found = np.flatnonzero(wanted)
        places[row] = found[np.argsort(-values[row, found], kind="stable")[:count]]
    return np.take_along_axis(values, places, axis=1), places


def _take(values: NDArray[Any], places: Ids) -> NDArray[Any]:
    """Of values (B, N, ...) those at places (B, K): (B, K, ...)."""
    return values[np.arange(len(values))[:, None], places]

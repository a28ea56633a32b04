"""The parity gate of a model that writes: graph by graph, then the texts themselves.

Every graph is run on what PyTorch gives the part before it, so that a fault is found where it is, and its
output is compared as the dual encoder's are: cosine of each sample after PyTorch's mean has been subtracted
from both, a control with other samples that must fail. The decoder is run as it will be, token by token with
its cache, along texts that people wrote.

Then the whole chain writes captions or answers, in batches of odd size, greedily and with beams, which are
compared with PyTorch's token for token; and the loss on the true texts is compared with PyTorch's, the one
figure of quality that a few samples suffice for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from compressor.errors import CompressorError
from compressor.export.blip_graphs import CrossGraph
from compressor.export.parity import TowerParity, judge_states
from compressor.export.writer_reference import (
    TEXTS,
    Array,
    ReferencePart,
    WriterReference,
    batches_of,
    texts_of,
)
from compressor.runtime.beam_search import Ids
from compressor.runtime.decoding import Decoding
from compressor.runtime.writer_graphs import WriterGraphs
from compressor.runtime.writer_schema import (
    IMAGE_STATES,
    PIXEL_VALUES,
    QUESTION_MASK,
    QUESTION_STATES,
    STATES,
    TOKENS,
    GraphName,
    WriterVocabulary,
    cache_names,
)
from compressor.students.generator import IGNORED

MAY_DIFFER = {"fp32": 0.05}
"""Share of texts that may differ from PyTorch's, though always one: two tokens may be as likely up to
rounding, in a model that has hardly been trained above all. Other precisions are held to the loss."""
LOSS_DELTA = 0.05
"""Most that the loss on the true texts may rise, in nats a token: 5 % of perplexity."""
_PLACES = 64
"""Places of a picture's or a question's states that are compared, spread evenly: all would be gigabytes."""
_ROWS = 256
"""Rows of logits that are compared."""
_ODD_BATCH = 3


@dataclass(frozen=True)
class WriterParity:
    """What the gate found for one precision."""

    graphs: dict[GraphName, TowerParity]
    reasons: tuple[str, ...] = ()
    equal_greedy: float | None = None
    equal_beams: float | None = None
    texts: int = 0
    loss_delta: float | None = None

    @property
    def passed(self) -> bool:
        return not self.reasons and all(graph.passed for graph in self.graphs.values())

    @property
    def reason(self) -> str:
        """Why it failed, or nothing."""
        failed = [f"{name} graph: {graph.reason}" for name, graph in self.graphs.items() if not graph.passed]
        return "; ".join(self.reasons or failed)


def judge_writer(
    graphs: WriterGraphs, reference: WriterReference, precision: str, *, judge_quality: bool = True
) -> WriterParity:
    """Compare loaded graphs with PyTorch; with `judge_quality=False` (random weights) the graphs alone."""
    checks: dict[GraphName, Callable[[], TowerParity]] = {"vision": lambda: _vision(graphs, reference)}
    if graphs.question is not None:
        checks["question"] = lambda: _question(graphs, reference)
    checks |= {"cross": lambda: _cross(graphs, reference), "decoder": lambda: _decoder(graphs, reference)}
    found = {name: _guarded(check) for name, check in checks.items()}
    if not judge_quality or not all(graph.passed for graph in found.values()):
        return WriterParity(found)
    try:
        return _texts(graphs, reference, precision, found)
    except CompressorError as error:
        return WriterParity(found, (str(error),))


def _guarded(check: Callable[[], TowerParity]) -> TowerParity:
    try:
        return check()
    except CompressorError as error:
        return TowerParity(False, str(error))


def _vision(graphs: WriterGraphs, reference: WriterReference) -> TowerParity:
    found = [
        graphs.vision.run({PIXEL_VALUES: part.samples.pixel_values})[IMAGE_STATES]
        for part in reference.batches
    ]
    return judge_states(
        _stacked([part.image for part in reference.batches]), _stacked(found), reference.bounds
    )


def _question(graphs: WriterGraphs, reference: WriterReference) -> TowerParity:
    assert graphs.question is not None
    ours, theirs = [], []
    for part in reference.batches:
        assert part.question_ids is not None
        assert part.mask is not None
        feed = {TOKENS: part.question_ids, QUESTION_MASK: part.mask, IMAGE_STATES: part.image}
        ours.append(graphs.question.run(feed)[QUESTION_STATES] * part.mask[:, :, None])
        theirs.append(part.states * part.mask[:, :, None])
    return judge_states(_stacked(theirs), _stacked(ours), reference.bounds)


def _cross(graphs: WriterGraphs, reference: WriterReference) -> TowerParity:
    """Every layer's keys and values are compared; what is told is their mean, and the worst of all."""
    ours: defaultdict[str, list[Array]] = defaultdict(list)
    theirs: defaultdict[str, list[Array]] = defaultdict(list)
    for part in reference.batches:
        found = graphs.cross.run({STATES: part.states})
        for name, value in _true_cross(part, reference).items():
            theirs[name].append(_context_first(name, value, part.mask))
            ours[name].append(_context_first(name, found[name], part.mask))
    judged = {
        name: judge_states(_stacked(theirs[name]), _stacked(ours[name]), reference.bounds) for name in theirs
    }
    fault = next((f"{name}: {each.reason}" for name, each in judged.items() if each.reason), "")
    means = [each.cosine for each in judged.values() if each.cosine is not None]
    worst = [each.worst_cosine for each in judged.values() if each.worst_cosine is not None]
    return TowerParity(
        not fault, fault, float(np.mean(means)) if means else None, min(worst) if worst else None
    )


def _true_cross(part: ReferencePart, reference: WriterReference) -> dict[str, Array]:
    """The keys and values of cross-attention as PyTorch gives them."""
    module = CrossGraph(reference.generator)
    with torch.inference_mode():
        found = [each.numpy() for pair in module(torch.from_numpy(part.states)) for each in pair]
    return dict(zip(cache_names("cross", len(module.layers)), found, strict=True))


def _decoder(graphs: WriterGraphs, reference: WriterReference) -> TowerParity:
    most = max(1, _ROWS // len(reference.batches))
    ours, theirs = [], []
    for part in reference.batches:
        steps = Decoding(graphs.decoder, _true_cross(part, reference), part.mask)
        counted = _counted(part)
        chosen = _places(int(counted.sum()), most)
        ours.append(_forced(steps, part, reference.vocabulary)[counted][chosen])
        theirs.append(part.logits[counted][chosen])
    return judge_states(np.concatenate(theirs), np.concatenate(ours), reference.bounds)


def _texts(
    graphs: WriterGraphs, reference: WriterReference, precision: str, found: dict[GraphName, TowerParity]
) -> WriterParity:
    """What the whole chain writes, and its loss on what people wrote."""
    compared = reference.samples.rows(TEXTS)
    differing: dict[int, int] = {}
    for beams in dict.fromkeys((1, max(2, reference.writing.beams))):
        ours = [
            row
            for batch in batches_of(compared, _ODD_BATCH)
            for row in texts_of(
                graphs.write(
                    batch.pixel_values, batch.question_ids, reference.vocabulary, reference.settings(beams)
                ),
                reference.vocabulary.pad_id,
            )
        ]
        differing[beams] = sum(a != b for a, b in zip(ours, reference.texts(beams), strict=True))
    delta, count = _loss_delta(graphs, reference), len(compared)
    reasons = []
    allowed = max(1, int(MAY_DIFFER[precision] * count)) if precision in MAY_DIFFER else count
    for how, wrong in zip(("greedily", "with beams"), differing.values(), strict=True):
        if wrong > allowed:
            reasons.append(f"{wrong} of {count} texts written {how} are not PyTorch's, more than {allowed}")
    greedy, beamed = (1 - wrong / count for wrong in differing.values())
    if delta > LOSS_DELTA:
        reasons.append(f"the loss on the true texts is {delta:.3f} nats a token above PyTorch's")
    return WriterParity(found, tuple(reasons), greedy, beamed, count, delta)


def _loss_delta(graphs: WriterGraphs, reference: WriterReference) -> float:
    """Mean cross-entropy of the labelled tokens, the chain's minus PyTorch's."""
    ours, theirs, count = 0.0, 0.0, 0
    for part in reference.batches:
        states = graphs.read(part.samples.pixel_values, part.question_ids, part.mask)
        counted = _counted(part)
        labels = part.labels[counted]
        found = _forced(graphs.decoding(states, part.mask), part, reference.vocabulary)[counted]
        ours += _cross_entropy(found, labels)
        theirs += _cross_entropy(part.logits[counted], labels)
        count += len(labels)
    return (ours - theirs) / max(count, 1)


def _forced(steps: Decoding, part: ReferencePart, vocabulary: WriterVocabulary) -> Array:
    """Logits (B, T, V) along the given texts, token by token; those inside the prompt are zeros."""
    given = 1 + len(vocabulary.prompt_ids)
    logits = np.zeros(part.logits.shape, np.float32)
    for place in range(given - 1, part.inputs.shape[1]):
        first = 0 if place == given - 1 else place
        logits[:, place] = steps(part.inputs[:, None, first : place + 1], None)[:, 0]
    return logits


def _counted(part: ReferencePart) -> NDArray[np.bool_]:
    counted: NDArray[np.bool_] = part.labels != IGNORED
    return counted


def _cross_entropy(logits: Array, labels: Ids) -> float:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return float((np.log(np.exp(wide).sum(axis=1)) - wide[np.arange(len(labels)), labels]).sum())


def _context_first(name: str, value: Array, mask: NDArray[np.bool_] | None) -> Array:
    """Keys (B, heads, W, S) or values (B, heads, S, W) as (B, S, heads * W): of a picture the places that are
    compared, of a question all, with nothing at those of padding."""
    rows = value.transpose(0, 3, 1, 2) if "_key_" in name else value.transpose(0, 2, 1, 3)
    if mask is None:
        rows = rows[:, _places(rows.shape[1])]
    flat = rows.reshape(*rows.shape[:2], -1)
    return flat if mask is None else flat * mask[:, :, None]


def _stacked(batches: list[Array]) -> Array:
    """States (b, S, D) of all batches as (N, places * D), shorter ones filled with zeros."""
    longest = max(each.shape[1] for each in batches)
    filled = [np.pad(each, ((0, 0), (0, longest - each.shape[1]), (0, 0))) for each in batches]
    return np.concatenate([each[:, _places(longest)].reshape(len(each), -1) for each in filled])


def _places(length: int, most: int = _PLACES) -> NDArray[np.int64]:
    """At most so many of the places 0 to `length` - 1, spread evenly."""
    return np.linspace(0, length - 1, min(most, length)).round().astype(np.int64)

"""The search against every possible text, and against transformers' own on random decoders."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from compressor.runtime.beam_search import Ids, Scores, SearchSettings, search

END, PAD = 1, 0


class Table:
    """A decoder whose logits are random, but fixed for an item and all that it has read."""

    def __init__(self, words: int, seed: int, spread: float = 2.0, end: float = 0.0) -> None:
        self.words, self.seed, self.spread, self.end = words, seed, spread, end
        self.reset()

    def reset(self) -> None:
        self.read: list[list[list[int]]] = []
        self.calls = 0

    def logits(self, item: int, text: Sequence[int]) -> Scores:
        found = np.random.default_rng([self.seed, item, *text]).normal(size=self.words) * self.spread
        found[END] += self.end
        return found.astype(np.float32)

    def step(self, tokens: Ids, parents: Ids | None) -> Scores:
        """What `search` calls: remembers what each beam has read, as a cache does."""
        self.calls += 1
        batch, beams, _ = tokens.shape
        before = self.read or [[[] for _ in range(beams)] for _ in range(batch)]
        places = np.arange(beams)[None, :].repeat(batch, 0) if parents is None else parents
        self.read = [
            [before[item][places[item, beam]] + tokens[item, beam].tolist() for beam in range(beams)]
            for item in range(batch)
        ]
        return np.stack([[self.logits(k, text) for text in item] for k, item in enumerate(self.read)])


class TableModel(PreTrainedModel, GenerationMixin):
    """The same decoder for transformers: the first given token names the item."""

    config_class = PretrainedConfig

    def __init__(self, config: PretrainedConfig, table: Table) -> None:
        super().__init__(config)
        self.table = table
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids: Tensor, **_: Any) -> CausalLMOutput:
        rows = [self.table.logits(row[0], row) for row in input_ids.tolist()]
        return CausalLMOutput(logits=torch.from_numpy(np.stack(rows))[:, None])

    def prepare_inputs_for_generation(  # type: ignore[override]
        self, input_ids: Tensor, **_: Any
    ) -> dict[str, Any]:
        return {"input_ids": input_ids}


def by_transformers(table: Table, start: Ids, wanted: SearchSettings) -> Ids:
    options: dict[str, Any] = {"vocab_size": table.words, "is_encoder_decoder": False, "use_cache": False}
    model: Any = TableModel(PretrainedConfig(**options), table)
    found = model.generate(
        input_ids=torch.from_numpy(start),
        generation_config=GenerationConfig(
            num_beams=wanted.beams,
            max_length=wanted.max_length,
            min_length=wanted.min_length,
            do_sample=False,
            use_cache=False,
            eos_token_id=END,
            pad_token_id=PAD,
        ),
    )
    assert isinstance(found, Tensor)
    words = found[:, start.shape[1] :].numpy()
    return np.where(np.cumsum(words == END, axis=1) > 0, PAD, words)


def items(batch: int, prompt: int = 1) -> Ids:
    """Given tokens that begin with the item's number."""
    return np.stack([[k, *range(2, 1 + prompt)] for k in range(batch)])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    batch=st.integers(1, 4),
    beams=st.integers(1, 5),
    words=st.integers(10, 14),
    prompt=st.integers(1, 3),
    extra=st.integers(1, 9),
    least=st.integers(0, 8),
    end=st.floats(-2, 4),
)
def test_texts_are_those_of_transformers(
    seed: int, batch: int, beams: int, words: int, prompt: int, extra: int, least: int, end: float
) -> None:
    table = Table(words, seed, end=end)
    wanted = SearchSettings(END, PAD, beams, prompt + extra, min(least, prompt + extra - 1))
    found = search(table.step, items(batch, prompt), wanted)
    np.testing.assert_array_equal(found, by_transformers(table, items(batch, prompt), wanted))


@pytest.mark.parametrize("seed", range(4))
def test_with_a_beam_for_every_text_the_best_of_all_is_found(seed: int) -> None:
    """The best by the mean log-probability of its tokens, by trying all texts of up to three tokens."""
    words, most = 4, 3
    table = Table(words, seed)
    found = search(table.step, items(1), SearchSettings(END, PAD, words**most, 1 + most))
    best: tuple[int, ...] = ()
    score = -math.inf
    for length in range(1, most + 1):
        for text in itertools.product(range(words), repeat=length):
            if END in text[:-1] or (length < most and text[-1] != END):
                continue
            total = 0.0
            for k, token in enumerate(text):
                logits = table.logits(0, [0, *text[:k]]).astype(np.float64)
                total += float(logits[token] - np.log(np.exp(logits).sum()))
            if total / length > score:
                best, score = text, total / length
    assert found[0].tolist() == [PAD if token == END else token for token in best]


def test_greedy_takes_the_likeliest_token_each_time() -> None:
    table = Table(8, 3, end=-50)
    found = search(table.step, items(2), SearchSettings(END, PAD, beams=1, max_length=5))
    for item, row in enumerate(found.tolist()):
        text = [item]
        for token in row:
            assert token == int(table.logits(item, text).argmax())
            text.append(token)
    assert found.shape == (2, 4)


@pytest.mark.parametrize("beams", [1, 3])
def test_what_stands_beside_an_item_does_not_change_it(beams: int) -> None:
    wanted = SearchSettings(END, PAD, beams, 9)
    table = Table(9, 5, end=1)
    together = search(table.step, items(4), wanted)
    table.reset()
    alone = search(table.step, items(1), wanted)
    assert (together[:1, : alone.shape[1]] == alone).all()
    assert (together[0, alone.shape[1] :] == PAD).all()


@pytest.mark.parametrize("beams", [1, 4])
def test_it_stops_when_every_text_has_ended(beams: int) -> None:
    table = Table(9, 1, end=60)
    found = search(table.step, items(3), SearchSettings(END, PAD, beams, 30))
    assert found.shape == (3, 1)
    assert (found == PAD).all()
    assert table.calls <= 2


@pytest.mark.parametrize("beams", [1, 3])
def test_no_text_ends_before_the_least_length(beams: int) -> None:
    table = Table(9, 1, end=60)
    found = search(table.step, items(3, prompt=2), SearchSettings(END, PAD, beams, 12, min_length=6))
    assert found.shape == (3, 5)
    assert (found[:, :4] != END).all()


def test_of_equal_tokens_the_smaller_id_comes_first() -> None:
    def step(tokens: Ids, _: Ids | None) -> Scores:
        return np.zeros((*tokens.shape[:2], 6), np.float32)

    for beams in (1, 2):
        found = search(step, items(1), SearchSettings(5, 4, beams, 4))
        assert found.tolist() == [[0, 0, 0]]


def test_there_may_be_nothing_to_write_about() -> None:
    table = Table(9, 1)
    assert search(table.step, np.zeros((0, 1), np.int64), SearchSettings(END, PAD)).shape == (0, 0)
    assert table.calls == 0


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (SearchSettings(END, PAD, beams=0), "beams must be at least 1, not 0"),
        (SearchSettings(END, PAD, max_length=2), "max_length is 2: it must be above the 2 given tokens"),
    ],
)
def test_settings_that_leave_nothing_to_search_are_refused(wanted: SearchSettings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search(Table(9, 1).step, items(1, prompt=2), wanted)

"""Every mistake in a recipe is one sentence with its line, in the words of recipes."""

from __future__ import annotations

import re

import pytest

from compressor.errors import RecipeError
from tests.recipe.conftest import SMALL, Load


def refusal(load: Load, text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(*overrides, text=text)
    return [line.split("recipe.yaml:")[-1] for line in str(caught.value).splitlines()]


CHANGES = [
    (
        "name: small",
        "nam: small",
        ["1: name: is missing; allowed: text", "1: nam: unknown key; did you mean 'name'?"],
    ),
    ("name: small", "name: 3", ["1: name: is 3; allowed: text"]),
    ("name: small", "name: ../up", ["1: name: is '../up'; allowed: 100 letters, digits, '.', '_', '-', "]),
    (
        "kind: scenes",
        "kind: scene",
        ["3: data: unknown kind 'scene'; did you mean 'scenes'? allowed: scenes, karpathy,"],
    ),
    ("kind: scenes", "kind: [scenes]", ["3: data: unknown kind a list of one item; allowed: scenes,"]),
    ("kind: scenes", "knd: scenes", ["2: data: has no kind; allowed: scenes, karpathy"]),
    (
        "kind: scenes",
        "kind: scenes\n  scenes: 1",
        ["4: data.scenes: unknown key; did you mean 'seed'? allowed: max"],
    ),
    ("kind: scenes", "kind: karpathy", ["2: data.root: is missing; allowed: a path"]),
    (
        "  kind: scenes",
        "  - scenes",
        ["2: data: is a list of one item; allowed: a mapping with kind: scenes, karpathy,"],
    ),
    ("teachers/one", "3", ["6: teacher.path: is 3; allowed: a path"]),
    ("teachers/one", "", ["6: teacher.path: is null; allowed: a path"]),
    (
        "epochs: 3",
        "epochs: many",
        ["16: distill.epochs: is 'many'; allowed: a whole number, at least 1, or null"],
    ),
    ("epochs: 3", "epochs: 0", ["16: distill.epochs: is 0; allowed: a whole number, at least 1, or null"]),
    ("epochs: 3", "epochs: 1.5", ["16: distill.epochs: is 1.5; allowed: a whole number"]),
    ("epochs: 3", "epochs: true", ["16: distill.epochs: is true; allowed: a whole number"]),
    ("epochs: 3", "epochs: {a: 1}", ["16: distill.epochs: is a mapping; allowed: a whole number"]),
    ("epochs: 3", "epochs: 3\n  steps: 3", ["15: distill: give exactly one of epochs and steps"]),
    ("epochs: 3", "epochs: 3\n  control: 2", ["17: distill.control: is 2; allowed: true or false"]),
    ("epochs: 3", "epochs: 3\n  signals: lve", ["17: distill.signals: is 'lve'; allowed: stored, live"]),
    ("epochs: 3", "epochs: 3\n  trackers: tb", ["17: distill.trackers: is 'tb'; allowed: a list, each text"]),
    (
        "epochs: 3",
        "epochs: 3\n  ema: 1",
        ["17: distill.ema: is 1; allowed: a number, more than 0, less than 1, or null"],
    ),
    (
        "epochs: 3",
        "epochs: 3\n  optimizer:\n    lr: -1\n    betas: [1]",
        [
            "18: distill.optimizer.lr: is -1; allowed: a number, more than 0",
            "19: distill.optimizer.betas: is a list of one item; allowed: a list of 2, each a number",
        ],
    ),
    (
        "kind: contrastive",
        "kind: contrast",
        ["18: distill.losses.0: unknown kind 'contrast'; did you mean 'contrastive'?"],
    ),
    (
        "kind: contrastive",
        "kind: feature",
        ["15: distill: each loss may stand once; listed twice: feature"],
    ),
    (
        "    - kind: contrastive\n    - kind: feature\n      weight: 2\n",
        "    []\n",
        ["17: distill.losses: is an empty list; "],
    ),
    ("weight: 2", "weight: -2", ["20: distill.losses.1.weight: is -2; allowed: a number, more than 0"]),
    (
        "weight: 2",
        "wieght: 2",
        ["20: distill.losses.1.wieght: unknown key; did you mean 'weight'? allowed: weight, kind"],
    ),
    (
        "kind: transformer",
        "kind: transformer\n    width: 10",
        ["11: student.text: width 10 is not a multiple of heads 4"],
    ),
    ("name: small", "name: small\ngoals: [rsum]", ["2: goals.0: 'rsum' is not a goal; write it like"]),
    (
        "name: small",
        "name: small\nexport: {precisions: [fp8]}",
        [
            "2: export.precisions.0: is 'fp8'; allowed: fp32, fp16, int8, int8_static, int8_weights, "
            "int4_weights"
        ],
    ),
    (
        "name: small",
        "name: small\nexport: 3",
        ["2: export: is 3; allowed: a mapping with the keys precisions,"],
    ),
    (
        "kind: scenes",
        "kind: webdataset\n  root: x\n  shards: {tran: a}",
        ["5: data.shards.tran: unknown key; did you"],
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "messages"), CHANGES, ids=[change[1].replace("\n", " ") for change in CHANGES]
)
def test_a_mistake_is_one_sentence(load: Load, old: str, new: str, messages: list[str]) -> None:
    assert old in SMALL
    found = refusal(load, SMALL.replace(old, new, 1))
    assert len(found) == len(messages), found
    for line, message in zip(sorted(found), sorted(messages), strict=True):
        assert line.startswith(message)
        assert not re.search(r"pydantic|http|Input should|validation|NoneType|Literal|dict|tuple", line)


def test_ten_problems_at_most_and_the_command_line_first(load: Load) -> None:
    extra = "".join(f"extra{number}: 1\n" for number in range(15))
    found = refusal(load, SMALL + extra, "distill.epocs=1")
    assert found[0].startswith("command line: distill.epocs: unknown key; did you mean 'epochs'?")
    assert len(found) == 11
    assert found[-1] == "... and 6 more"


def test_messages_stay_on_one_line_and_short(load: Load) -> None:
    text = SMALL.replace("name: small", 'name: "' + "a\\n" * 500 + '"\n"odd\\nkey": 1')
    found = refusal(load, text)
    assert len(found) == 2
    assert all(len(line) < 220 for line in found)


def test_one_bad_item_is_not_reported_as_a_short_list(load: Load) -> None:
    text = SMALL.replace("    - kind: feature\n      weight: 2\n", "").replace(
        "contrastive", "contrastive\n      x: 1"
    )
    assert [line.split(" ")[1] for line in refusal(load, text)] == ["distill.losses.0.x:"]

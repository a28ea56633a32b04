"""The page, the tables and the file of an ablation."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import jsonschema
import pytest
from rich.console import Console

from compressor.report.ablation import tables
from compressor.report.ablation.results import (
    Ablation,
    Difference,
    Failure,
    FigureName,
    ModelFigures,
    Spread,
    TrainingFigures,
    VariantFigures,
    ablation_schema_text,
)
from compressor.report.ablation.write import print_ablation, write_ablation
from compressor.report.results import Interval
from tests.report.test_report import EVIL, Page

PUBLISHED = Path(__file__).parents[2] / "docs" / "ablation.schema.json"
RECALLS = {f"{way}_r{k}": 10.0 * k for way in ("i2t", "t2i") for k in (1, 5, 10)}
RETRIEVAL: dict[str, Any] = {
    "measured": "retrieval",
    "compared": FigureName(key="rsum", label="RSUM"),
    "beside": [
        FigureName(key="i2t_r1", label="image → text", group="R@1"),
        FigureName(key="t2i_r1", label="text → image", group="R@1"),
    ],
}
CAPTIONS: dict[str, Any] = {
    "measured": "captions",
    "compared": FigureName(key="cider", label="CIDEr"),
    "beside": [FigureName(key="bleu_4", label="BLEU-4"), FigureName(key="meteor", label="METEOR")],
}


def over(values: list[float]) -> Spread:
    return Spread(mean=mean(values), sd=stdev(values) if len(values) > 1 else None, seeds=len(values))


def variant(
    name: str, rsums: list[float], interval: tuple[float, float] | None = None, **more: Any
) -> VariantFigures:
    trainings = [
        TrainingFigures(
            seed=seed,
            folder=f"x/seed-{seed}",
            value=rsum,
            figures=RECALLS,
            difference=None if interval is None else rsum - 200,
            steps=744,
            seconds=62.0,
        )
        for seed, rsum in enumerate(rsums)
    ]
    found = over([rsum - 200 for rsum in rsums]) if interval is not None else None
    return VariantFigures(
        name=name,
        overrides=more.pop("overrides", ["distill.epochs=1"]),
        trainings=trainings,
        value=over(rsums),
        figures={key: over([value] * len(rsums)) for key, value in RECALLS.items()},
        difference=found
        and Difference(
            **found.model_dump(), interval=Interval(low=interval[0], high=interval[1]) if interval else None
        ),
        **more,
    )


def ablation(*variants: VariantFigures, **more: Any) -> Ablation:
    return Ablation(
        **{
            "name": "photos",
            "recipe": {},
            "command": "compressor ablate photos.yaml",
            "baseline": "as it is",
            "split": "val",
            "images": 1000,
            "texts": 5000,
            "seeds": [0, 1, 2],
            "resamples": 1000,
            "variants": [variant("as it is", [199.0, 200.0, 201.0], overrides=[]), *variants],
            "trainings": 12,
            "left": 0,
        }
        | RETRIEVAL
        | more
    )


BETTER = variant("without hard_negative", [221.0, 224.0, 227.0], (18.0, 30.0))
WORSE = variant("feature alone", [149.0, 150.0, 151.0], (-55.0, -45.0))
OPEN = variant("balancer dwa", [203.0, 199.0, 207.0], (-2.0, 8.0))
REFUSED = VariantFigures(name="amad alone", overrides=["a=1"], refusal="there is no other loss to match")


def rows(found: Ablation) -> dict[str, list[str]]:
    return {row[0].text: [cell.text for cell in row[1:]] for row in tables.ranking_table(found).rows}


def test_variants_are_ranked_by_their_mean_with_spread_and_verdict() -> None:
    found = rows(ablation(WORSE, OPEN, BETTER, REFUSED))
    assert list(found) == ["without hard_negative", "balancer dwa", "the recipe as it is", "feature alone"]
    assert found["without hard_negative"][2:] == [
        *("224.0 ± 3.0", "3", "+24.0 ± 3.0", "+18.0 to +30.0", "✓ better"),
    ]
    assert found["feature alone"][4:] == ["−50.0 ± 1.0", "−55.0 to −45.0", "✕ worse"]
    assert found["balancer dwa"][-1] == "– not clear"
    assert found["the recipe as it is"][2:] == ["200.0 ± 1.0", "3", "", "", ""]


def test_one_seed_has_no_spread_and_no_verdict() -> None:
    found = ablation(variant("fast", [260.0], (40.0, 80.0)), seeds=[0])
    assert rows(found)["fast"][2:] == ["260.0", "one seed", "+60.0", "+40.0 to +80.0", "– one seed"]
    assert tables.headline(found) == "‘fast’ stands first with RSUM 260.0, but one seed judges nothing."
    assert tables.remarks(found)[0].startswith("One seed, the same data")


def test_the_headline_names_the_best_variant_only_where_it_is_clear() -> None:
    assert tables.headline(ablation(WORSE, OPEN, BETTER)) == (
        "‘without hard_negative’ beats the recipe as it is by 24.0 points of RSUM (+18.0 to +30.0)."
    )
    assert tables.headline(ablation(WORSE, OPEN)) == "No variant is clearly better than the recipe as it is."
    nothing = ablation(variants=[VariantFigures(name="as it is", overrides=[])], left=12, images=None)
    assert "nothing to compare yet" in tables.headline(nothing)


def test_the_teacher_stands_first_and_is_compared_with_nobody() -> None:
    own = ModelFigures(value=333.3, figures={"i2t_r1": 44.4})
    found = tables.ranking_table(ablation(BETTER, teacher=own)).rows
    assert [cell.text for cell in found[0]] == [
        *("the teacher", "44.4", "not available", "333.3"),
        *("", "", "", ""),
    ]
    assert found[1][0].text == "without hard_negative"
    nothing = ablation(variants=[VariantFigures(name="as it is", overrides=[])], teacher=own)
    assert tables.ranking_table(nothing).rows == ()


def test_captions_are_told_by_their_own_figures() -> None:
    better = BETTER.model_copy(update={"figures": {"bleu_4": over([30.0, 31.0])}})
    sentence = "METEOR is not available here: no Java runtime."
    found = ablation(better, **CAPTIONS, unavailable=[sentence])
    table = tables.ranking_table(found)
    assert table.caption == "Captions of every variant"
    assert [column.name for column in table.columns][1:5] == ["BLEU-4", "METEOR", "CIDEr", "seeds"]
    assert rows(found)["without hard_negative"][:3] == ["30.5 ± 0.7", "not available", "224.0 ± 3.0"]
    assert "beats the recipe as it is by 24.0 points of CIDEr" in tables.headline(found)
    assert tables.remarks(found)[1:] == ["1,000 images, 5,000 captions to compare with.", sentence]
    best = better.trainings[0].model_copy(update={"best_validation": 1.2345})
    told = tables.trainings_table(ablation(better.model_copy(update={"trainings": [best]}), **CAPTIONS))
    assert told.columns[4].name == "lowest loss on val"
    assert told.rows[0][4].text == "1.23"


def test_what_is_left_refused_and_failed_is_told() -> None:
    failed = OPEN.model_copy(update={"failures": [Failure(seed=2, reason="diverged at step 3", exit_code=4)]})
    found = ablation(REFUSED, failed, left=2, seconds_left=3725.0)
    assert tables.remarks(found)[-1] == "2 of 12 trainings are left, about 1\u00a0h 02\u00a0min."
    absent = tables.absent_table(found)
    assert absent is not None
    assert [[cell.text for cell in row] for row in absent.rows] == [
        ["amad alone", "there is no other loss to match"],
        ["balancer dwa, seed 2", "diverged at step 3"],
    ]
    assert tables.absent_table(ablation(OPEN)) is None


@pytest.fixture
def page(tmp_path: Path) -> str:
    files = write_ablation(tmp_path, ablation(WORSE, OPEN, BETTER, REFUSED))
    assert [file.name for file in files] == ["ablation.json", "ablation.md", "ablation.html"]
    return files[2].read_text(encoding="utf-8")


def test_the_page_asks_nothing_of_a_network_and_runs_no_script(page: str) -> None:
    for tag, attributes in Page(page).tags:
        assert tag not in ("script", "iframe", "object", "embed", "form", "base", "img")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#"))
    assert not re.search(r"@import|url\(|https?://", page)
    policy = next(meta["content"] for meta in Page(page).all("meta") if meta.get("http-equiv"))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_the_plot_has_a_line_a_variant_and_says_what_it_shows(page: str) -> None:
    parsed = Page(page)
    plot = next(div for div in parsed.all("div") if div.get("role") == "img")
    assert "without hard_negative: +24.0, +18.0 to +30.0" in str(plot["aria-label"])
    strips = [div["class"] for div in parsed.all("div") if (div.get("class") or "").startswith("strip ")]
    assert strips == ["strip s-better", "strip s-open", "strip s-base", "strip s-worse", "strip ticks"]
    circles = parsed.all("circle")
    assert [circle["class"] for circle in circles].count("mean") == 4
    assert [circle["class"] for circle in circles].count("seed") == 9
    zero = {float(str(line["x1"]).rstrip("%")) for line in parsed.all("line") if line["class"] == "zero"}
    assert len(zero) == 1
    means = [float(str(circle["cx"]).rstrip("%")) for circle in circles if circle["class"] == "mean"]
    assert means == sorted(means, reverse=True)
    assert zero == {means[2]}
    assert all(0 <= float(str(circle["cx"]).rstrip("%")) <= 100 for circle in circles)


def test_the_page_can_be_read_aloud_and_on_a_phone(page: str) -> None:
    parsed = Page(page)
    assert len(parsed.all("h1")) == 1
    assert len(parsed.all("table")) == len(parsed.all("caption")) == 4
    assert "prefers-color-scheme: dark" in page
    assert any("width=device-width" in (meta.get("content") or "") for meta in parsed.all("meta"))
    for words in (
        "there is no other loss to match",
        "compressor ablate photos.yaml",
        "± 3.0",
        "1,000 images",
    ):
        assert words in parsed.text


def test_words_from_outside_are_never_markup(tmp_path: Path) -> None:
    evil = ablation(
        variant(EVIL, [300.0, 301.0], (90.0, 110.0), overrides=[EVIL]),
        VariantFigures(name=f"{EVIL} 2", overrides=[], refusal=EVIL),
        name=EVIL,
        command=EVIL,
    )
    files = write_ablation(tmp_path, evil)
    page = files[2].read_text(encoding="utf-8")
    assert not [tag for tag, _ in Page(page).tags if tag in ("script", "img")]
    assert "<script>" not in files[1].read_text(encoding="utf-8").replace("```sh\n" + EVIL, "")
    print_ablation(evil, tmp_path, Console(file=io.StringIO()))


def test_the_terminal_shows_the_ranking_within_eighty_columns() -> None:
    out = io.StringIO()
    print_ablation(
        ablation(WORSE, OPEN, BETTER, REFUSED), Path("runs/photos-ablation"), Console(file=out, width=80)
    )
    told = out.getvalue()
    for words in ("without hard_negative", "224.0 ± 3.0", "+18.0 to +30.0", "✓ better", "amad alone"):
        assert words in told
    assert "runs/photos-ablation/ablation.html" in told
    assert max(map(len, told.splitlines())) <= 110


def test_the_published_schema_is_that_of_the_code_and_files_fit_it(tmp_path: Path) -> None:
    """When this fails: compressor schema ablation > docs/ablation.schema.json."""
    assert PUBLISHED.read_text(encoding="utf-8") == ablation_schema_text()
    found = ablation(WORSE, OPEN, REFUSED)
    write_ablation(tmp_path, found)
    held = json.loads((tmp_path / "ablation.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json.loads(ablation_schema_text())).validate(held)
    assert Ablation.model_validate(held) == found
    held["variants"][0]["rsun"] = 1.0
    with pytest.raises(jsonschema.ValidationError, match="rsun"):
        jsonschema.Draft202012Validator(json.loads(ablation_schema_text())).validate(held)

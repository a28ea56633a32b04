from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import yaml

from compressor.report.headline import headline
from compressor.report.html import html_report
from compressor.report.markdown import fenced, markdown_report, text
from compressor.report.model_card import model_card
from compressor.report.results import Results
from compressor.report.write import write_report
from tests.report.fixture import run, small
from tests.report.run_curves import curves
from tests.report.run_examples import examples
from tests.report.run_figures import quality

EVIL = '<script>alert(1)</script> "quoted" & <img src=x onerror=alert(2)>'
VOID = {"meta", "link", "img", "br", "wbr"}


class Page(HTMLParser):
    """Everything the tests ask of a page; refuses tags that do not nest."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "title", "desc"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def written(
    folder: Path, results: Results, records: dict[str, list[dict[str, Any]]] | None = None
) -> dict[str, str]:
    files = write_report(folder, results, curves() if records is None else records)
    assert [file.name for file in files] == ["report.html", "report.md", "MODEL_CARD.md"]
    return {file.name: file.read_text(encoding="utf-8") for file in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return written(tmp_path_factory.mktemp("run"), run())


def bare() -> Results:
    """A student alone, of which only the quality is known."""
    nothing: dict[str, Any] = {
        name: {} for name in ("size", "artifacts", "training", "data", "stages", "device", "lineage")
    }
    return run(
        quality={"student": quality(0, 3)}, retention=None, latency=None, goals=[], examples=[], **nothing
    )


def test_the_page_asks_nothing_of_a_network_and_runs_no_script(whole: dict[str, str]) -> None:
    page = Page(whole["report.html"])
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "object", "embed", "form", "base")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#"))
    assert not re.search(r"@import|url\(", whole["report.html"])
    assert set(re.findall(r"https?://[^\s\"'<]+", whole["report.html"])) == {"http://www.w3.org/2000/svg"}
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_the_page_can_be_read_aloud_and_on_a_phone(whole: dict[str, str]) -> None:
    page = Page(whole["report.html"])
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert all(image["alt"] for image in page.all("img"))
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(region["aria-label"] for region in page.all("div") if region.get("role") == "region")
    charts = [svg for svg in page.all("svg") if svg.get("class") == "chart"]
    assert len(charts) == 5
    assert len(page.all("title")) == len(charts) + 1
    assert all(svg["role"] == "img" and svg["aria-labelledby"] for svg in charts)
    identifiers = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(identifiers) == len(set(identifiers))
    assert {link["href"] for link in page.all("a")} <= {f"#{name}" for name in identifiers}
    assert any("width=device-width" in (meta.get("content") or "") for meta in page.all("meta"))
    assert "prefers-color-scheme: dark" in whole["report.html"]
    assert "@media print" in whole["report.html"]


def test_the_figures_of_another_precision_than_fp32_say_so() -> None:
    results = small()
    told = headline(results)
    assert told.sentence.startswith("The student at int8_static keeps ")
    last = told.remarks[-1].replace("\u00a0", " ")
    assert last == (
        "One image and one text take the student 2.09 ms on one thread (CPU, int8_static); it is 1.08 MB on "
        "disk at int8_static, 46.0 times smaller than its teacher at fp32."
    )
    page, text, card = html_report(results, {}), markdown_report(results, {}), model_card(results)
    assert "student at int8_static" in page
    assert "parameters at int8_static" in page
    for written in (text, card):
        assert "int8_static (the teacher in onnxruntime at fp32), 1 thread" in written
        assert "On disk: the teacher at fp32; the student at int8_static." in written
    assert "1.08\u00a0MB at int8_static" in card


def test_fp32_is_named_in_no_sentence() -> None:
    told = headline(run())
    assert "fp32" not in told.sentence
    assert told.remarks[-1].replace("\u00a0", " ") == (
        "One image and one text take the student 2.09 ms on one thread (CPU); it is 3.53 MB on disk, "
        "14.0 times smaller than its teacher."
    )


def test_the_verdict_says_what_results_hold() -> None:
    told = headline(run())
    plain = told.sentence.replace("\u00a0", " ")
    assert plain == "The student keeps 97.1 % of the teacher’s RSUM at 7.8 % of its latency."
    assert told.remarks[0].startswith(
        "The same student trained without a teacher reaches 443.2, 48.7 points less"
    )
    assert "1 of 3 goals is missed." in told.remarks
    assert "Of the exported artifacts, int8 is slower than fp32 on this machine." in told.remarks


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"latency": None}, "The student keeps 97.1 % of the teacher’s RSUM."),
        ({"retention": None}, "The student reaches an RSUM of 494.1 out of 600."),
        ({"retention": None, "quality": {}}, "This run has no quality figures."),
        (
            {"rehearsal": True},
            "Rehearsed: every stage ran. The student has 7.0 % of the teacher’s parameters "
            "and answers in 7.8 % of its time.",
        ),
    ],
)
def test_the_verdict_claims_no_figure_that_is_not_there(changed: dict[str, Any], sentence: str) -> None:
    assert headline(run(**changed)).sentence.replace("\u00a0", " ") == sentence


def test_a_lead_over_the_control_that_may_be_chance_is_called_so() -> None:
    kept = run().retention.model_dump()  # type: ignore[union-attr]
    kept |= {"student_minus_control": 1.2, "student_minus_control_interval": {"low": -3.0, "high": 5.1}}
    assert "−3.0 to 5.1, includes zero" in headline(run(retention=kept)).remarks[0]
    kept |= {"student_minus_control": -4.0, "student_minus_control_interval": None}
    assert headline(run(retention=kept)).remarks[0].endswith("4.0 points more.")
    kept |= {"student_minus_control_interval": {"low": -6.0, "high": -1.5}}
    assert (
        headline(run(retention=kept))
        .remarks[0]
        .endswith("4.0 points more (95 % interval of the difference: 1.5 to 6.0).")
    )


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_every_figure_of_the_run_is_told(whole: dict[str, str], name: str) -> None:
    shown = Page(whole[name]).text if name.endswith("html") else whole[name]
    shown = shown.replace("\u00a0", " ")
    for figure in (
        *("506.9", "494.1", "443.2", "487.5 to 500.7", "97.1 %", "96.2 to 98.0 %", "87.4 %", "+48.7"),
        *("26.6", "2.09", "40.4", "7.8 %", "7.7 to 8.0 %", "1,534", "13.0 ×", "0.410 ms"),
        *("12.3 M", "862 k", "49.6 MB", "3.53 MB", "0.9923", "0.9712", "−0.31", "slower than fp32"),
        *("3,998", "19,990", "3 min 02 s", "4 min 36 s", "521", "509.8", "avx512_vnni", "limited to 1.5"),
        *("✓ met", "✕ missed", "compressor run quickstart.yaml", "torch 2.15.0", "mobilenetv3_small_050"),
    ):
        assert figure in shown, figure


def test_every_example_shows_teacher_and_student_with_right_answers_in_words(whole: dict[str, str]) -> None:
    page = Page(whole["report.html"])
    assert len(page.all("img")) == 4 * 6 + 4
    assert all(image["src"].startswith("data:image/jpeg;base64,/9j/") for image in page.all("img"))  # type: ignore[union-attr]
    right = sum(
        answer["correct"] for e in examples() for role in ("teacher", "student") for answer in e[role]
    )
    assert page.text.count("✓ right") == right
    classes = [attributes.get("class") for attributes in page.all("li")]
    assert classes.count("right") == right
    for words in ("both right", "only the student is right", "only the teacher is right", "both wrong"):
        assert page.text.count(words) == 2


def test_what_is_missing_is_called_not_available(tmp_path: Path) -> None:
    files = written(tmp_path, bare(), {})
    page = Page(files["report.html"])
    assert "Latency of one call: not available." in page.text
    assert "Curves: not available." in page.text
    assert "nan" not in page.text.lower().split()
    assert "None" not in page.text
    for name in ("report.md", "MODEL_CARD.md"):
        assert "**Latency of one call**: not available" in files[name]
        assert "None" not in files[name]
    assert not page.all("img")


def test_a_teacher_without_latency_is_a_level_not_a_bubble(tmp_path: Path) -> None:
    latency = run().latency.model_dump()  # type: ignore[union-attr]
    for tower in ("image", "text", "pair"):
        latency[tower]["teacher"] = None
    latency |= {"p50_ratio": None, "p50_ratio_interval": None, "batches": [], "preprocess": {}}
    source = written(tmp_path, run(latency=latency))["report.html"]
    assert "teacher (no latency)" in source
    assert source.count('class="bubble"') == 2
    assert "2.09" in Page(source).text


def test_a_rehearsal_says_so_and_shows_no_quality(tmp_path: Path) -> None:
    goals = [
        {"goal": "retention.rsum >= 0.9", "value": None, "verdict": "not judged", "reason": "a rehearsal"}
    ]
    files = written(tmp_path, run(rehearsal=True, goals=goals))
    shown = Page(files["report.html"]).text
    assert "This is a rehearsal" in shown
    assert "– not judged" in shown
    for name, content in (("page", shown), *files.items()):
        for figure in ("494.1", "506.9", "97.1", "509.8", "−0.31"):
            assert figure not in content, (name, figure)
    assert "2.09" in shown
    assert "compressor run quickstart.yaml --rehearse" in shown


def test_nothing_that_users_write_becomes_markup(tmp_path: Path) -> None:
    shown = examples()
    shown[0]["query"]["caption"] = EVIL
    shown[0]["teacher"][0]["id"] = EVIL
    shown[5]["student"][1]["caption"] = EVIL
    shown[6]["query"]["id"] = EVIL
    shown[6]["query"]["image"] = '"><script>alert(3)</script>'
    results = run(
        examples=shown,
        name="a<script>b",
        recipe={"note": EVIL, "data": {"kind": EVIL}, "student": {"image": {"name": EVIL}}},
        lineage={"teacher": {"origin": EVIL}, EVIL: EVIL},
        device={"cpu": {"model": EVIL}, "os": EVIL},
        goals=[{"goal": EVIL, "value": 1.0, "verdict": "met", "reason": EVIL}],
        stages={EVIL: {"seconds": 1.0}},
        data={EVIL: {"images": 1}},
        training={EVIL: {"steps": 1}},
    )
    records = {"student": [{"step": k, "losses": {EVIL: 1.0 + k}, "weights": {EVIL: k}} for k in (1, 2)]}
    files = written(tmp_path, results, records)
    page = Page(files["report.html"])
    assert not page.all("script")
    assert all(set(image) == {"class", "alt", "src"} for image in page.all("img"))
    assert page.text.count("alert(1)") >= 8
    for name in ("report.md", "MODEL_CARD.md"):
        outside = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", files[name], flags=re.S | re.M)
        outside = re.sub(r"\A---\n.*?\n---\n", "", outside, flags=re.S)
        assert "<" not in outside
        assert "alert(1)" in outside


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a | b", "a \\| b"),
        ("# not a heading", "\\# not a heading"),
        ("1. not a list", "1\\. not a list"),
        ("0.97", "0.97"),
        ("two\nlines\t here", "two lines here"),
        ("snake_case stays, _emphasis_ does not", "snake_case stays, \\_emphasis\\_ does not"),
        ("[a](b) `c` *d* <e> & f", "\\[a\\](b) \\`c\\` \\*d\\* &lt;e> &amp; f"),
    ],
)
def test_words_stay_words_in_markdown(words: str, expected: str) -> None:
    assert text(words) == expected


def test_a_code_block_cannot_be_ended_from_inside() -> None:
    assert fenced("a\n```\nb", "yaml") == "````yaml\na\n```\nb\n````"


def test_markdown_tables_have_as_many_cells_as_columns(whole: dict[str, str]) -> None:
    for block in re.findall(r"(?:^\|.*\n?)+", whole["report.md"], flags=re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1


def test_the_card_has_a_head_that_the_hub_reads(whole: dict[str, str]) -> None:
    card = huggingface_hub.ModelCard(whole["MODEL_CARD.md"])
    assert card.data.library_name == "onnx"
    assert card.data.license == "other"
    assert card.data.license_name
    assert {(r.metric_type, r.metric_name) for r in card.data.eval_results} >= {("rsum", "RSUM")}
    rsum = next(r for r in card.data.eval_results if r.metric_type == "rsum")
    assert rsum.metric_value == pytest.approx(494.1, abs=0.05)
    assert rsum.dataset_name == "scenes, test split"


def test_the_card_tells_use_limits_data_and_lineage_and_no_path_of_this_machine(
    whole: dict[str, str],
) -> None:
    card = whole["MODEL_CARD.md"]
    for heading in ("Intended use", "Limits", "How well it does", "Data", "Training", "Lineage"):
        assert f"## {heading}" in card
    assert "97.1\u00a0% of the RSUM" in card
    assert "contrastive, feature, similarity, hard_negative" in card
    assert "/home/someone" not in card


def test_a_rehearsal_publishes_no_metrics(tmp_path: Path) -> None:
    card = written(tmp_path, run(rehearsal=True))["MODEL_CARD.md"]
    assert "model-index" not in yaml.safe_load(card.split("---")[1])


def test_the_same_run_gives_the_same_report(tmp_path: Path) -> None:
    assert written(tmp_path / "a", run()) == written(tmp_path / "b", run())

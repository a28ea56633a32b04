"""Caption metrics whose programs are missing, fail or talk nonsense: a sentence, and no other figure lost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from compressor.evaluate import caption_programs, captioning
from compressor.evaluate.caption_programs import Programs
from compressor.evaluate.captioning import FIGURES, LABELS, caption_metrics
from tests.evaluate.captions import GENERATED, REFERENCES
from tests.evaluate.programs import VERSION_17, stand_in


def check_nothing_is_available(reason: str) -> None:
    figures = caption_metrics(GENERATED, REFERENCES).figures
    assert set(figures) == {name for names in FIGURES.values() for name in names} == set(LABELS)
    for name, figure in figures.items():
        assert figure.value is None
        assert figure.interval() is None
        assert figure.unavailable is not None
        assert figure.unavailable.startswith(f"{LABELS[name]} is not available here: ")
        assert reason in figure.unavailable


def test_without_java_nothing_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    check_nothing_is_available("no Java runtime was found")


def test_without_the_package_nothing_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap.tokenizer.ptbtokenizer", None)
    check_nothing_is_available("pip install pycocoevalcap")


def test_lines_that_the_tokeniser_loses_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, VERSION_17 + "print('one line')")
    check_nothing_is_available("the PTB tokeniser made 1 lines of 17 captions")


TOKENISER = VERSION_17 + (
    """
if 'edu.stanford.nlp.process.PTBTokenizer' in sys.argv:
    sys.stdout.write(sys.stdin.read().lower())
    sys.exit()
"""
)


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str, *more: str) -> None:
    """A package of empty files and a Java that tokenises and does what `body` says for anything else."""
    java = stand_in(folder / "bin", monkeypatch, TOKENISER + body)
    for name in (
        "tokenizer/stanford-corenlp-3.4.1.jar",
        "meteor/meteor-1.5.jar",
        "meteor/data/paraphrase-en.gz",
        "spice/spice-1.0.jar",
        *more,
    ):
        path = folder / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(captioning, "find_programs", lambda: Programs(java, folder / "package"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("time.sleep(60)", "METEOR did not finish within 0.5 s"),
        (
            "sys.exit('Exception in thread \"main\" java.lang.OutOfMemoryError: Java heap space')",
            "OutOfMemory",
        ),
        ("print('0.5,\\n' * 99, flush=True)\nsys.stdin.read()", "METEOR answered '0.5,', which is no number"),
        ("print('NaN\\n' * 99, flush=True)\nsys.stdin.read()", "METEOR answered 'NaN', which is no number"),
    ],
)
def test_a_meteor_that_fails_costs_only_its_own_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    installed(tmp_path, monkeypatch, body)
    if "sleep" in body:
        monkeypatch.setattr(caption_programs, "START_SECONDS", 0.5)
        monkeypatch.setattr(caption_programs, "SECONDS_PER_CAPTION", 0.0)
    figures = caption_metrics(GENERATED, REFERENCES, ("meteor", "rouge_l")).figures
    assert figures["meteor"].value is None
    assert message in str(figures["meteor"].unavailable)
    assert figures["rouge_l"].value is not None


def test_a_package_without_its_tables_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch, "")
    (tmp_path / "package/meteor/data/paraphrase-en.gz").unlink()
    figure = caption_metrics(GENERATED, REFERENCES, ["meteor"]).figures["meteor"]
    assert "lacks meteor/data/paraphrase-en.gz" in str(figure.unavailable)


PARSERS = ("spice/lib/stanford-corenlp-3.6.0.jar", "spice/lib/stanford-corenlp-3.6.0-models.jar")
SPICE = """
asked = json.load(open(sys.argv[-5]))
assert sys.argv[-4:-2] == ['-out', sys.argv[-3]] and sys.argv[-2:] == ['-subset', '-silent']
assert '-cache' not in sys.argv and os.path.exists('spice-1.0.jar')
found = [{'image_id': c['image_id'], 'scores': {'All': {'f': len(c['test'].split()) / 10}}} for c in asked]
json.dump(found[::-1], open(sys.argv[-3], 'w'))
"""


def test_spice_is_asked_as_its_program_wants_and_scored_by_caption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, monkeypatch, SPICE, *PARSERS)
    figure = caption_metrics(GENERATED, REFERENCES, ["spice"]).figures["spice"]
    assert figure.unavailable is None
    assert figure.per_caption == pytest.approx([50, 70, 70, 40, 60])
    assert figure.value == pytest.approx(58)
    assert figure.interval(100) is not None


@pytest.mark.parametrize("lacking", PARSERS)
def test_spice_without_its_parser_says_what_to_put_where_and_downloads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    installed(tmp_path, monkeypatch, SPICE, *(name for name in PARSERS if name != lacking))
    figure = caption_metrics(GENERATED, REFERENCES, ["spice"]).figures["spice"]
    assert figure.value is None
    assert f"put {Path(lacking).name}" in str(figure.unavailable)
    assert str(tmp_path / "package/spice/lib") in str(figure.unavailable)
    # The module whose constructor downloads is not even imported.
    assert "pycocoevalcap.spice.spice" not in sys.modules


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit('java.lang.Wrong: bad')", "SPICE failed: java.lang.Wrong: bad"),
        ("", "SPICE left no scores that can be read"),
        (
            SPICE.replace("len(c['test'].split()) / 10", "float('nan')"),
            "SPICE answered nan, which is no number",
        ),
        (SPICE.replace("found[::-1]", "found[1:]"), "SPICE left no scores that can be read: KeyError"),
    ],
)
def test_a_spice_that_fails_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    installed(tmp_path, monkeypatch, body, *PARSERS)
    assert message in str(caption_metrics(GENERATED, REFERENCES, ["spice"]).figures["spice"].unavailable)

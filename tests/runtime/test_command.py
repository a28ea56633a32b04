from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressor.runtime.__main__ import as_table, compare, main
from compressor.runtime.bundle import Bundle
from tests.export.toys import pictures
from tests.runtime.tampering import edit


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pictures(1)[0].save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_one_text_gets_its_cosine_and_no_probability(
    exported: Path, picture: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(exported), str(picture), "a red circle"]) == 0
    header, line = capsys.readouterr().out.splitlines()
    cosine = float((bundle.encode_images(pictures(1)) @ bundle.encode_texts(["a red circle"]).T)[0, 0])
    assert header.split() == ["cosine", "logit", "text"]
    assert float(line.split()[0]) == pytest.approx(cosine, abs=1e-3)
    assert line.endswith("  a red circle")


def test_low_memory_and_fast_decode_change_no_score(exported: Path, picture: Path, capsys: Any) -> None:
    outputs = []
    for options in ([], ["--low-memory", "--fast-decode"]):
        assert main([str(exported), str(picture), "a red circle", *options]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_several_texts_get_the_softmax_of_their_logits(exported: Path, picture: Path, capsys: Any) -> None:
    assert main([str(exported), str(picture), "a red circle", "a blue star", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert [score["text"] for score in scores] == ["a red circle", "a blue star"]
    logits = np.array([score["logit"] for score in scores])
    for score in scores:
        assert score["logit"] == pytest.approx(np.exp(3.0) * score["cosine"], abs=1e-3)
    expected = np.exp(logits) / np.exp(logits).sum()
    assert [score["probability"] for score in scores] == pytest.approx(expected, abs=1e-4)


def test_model_with_a_bias_gets_each_texts_sigmoid(bundle: Bundle, picture: Path) -> None:
    class Sigmoid:
        logit_scale, logit_bias = 10.0, -2.0
        encode_images, encode_texts = bundle.encode_images, bundle.encode_texts

    (score,) = compare(Sigmoid(), picture.read_bytes(), ["a red circle"])  # type: ignore[arg-type]
    assert score["logit"] == pytest.approx(10 * score["cosine"] - 2, abs=1e-3)
    assert score["probability"] == pytest.approx(1 / (1 + np.exp(-score["logit"])), abs=1e-4)
    assert "probability" in as_table([score])


@pytest.mark.parametrize(
    ("bundle_name", "image_name", "sentence"),
    [
        ("nowhere", "picture.png", "there is no such folder"),
        ("bundle", "nowhere.png", "nowhere.png: cannot be read: No such file or directory"),
        ("bundle", "text.png", "text.png: not an image in a supported format"),
    ],
)
def test_fault_is_one_sentence_and_exit_code_two(
    folder: Path,
    picture: Path,
    capsys: pytest.CaptureFixture[str],
    bundle_name: str,
    image_name: str,
    sentence: str,
) -> None:
    (picture.parent / "text.png").write_text("this is no picture")
    assert main([str(folder.parent / bundle_name), str(picture.parent / image_name), "a dog"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert sentence in said.err
    assert said.err.count("\n") == 1


def test_what_a_terminal_cannot_show_is_escaped(
    folder: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder), str(picture), "a \udcff red \x1b[2J circle"]) == 0
    assert capsys.readouterr().out.endswith("a \\udcff red \\x1b[2J circle\n")
    edit(folder, lambda content: content["artifacts"].update({"\x1b[2J": content["artifacts"]["fp32"]}))
    assert main([str(folder), str(picture), "a dog", "--precision", "fp8"]) == 2
    assert r"\x1b[2J" in capsys.readouterr().err


def test_an_interruption_has_its_exit_code_and_no_traceback(
    exported: Path, picture: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any, **keys: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Bundle, "open", interrupt)
    assert main([str(exported), str(picture), "a dog"]) == 130
    assert capsys.readouterr().err == "interrupted\n"

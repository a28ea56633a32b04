from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from compressor.client.tally import LoadReport, Percentiles
from compressor.commands.bench import _drawn, print_load
from tests.client.service import KEY, Service, nobody, running
from tests.test_cli import Call, call

SHORT = ("--seconds", "0.3", "--warmup", "0.1", "--clients", "2")


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    class Bench(Call):
        def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
            return call(capsys, monkeypatch, "bench", "http", *arguments)

    return Bench(capsys, monkeypatch)


@pytest.mark.parametrize("kind", ["text", "image", "search"])
def test_a_load_is_a_table_of_80_columns(bench: Call, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    service = Service()
    with running(service.app()) as url:
        code, out, err = bench(url, "--kind", kind, *SHORT)
    assert (code, err) == (0, "")
    assert all(heading in out for heading in ("answers", "errors", "per s", "p50 ms", "p99 ms", "max ms"))
    assert "2 clients" in out
    assert max(map(len, out.splitlines())) <= 80
    assert service.count > 2


def test_a_load_is_one_json_document(bench: Call) -> None:
    with running(Service(remember=False).app()) as url:
        code, out, err = bench(
            url, "--rate", "100", "--seconds", "0.3", "--warmup", "0", "--seed", "3", "--json"
        )
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert (report["loop"], report["rate"], report["clients"], report["seed"]) == ("open", 100, None, 3)
    assert report["good"] > 0
    assert report["generator"] > 0
    assert report["latency_ms"]["p99"] >= report["latency_ms"]["p50"] > 0


def test_a_picture_of_ones_own_is_sent_as_it_is(bench: Call, tmp_path: Path) -> None:
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(b"what is in the file")
    with running(Service(remember=False).app()) as url:
        assert bench(url, "--kind", "image", "--image", picture, *SHORT)[0] == 0
    code, out, err = bench(url, "--kind", "image", "--image", tmp_path / "absent.jpg")
    assert (code, out) == (2, "")
    assert "absent.jpg: cannot be read" in err


def test_the_drawn_picture_is_a_jpeg_of_the_usual_size() -> None:
    with Image.open(BytesIO(_drawn())) as picture:
        assert (picture.format, picture.size, picture.mode) == ("JPEG", (224, 224), "RGB")
    assert _drawn() == _drawn()
    assert 5_000 < len(_drawn()) < 60_000


def test_a_key_comes_from_the_environment(bench: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(Service(key=KEY, remember=False).app()) as url:
        code, _, err = bench(url, *SHORT)
        assert code == 2
        assert err == "the service answered 401 no_key: send a key\n"
        monkeypatch.setenv("COMPRESSOR_KEY", KEY)
        assert bench(url, "--quiet", *SHORT) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere",), "address of a service"),
        (("http://service", "--kind", "sound"), "--kind is one of text, image, search, not 'sound'"),
        (("http://service", "--image", "a.jpg"), "--image goes with --kind image"),
        (("http://service", "--clients", "2", "--rate", "5"), "not both"),
        (("http://service", "--rate", "nan"), "above 0"),
        (("http://service", "--clients", "0"), "from 1 to"),
        (("http://service", "--seconds", "-1"), "above 0"),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(
    bench: Call, arguments: tuple[str, ...], sentence: str
) -> None:
    code, out, err = bench(*arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_an_unreachable_service_is_one_sentence(bench: Call) -> None:
    url = nobody()
    code, out, err = bench(url)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"{url} cannot be reached")
    code, out, _ = bench(url, "--json")
    assert json.loads(out)["exit_code"] == 2


def test_control_c_shows_what_was_measured() -> None:
    with running(Service(remember=False).app()) as url:
        arguments = ["bench", "http", url, "--seconds", "60", "--warmup", "0", "--json"]
        with subprocess.Popen(
            [sys.executable, "-c", _INTERRUPTED, *arguments],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    report = json.loads(out)
    assert report["interrupted"]
    assert report["good"] > 0


_INTERRUPTED = f"""
import os, signal, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
from compressor.cli import main
from compressor.client.tally import Tally

def interrupt():
    while not counted:
        time.sleep(0.05)
    os.kill(os.getpid(), {int(signal.SIGINT)})

counted = []
ended = Tally.ended

def watched(self, *arguments):
    ended(self, *arguments)
    counted.append(1)

Tally.ended = watched
threading.Thread(target=interrupt, daemon=True).start()
main()
"""


def test_a_report_without_a_good_answer_is_printed_too(capsys: pytest.CaptureFixture[str]) -> None:
    report = LoadReport(
        "http://service", "text", "open", None, 5.0, 20.0, 2.0, 30.0, 0, 20.0, 0,
        {"timeout": 3, "429 a\x1b[31m": 1}, 2, 0.0, None, (0.1, 2.0), 0.95, True,
    )  # fmt: skip
    print_load(report)
    out = capsys.readouterr().out
    assert "3 x timeout" in out
    assert "\x1b" not in out
    assert "2 requests had no answer yet" in out
    assert "95 % of a core" in out


def test_large_figures_stay_within_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    latency = Percentiles(1e3, 29_999.0, 29_999.0, 29_999.0, 29_999.0, 29_999.0)
    report = LoadReport(
        "http://service", "text", "closed", 4096, None, 600.0, 2.0, 30.0, 0, 600.0, 9_999_999,
        {"timeout": 999_999}, 0, 99_999.9, latency, None, 0.5, False,
    )  # fmt: skip
    print_load(report)
    out = capsys.readouterr().out
    assert "9,999,999" in out
    assert out.count("29,999") == 5
    assert "99,999.9" in out
    assert max(map(len, out.splitlines())) <= 80

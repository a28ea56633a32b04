"""Java programs: found, spoken to, and ended whatever they do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compressor.evaluate.java import JavaConversation, NotAvailableError, find_java, run_java
from tests.evaluate.programs import VERSION_17, stand_in

ECHO = """
for line in sys.stdin.buffer:
    sys.stdout.buffer.write(line.upper()); sys.stdout.flush()
"""
HANG = "time.sleep(60)"
NOISE = "sys.stderr.write('noise ' * 100_000)\n" + ECHO


def lasting(pid_file: Path) -> bool:
    try:
        os.kill(int(pid_file.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def test_a_new_enough_java_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = stand_in(tmp_path, monkeypatch, VERSION_17)
    assert find_java() == program


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('java version \"1.8.0_292\"', file=sys.stderr)", "is Java 8; Java 17 or later is needed"),
        ("print('openjdk version \"11.0.2\" 2019', file=sys.stderr)", "is Java 11; Java 17 or later"),
        ("print('hello')", "does not tell its version; Java 17 or later"),
        (VERSION_17.replace("sys.exit()", "sys.exit(3)"), "does not tell its version"),
    ],
)
def test_another_java_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    stand_in(tmp_path, monkeypatch, body)
    with pytest.raises(NotAvailableError, match=message):
        find_java()


def test_without_java_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotAvailableError, match="install Java 17 or later"):
        find_java()


def test_a_program_is_given_text_and_told_its_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = stand_in(tmp_path, monkeypatch, "print(os.getcwd(), sys.argv[-1])\n" + ECHO)
    (tmp_path / "here").mkdir()
    told = run_java(java, ["-go"], tmp_path / "here", "the program", 20, "a \u00e9\nb")
    assert told == f"{tmp_path / 'here'} -go\nA \u00e9\nB"


@pytest.mark.parametrize(
    ("body", "seconds", "message"),
    [
        (HANG, 0.3, r"the program did not finish within 0.3 s"),
        ("sys.exit('Exception in thread \"main\" java.lang.Wrong: bad')", 20, "failed: java.lang.Wrong: bad"),
        ("sys.exit(2)", 20, "failed: it gave no reason"),
    ],
)
def test_a_program_that_fails_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, seconds: float, message: str
) -> None:
    java = stand_in(tmp_path, monkeypatch, body)
    with pytest.raises(NotAvailableError, match=message):
        run_java(java, [], tmp_path, "the program", seconds, "text" * 100_000)


def test_a_program_that_cannot_be_started_says_why(tmp_path: Path) -> None:
    with pytest.raises(NotAvailableError, match="could not be started: No such file"):
        run_java(str(tmp_path / "java"), [], tmp_path, "the program", 1, "")
    with (
        pytest.raises(NotAvailableError, match="could not be started: No such file"),
        JavaConversation(str(tmp_path / "java"), [], tmp_path, "the program", 1),
    ):
        pass


def test_a_conversation_goes_line_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = stand_in(tmp_path, monkeypatch, ECHO)
    with JavaConversation(java, [], tmp_path, "the program", 20) as program:
        assert [program.ask(word) for word in ("one", "zwei \u20ac", "")] == ["ONE", "ZWEI \u20ac", ""]


def test_a_program_that_complains_at_length_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = stand_in(tmp_path, monkeypatch, NOISE)
    with JavaConversation(java, [], tmp_path, "the program", 20) as program:
        assert program.ask("still there") == "STILL THERE"


@pytest.mark.parametrize(
    ("body", "seconds", "message"),
    [
        (HANG, 0.3, "did not finish within 0.3 s"),
        ("sys.stdin.readline()\nsys.exit('java.lang.OutOfMemoryError: heap')", 20, "ended early: .*Memory"),
        ("sys.exit()", 20, "ended early: it gave no reason"),
        ("sys.stdin.readline()\nsys.stdout.write('half')", 20, "ended early"),
    ],
)
def test_a_conversation_that_breaks_off_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, seconds: float, message: str
) -> None:
    java = stand_in(tmp_path, monkeypatch, body)
    # The long line does not fit into a pipe: sending it must end, too.
    for line in ("short", "long" * 100_000):
        with (
            pytest.raises(NotAvailableError, match=message),
            JavaConversation(java, [], tmp_path, "the program", seconds) as program,
        ):
            program.ask(line)


def test_no_program_outlives_its_conversation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n{ECHO}\n{HANG}"
    java = stand_in(tmp_path, monkeypatch, body)
    with JavaConversation(java, [], tmp_path, "the program", 20) as program:
        program.ask("hello")
        assert lasting(tmp_path / "pid")
    assert not lasting(tmp_path / "pid")

    def interrupted() -> None:
        with JavaConversation(java, [], tmp_path, "the program", 20) as program:
            program.ask("hello")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not lasting(tmp_path / "pid")

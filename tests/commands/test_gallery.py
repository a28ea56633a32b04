"""`compressor gallery`: what is printed, what is refused and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.export.toys import write_toy_bundle
from tests.gallery.world import picture
from tests.test_cli import Call, _run  # noqa: F401


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a bundle, and a folder of pictures beside it."""
    folder = tmp_path_factory.mktemp("toy")
    write_toy_bundle(folder / "run" / "bundle")
    (folder / "photos").mkdir()
    for n in range(3):
        (folder / "photos" / f"{n}.png").write_bytes(picture(n))
    (folder / "photos" / "bad.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def built(run: Call, toy: Path, tmp_path: Path) -> tuple[Path, str]:
    """The run, and a gallery of its own for this test."""
    at = str(tmp_path / "g")
    assert run("gallery", "build", toy / "run", "--images", toy / "photos", "--gallery", at, "-q")[0] == 0
    return toy / "run", at


def test_build_lies_beside_the_bundle_and_goes_on(run: Call, toy: Path) -> None:
    code, out, err = run("gallery", "build", toy / "run", "--images", toy / "photos", "--threads", "1")
    assert (code, err) == (0, "")
    assert f"{toy / 'run' / 'gallery'}: 3 items; 3 added in " in out
    assert "bad: bad.png: not an image in a supported format" in out
    told = json.loads(run("gallery", "build", toy / "run", "--images", toy / "photos", "--json")[1])
    assert (told["added"], told["already_there"], told["items"]) == (0, 3, 3)
    assert list(told["bad"]) == ["bad.png"]


def test_build_takes_the_pictures_of_a_recipe(run: Call, toy: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "scenes.yaml"
    recipe.write_text("extends: quickstart\ndata: {limit: {test: 4}}\n".replace("quickstart", _quickstart()))
    at = tmp_path / "g"
    command = ("gallery", "build", toy / "run", "--data", recipe, "--gallery", at, "--json")
    told = json.loads(run(*command)[1])
    assert (told["added"], told["bad"]) == (4, {})
    (hit,) = json.loads(
        run("gallery", "search", toy / "run", "a star", "-k", "1", "--gallery", at, "--json")[1]
    )
    assert hit["metadata"]["caption"]
    assert run(*command, "--split", "none")[0] == 2


def test_info_search_and_delete(run: Call, built: tuple[Path, str], toy: Path) -> None:
    folder, at = built
    code, out, _ = run("gallery", "info", folder, "--gallery", at)
    assert code == 0
    assert "3 items of toy at fp32" in out
    assert json.loads(run("gallery", "info", folder, "--gallery", at, "--json")[1])["items"] == 3
    out = run("gallery", "search", folder, str(toy / "photos" / "1.png"), "--gallery", at)[1]
    assert out.splitlines()[0] == " 1.0000  1.png"
    assert len(out.splitlines()) == 3
    hits = json.loads(run("gallery", "search", folder, "a red star", "-k", "2", "--gallery", at, "--json")[1])
    assert [set(hit) for hit in hits] == [{"id", "score", "metadata"}] * 2
    where = ("--where", '{"year": 2000}')
    assert run("gallery", "search", folder, "a", "--gallery", at, *where) == (0, "", "")
    assert (
        run("gallery", "delete", folder, "1.png", "none", "--gallery", at)[1] == f"{at}: 1 deleted, 2 left\n"
    )
    assert json.loads(run("gallery", "delete", folder, "2.png", "--gallery", at, "--json")[1]) == {
        "deleted": 1,
        "items": 1,
    }


def test_rebuild_switches_to_another_precision(run: Call, built: tuple[Path, str]) -> None:
    folder, at = built
    code, out, err = run("gallery", "search", folder, "a", "--precision", "int8", "--gallery", at)
    assert (code, out) == (2, "")
    assert "holds vectors of toy at fp32" in err
    code, out, _ = run("gallery", "rebuild", folder, "--precision", "int8", "--gallery", at)
    assert code == 0
    assert "3 items of toy, 0 left out" in out
    assert run("gallery", "search", folder, "a", "--precision", "int8", "--gallery", at)[0] == 0
    assert run("gallery", "search", folder, "a", "--gallery", at)[0] == 2


def test_what_is_wrong_is_one_sentence_and_exit_code_two(
    run: Call, built: tuple[Path, str], toy: Path, tmp_path: Path
) -> None:
    folder, at = built
    (tmp_path / "empty").mkdir()
    (tmp_path / "onlybad").mkdir()
    (tmp_path / "onlybad" / "x.png").write_bytes(b"no picture")
    for arguments, said in (
        (("build", folder), "either --images DIR or --data RECIPE"),
        (("build", folder, "--images", tmp_path / "none"), "no such folder"),
        (("build", folder, "--images", tmp_path / "empty"), "holds no pictures"),
        (("build", folder, "--images", tmp_path / "onlybad"), "none of the 1 pictures can be used"),
        (("info", folder), "there is no gallery"),
        (("search", folder, "none.jpg"), "cannot be read"),
        (("search", folder, "a", "--where", "{"), "no JSON"),
        (("search", folder, "a", "--where", '{"a": {"like": 1}}'), "unknown operator 'like'"),
        (("search", folder, "a", "--where", '{"a": NaN}'), "nan is no number"),
        (("search", folder, "a", "-k", "20000"), "1 to 10,000"),
    ):
        place = at if arguments[0] == "search" else tmp_path / arguments[0]
        code, _, err = run("gallery", *arguments, "--gallery", place)
        assert code == 2, arguments
        assert said in err
        assert err.count("\n") == 1


def _quickstart() -> str:
    from compressor.recipe.load import find_recipe

    return str(find_recipe("quickstart").absolute())

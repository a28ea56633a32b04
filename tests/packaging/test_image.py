"""The Dockerfile and the locks say what the project says elsewhere: an engine is not needed to see it."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pathspec import GitIgnoreSpec

from compressor import __version__
from serving.app import ENDPOINTS
from serving.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile and what follows them, continued lines joined, comments left out."""
    text = (ROOT / "Dockerfile").read_text()
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    joined = lines.replace("\\\n", " ")
    return [(found[1], found[2].strip()) for found in re.finditer(r"^([A-Z]+) +(.*)$", joined, re.M)]


def stage(steps: list[tuple[str, str]], name: str) -> list[tuple[str, str]]:
    starts = [i for i, (word, _) in enumerate(steps) if word == "FROM"]
    start = next(i for i in starts if steps[i][1].endswith(f" AS {name}"))
    return steps[start : min((i for i in starts if i > start), default=len(steps))]


def pins(file: str) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", (ROOT / file).read_text(), re.M)
    return {canonicalize_name(name): version for name, version in found}


def test_the_last_stage_brings_neither_a_compiler_nor_root(steps: list[tuple[str, str]]) -> None:
    assert steps[-1] == ("FROM", "service")
    service = stage(steps, "service")
    ran = " ".join(what for word, what in service if word == "RUN")
    assert "apt" not in ran
    assert "pip" not in ran
    assert [what for word, what in service if word == "COPY"] == [
        "--from=builder /opt/compressor /opt/compressor"
    ]
    (user,) = (what for word, what in service if word == "USER")
    uid, gid = user.split(":")
    assert f"--uid {uid} --gid {gid}" in ran
    assert int(uid) > 0


def test_the_base_is_pinned(steps: list[tuple[str, str]]) -> None:
    (base,) = (what for word, what in steps if word == "ARG" and what.startswith("BASE="))
    assert re.fullmatch(r"BASE=python:\d+\.\d+\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", base)
    bento = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    assert bento["docker"]["base_image"] == base.removeprefix("BASE=")


def test_signals_reach_the_service_and_its_health_is_asked_of_an_endpoint(
    steps: list[tuple[str, str]],
) -> None:
    service = dict(stage(steps, "service"))
    assert json.loads(service["ENTRYPOINT"])[:2] == ["compressor", "serve"]
    assert json.loads(service["CMD"]) == ["student=/bundle"]
    assert service["STOPSIGNAL"] == "SIGTERM"
    command = json.loads(service["HEALTHCHECK"].partition(" CMD ")[2])
    port, path = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)'", command[-1]).groups()  # type: ignore[union-attr]
    assert path in ENDPOINTS
    assert port == service["EXPOSE"] == "3000"
    compile(command[-1], "HEALTHCHECK", "exec")
    assert f"VERSION={__version__}" in [what for word, what in steps if word == "ARG"]


def test_its_variables_are_settings_and_its_folders_are_volumes(steps: list[tuple[str, str]]) -> None:
    service = dict(stage(steps, "service"))
    variables = dict(pair.split("=", 1) for pair in service["ENV"].split())
    ours = {name.removeprefix(PREFIX).lower() for name in variables if name.startswith(PREFIX)}
    assert ours
    assert ours <= set(Settings.model_fields)
    assert variables["COMPRESSOR_GALLERY"] == service["VOLUME"]
    assert variables["BENTOML_HOME"].startswith("/tmp/")


def test_the_lock_holds_what_is_asked_for_at_the_versions_of_the_constraints() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked, constrained = pins("deploy/requirements.lock"), pins("constraints.txt")
    wanted = [
        *project["dependencies"],
        *(each for extra in ("cpu", "serve", "gallery") for each in project["optional-dependencies"][extra]),
        *(line for line in (ROOT / "deploy/image.in").read_text().splitlines() if not line.startswith("#")),
    ]
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement
    other = {name: version for name, version in locked.items() if constrained.get(name, version) != version}
    assert not other
    assert not {"torch", "torchvision", "timm", "transformers"} & set(locked)
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    for requirement in map(Requirement, build):
        assert requirement.specifier.contains(pins("deploy/build.lock")[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("file", ["deploy/requirements.lock", "deploy/build.lock"])
def test_every_locked_package_has_hashes(file: str) -> None:
    text = (ROOT / file).read_text()
    entries = re.split(r"^(?=[A-Za-z0-9._-]+==)", text, flags=re.M)[1:]
    assert len(entries) == len(pins(file))
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)


def sent(path: str) -> bool:
    """Whether the builder gets a file: of the patterns that fit it or a folder above, the last decides."""
    given = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        taken, pattern = line.startswith("!"), line.removeprefix("!")
        form = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        parts = path.split("/")
        if any(re.fullmatch(form, "/".join(parts[: depth + 1])) for depth in range(len(parts))):
            given = taken
    return given


def test_the_builder_is_sent_what_it_copies_and_nothing_else(steps: list[tuple[str, str]]) -> None:
    copied = [what.split()[:-1] for word, what in stage(steps, "builder") if word == "COPY"]
    for name in [each for group in copied for each in group]:
        place = ROOT / name
        assert place.exists(), name
        files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
        wanted = {str(file.relative_to(ROOT)) for file in files if file.suffix != ".pyc"}
        assert wanted == {str(file.relative_to(ROOT)) for file in files if sent(str(file.relative_to(ROOT)))}
    for path in ("runs/photos/bundle/bundle.json", "bundle/fp32/image.onnx"):
        assert sent(path), path
    for path in (
        ".git/config",
        "tests/test_api.py",
        "docs/serving.md",
        "runs/photos/checkpoint/model",
        "keys",
    ):
        assert not sent(path), path


def test_the_bento_holds_the_service_its_page_and_the_lock() -> None:
    bento = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    module, _, name = bento["service"].partition(":")
    assert f"class {name}" in (ROOT / f"{module.replace('.', '/')}.py").read_text()
    included = GitIgnoreSpec.from_lines(bento["include"])
    excluded = GitIgnoreSpec.from_lines(bento["exclude"])
    for path in (
        "serving/web/index.html",
        "serving/app.py",
        "compressor/runtime/bundle.py",
        "bundle/bundle.json",
    ):
        assert included.match_file(path), path
        assert not excluded.match_file(path), path
    assert bento["python"] == {"requirements_txt": "deploy/requirements.lock", "lock_packages": False}

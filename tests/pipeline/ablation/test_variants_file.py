"""Files of named variants."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.errors import RecipeError
from compressor.pipeline.ablation.variants_file import read_variants


def test_a_file_of_variants(tmp_path: Path) -> None:
    file = tmp_path / "variants.yaml"
    file.write_text(
        "no attention:\n  - 'distill.losses=[{kind: feature}]'\n  - distill.epochs=3\n"
        "kl: distill.losses.4.variant=kl\n"
    )
    assert read_variants(file) == {
        "no attention": ("distill.losses=[{kind: feature}]", "distill.epochs=3"),
        "kl": ("distill.losses.4.variant=kl",),
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no variants"),
        ("- a\n", "holds no variants"),
        ("a: [distill.epochs]\n", r"variants.yaml:1: a: is no setting"),
        ("b:\n  - distill.losses=[{kind: task}]\n", r"variants.yaml:2: b: is no setting.*in quotes"),
        ("a: {}\n", "is no setting"),
        ("'--': [distill.epochs=1]\n", "names no variant"),
        (f"{'x' * 61}: [distill.epochs=1]\n", "names no variant"),
        ("a: [b=1]\na: [c=1]\n", "stands twice"),
        ("a: !!python/object:os.system [b=1]\n", "is not allowed"),
    ],
)
def test_a_file_that_is_no_list_of_variants_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "variants.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=sentence):
        read_variants(file)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere.yaml: cannot be read: No such file"):
        read_variants(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"caf\xe9: [a=1]\n")
    with pytest.raises(RecipeError, match="not UTF-8"):
        read_variants(tmp_path / "latin.yaml")

"""Whether a service finds what the offline evaluation found: recalls over HTTP beside those of results.json.

python -m benchmarks.served_quality runs/quickstart quickstart

All pictures of the recipe's split are added to an empty gallery and every caption is searched for, one
request each; then all pictures and captions are embedded over HTTP and ranked for the other direction. A rank
counts whatever scores as high as the right answer as before it, as the evaluation does.
"""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import typer

from benchmarks.served_processes import bundle_of, served
from compressor.client import Client, NewItem
from compressor.data import open_pairs
from compressor.evaluate.retrieval import CUTOFFS, retrieval
from compressor.pipeline.gallery_entries import entries_of
from compressor.recipe.data import Split
from compressor.recipe.load import load_recipe


def main(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    recipe: Annotated[str, typer.Argument(help="Its recipe.")],
    split: Annotated[str, typer.Option()] = "test",
    role: Annotated[str, typer.Option(help="teacher or student")] = "student",
    clients: Annotated[int, typer.Option(min=1)] = 4,
) -> None:
    """Print both and where they differ; exit 1 where they do."""
    loaded = load_recipe(recipe).recipe
    rows = open_pairs(loaded.data, cast(Split, split), loaded.seed).rows
    offline = json.loads((run / "results.json").read_text())["quality"][role]
    folder = bundle_of(run) if role == "student" else run / role / "bundle"
    captions = [(caption, row.id) for row in rows for caption in row.captions]
    files = [(entry.id, entry.read()) for entry in entries_of(recipe, split)]
    with tempfile.TemporaryDirectory() as place:
        settings = {"COMPRESSOR_GALLERY": place, "COMPRESSOR_PRECISION": offline["precision"]}
        with (
            served(
                ["compressor", "serve", f"served={folder}", "--threads", "1"], [0, 1], settings
            ) as service,
            Client(f"http://127.0.0.1:{service.port}") as client,
            ThreadPoolExecutor(clients) as pool,
        ):
            added = client.gallery_add(NewItem(name, file) for name, file in files)
            ranks = list(pool.map(lambda pair: _rank(client, *pair), captions))
            images = np.concatenate(list(pool.map(lambda file: client.embed_images([file[1]]), files)))
            texts = np.concatenate(list(pool.map(lambda pair: client.embed_texts([pair[0]]), captions)))
    places = {row.id: number for number, row in enumerate(rows)}
    other = retrieval(images, texts, np.array([places[name] for _, name in captions]))
    found = {f"t2i_r{k}": 100 * float(np.mean([rank <= k for rank in ranks])) for k in CUTOFFS}
    found |= {f"i2t_r{k}": 100 * float(np.mean(other.image_ranks <= k)) for k in CUTOFFS}
    print(
        f"{added.added:,} pictures added, {len(captions):,} captions searched for, at {offline['precision']}"
    )
    for name, value in found.items():
        known = offline[name]
        print(f"{name}: served {value:.2f}, results.json {known:.2f}, difference {value - known:+.2f}")
    if any(abs(value - offline[name]) > 1e-9 for name, value in found.items()):
        raise typer.Exit(1)


def _rank(client: Client, caption: str, name: str) -> int:
    """The rank of a caption's picture; one more than is asked for where it is not among them."""
    hits = client.search(text=caption, k=max(CUTOFFS)).hits
    own = next((hit.score for hit in hits if hit.id == name), None)
    return max(CUTOFFS) + 1 if own is None else sum(hit.score >= own for hit in hits)


if __name__ == "__main__":
    typer.run(main)

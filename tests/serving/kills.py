"""Kill a service that adds in bulk at random moments, many times: `python -m tests.serving.kills [TIMES]`."""

from __future__ import annotations

import base64
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.serving.processes import KEY, Served, serving

CALLERS = 2
GOOD = 9
"""Pictures of a call that can be added; one more cannot."""
Call = tuple[int, int, int]
"""Round, caller, number of the call."""


@dataclass
class Tally:
    """Calls that were answered, and those that were found after the kill."""

    acknowledged: set[Call] = field(default_factory=set)
    found: set[Call] = field(default_factory=set)


def kill_often(bundle: Path, home: Path, files: list[bytes], times: int, longest: float) -> Tally:
    """Start the service, add, kill it up to `longest` seconds after its first answer, and look, so often.

    Raises `AssertionError` where something acknowledged is lost, a call is there in part, or more calls are
    there than were sent.
    """
    moments, tally = random.Random(), Tally()
    for number in range(times + 1):
        with serving(bundle, home / "log", gallery=home / "gallery", deadline=60) as served:
            if number:
                _check(served, tally)
            if number < times:
                tally.acknowledged |= _add_until_killed(served, number, files, moments.uniform(0, longest))
    return tally


def _add_until_killed(served: Served, number: int, files: list[bytes], seconds: float) -> set[Call]:
    answered: set[Call] = set()
    strange: list[str] = []
    first = threading.Event()

    def add(caller: int) -> None:
        with httpx.Client(base_url=served.url, headers=KEY, timeout=60) as client:
            call = 0
            while True:
                try:
                    answer = client.post("/gallery", json={"items": _items((number, caller, call), files)})
                except httpx.HTTPError:
                    return
                if (answer.status_code, answer.json().get("added")) != (200, GOOD):
                    strange.append(answer.text)
                    return
                answered.add((number, caller, call))
                first.set()
                call += 1

    threads = [threading.Thread(target=add, args=(caller,), daemon=True) for caller in range(CALLERS)]
    for thread in threads:
        thread.start()
    assert first.wait(30)
    time.sleep(seconds)
    served.kill()
    for thread in threads:
        thread.join(30)
    assert not strange, strange
    return answered


def _items(call: Call, files: list[bytes]) -> list[dict[str, Any]]:
    named = "-".join(map(str, call))
    metadata = dict(zip(("round", "caller", "call"), call, strict=True))
    good = [
        {
            "id": f"{named}-{k}",
            "image": base64.b64encode(files[k % len(files)]).decode(),
            "metadata": metadata,
        }
        for k in range(GOOD)
    ]
    return [*good[:4], {"id": f"{named}-bad", "image": "bm8gcGljdHVyZQ=="}, *good[4:]]


def _check(served: Served, tally: Tally) -> None:
    seen: Counter[Call] = Counter()
    page: dict[str, Any] = {"next_cursor": ""}
    while page["next_cursor"] is not None:
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
        answer = served.ask("GET", "/gallery", params={"limit": 1000, **cursor})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        for item in page["items"]:
            told = item["metadata"]
            seen[told["round"], told["caller"], told["call"]] += 1
    assert set(seen.values()) <= {GOOD}, "a call is visible in part"
    assert tally.acknowledged <= set(seen), "an acknowledged call is lost"
    for call in set(seen) - tally.acknowledged:
        assert (*call[:2], call[2] - 1) in tally.acknowledged or call[2] == 0, "a call that was never sent"
    tally.found = set(seen)
    found = served.ask("POST", "/search", json={"text": "a red star", "k": 3})
    assert (found.status_code, len(found.json()["results"])) == (200, 3)
    some = "-".join(map(str, next(iter(seen))))
    assert served.ask("GET", f"/gallery/{some}-0/image").headers["Content-Type"] == "image/jpeg"


def main(times: int) -> None:
    from tests.export.toys import pictures, write_toy_bundle
    from tests.serving.conftest import png

    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        write_toy_bundle(bundle)
        tally = kill_often(bundle, Path(folder), [png(image) for image in pictures(5)], times, 1.0)
    more = len(tally.found - tally.acknowledged)
    print(
        f"{times} kills, {len(tally.acknowledged)} acknowledged calls of {GOOD} items: none lost, none in "
        f"part; {more} calls were whole without having been acknowledged"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)

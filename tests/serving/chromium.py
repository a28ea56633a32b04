"""Headless Chromium, driven over the DevTools protocol through two pipes."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SECONDS = 30.0


def found() -> str | None:
    """The browser's path, None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Pipe:
    """Messages to a browser and from it."""

    def __init__(self, to: int, come_from: int) -> None:
        self._to, self._from = to, come_from
        self._held, self._last = b"", 0

    def send(self, message: dict[str, Any]) -> int:
        """The number that its answer will have."""
        self._last += 1
        os.write(self._to, json.dumps({"id": self._last, **message}).encode() + b"\0")
        return self._last

    def receive(self) -> dict[str, Any]:
        """The next message. Raises `AssertionError` where none comes: a page that crashed says nothing."""
        while b"\0" not in self._held:
            readable, _, _ = select.select([self._from], [], [], 2 * _SECONDS)
            assert readable, "the browser says nothing"
            part = os.read(self._from, 1 << 20)
            assert part, "the browser ended"
            self._held += part
        message, _, self._held = self._held.partition(b"\0")
        return dict(json.loads(message))


class Tab:
    """One page of a browser. `problems`: what its console complains of; `requested`: every address."""

    def __init__(self, pipe: Pipe) -> None:
        """With storage and cache of its own."""
        self._pipe, self._session = pipe, ""
        self.problems: list[str] = []
        self.requested: list[str] = []
        self._context = self.send("Target.createBrowserContext")["browserContextId"]
        told = self.send("Target.createTarget", url="about:blank", browserContextId=self._context)
        self._session = self.send("Target.attachToTarget", targetId=told["targetId"], flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "DOM", "Log", "Network"):
            self.send(f"{domain}.enable")

    def close(self) -> None:
        """Close it, and forget what it has stored."""
        self._session = ""
        self.send("Target.disposeBrowserContext", browserContextId=self._context)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its result."""
        number = self._pipe.send(
            {"method": method, "params": params} | ({"sessionId": self._session} if self._session else {})
        )
        while True:
            answer = self._pipe.receive()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer)
                return dict(answer["result"])
            if answer.get("sessionId") == self._session:
                self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] != "info":
            self.problems.append(params["entry"]["text"])
        elif event.get("method") == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])

    def open(self, url: str) -> None:
        self.send("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of an expression, waited for where it is a promise."""
        told = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, script: str) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            if value := self.run(script):
                return value
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}; {self.run('document.body.innerText')}; {self.problems}")

    def type(self, text: str) -> None:
        """Text and Enter, as from a keyboard, into what has the focus."""
        self.send("Input.insertText", text=text)
        self.press("Enter", "\r", 13)

    def press(self, key: str, text: str, code: int) -> None:
        """A key down and up."""
        about = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    def choose(self, selector: str, file: Path) -> None:
        """A file in an input for files."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def drop(self, selector: str, file: Path) -> None:
        """A file dragged from outside onto an element."""
        place = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{place}.scrollIntoView({{behavior: 'instant'}})")
        x, y = self.run(f"(({{x, y}}) => [x + 20, y + 20])({place}.getBoundingClientRect())")
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.send("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def screenshot(self, file: Path) -> None:
        """What the window shows, as a PNG."""
        told = self.send("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(told["data"]))


@contextmanager
def browser(program: str, profile: Path, *flags: str) -> Iterator[Pipe]:
    """A browser without a tab; it ends with the block."""
    command_read, command_write = os.pipe()
    answer_read, answer_write = os.pipe()
    own = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
    quiet = ("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe")
    # The browser speaks through descriptors 3 and 4, whatever the numbers of the pipes are here.
    descriptors = f'exec "$@" 3<&{command_read} 4>&{answer_write}'
    with (profile.parent / f"{profile.name}.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", descriptors, "-", program, *own, *quiet, f"--user-data-dir={profile}", *flags],
            pass_fds=(command_read, answer_write),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    os.close(command_read)
    os.close(answer_write)
    try:
        yield Pipe(command_write, answer_read)
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        os.close(command_write)
        os.close(answer_read)

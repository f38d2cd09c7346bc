"""A browser for tests: Chromium without a window, spoken to through pipes, so that no port is opened and nothing is installed for it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_PATIENCE = 60  # seconds for one answer; a busy machine starts Chromium in ten


class Browser:
    """One tab. ``requests`` are the addresses that it asked for since the last `open`."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._read, self._number = to, back, b"", 0
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._loaded = False
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **settings: Any) -> Any:
        """Call a method of the DevTools protocol in the tab."""
        return self._ask(method, self._session, **settings)

    def open(self, page: Path, width: int = 1280, dark: bool = False, media: str = "screen") -> None:
        """Load a file at a width in CSS pixels; comes back when everything that it asks for has been answered."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.ask("Emulation.setEmulatedMedia", media=media, features=features)
        self.requests, self.errors, self._loaded = [], [], False
        self.ask("Page.navigate", url=page.as_uri())
        while not self._loaded:
            self._heed(self._next())

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; the page's own policy does not hold for the tester."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def _ask(self, method: str, session: str | None = None, **settings: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": settings} | ({"sessionId": session} if session else {})
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, f"{method}: {found['error']}"
                return found["result"]
            self._heed(found)

    def _heed(self, event: dict[str, Any]) -> None:
        method, told = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Log.entryAdded":
            self.errors.append(told["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(told["exceptionDetails"]["text"])
        elif method == "Page.loadEventFired":
            self._loaded = True

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + _PATIENCE
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._back], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"Chromium said nothing for {_PATIENCE} s"
            part = os.read(self._back, 1 << 20)
            assert part, "Chromium ended"
            self._read += part
        message, _, self._read = self._read.partition(b"\0")
        return json.loads(message)


@contextlib.contextmanager
def started(profile: Path) -> Iterator[Browser]:
    """Chromium with a profile of its own, ended with everything that it started."""
    assert CHROMIUM
    inward, to = os.pipe()
    back, outward = os.pipe()
    command = [CHROMIUM, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run"]
    command += ["--disable-gpu", "--hide-scrollbars", "--disable-background-networking", "--disable-component-update"]
    command += ["--no-sandbox"] if os.geteuid() == 0 else []

    def hand_over() -> None:
        # Chromium reads from 3 and writes to 4; by way of high numbers, since 3 and 4 may be among ours
        os.dup2(os.dup2(inward, 100), 3)
        os.dup2(os.dup2(outward, 101), 4)

    process = subprocess.Popen(
        command, close_fds=False, preexec_fn=hand_over, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        os.close(inward)
        os.close(outward)
        yield Browser(to, back)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
        os.close(to)
        os.close(back)

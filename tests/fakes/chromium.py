"""A headless Chromium without network, driven through its DevTools protocol over a pipe. Standard library only."""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--proxy-server=127.0.0.1:9", "--proxy-bypass-list=<-loopback>"),  # whatever asks for the network fails
    "--remote-debugging-pipe",
]
_SECONDS = 60


class Browser:
    """One page at a time: `open`, then `evaluate`, `press`, `screenshot`."""

    def __init__(self, read: int, write: int):
        self._read, self._write, self._buffer = read, write, b""
        self._numbers, self._events = itertools.count(1), []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, page: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a file, `width` pixels wide. Narrow ones are phones: touch, no scroll bars beside the page."""
        self._events.clear()
        phone = width < 600
        sizes = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self._call("Emulation.setDeviceMetricsOverride", **sizes)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._call("Page.navigate", url=page.resolve().as_uri())
        self._loaded()

    def follow(self, script: str) -> None:
        """Run what leads to another page, and wait for that."""
        self._events.clear()
        self.evaluate(f"setTimeout(() => {script}, 0), 0")
        self._loaded()

    def evaluate(self, script: str) -> Any:
        """The value of an expression on the page, awaited where it is a promise."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def press(self, key: str, code: str | None = None) -> None:
        """A key, by the names of KeyboardEvent.key and .code."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        virtual = {"Enter": 13, " ": 32, "ArrowRight": 39, "ArrowLeft": 37}.get(key, ord(key[0].upper()))
        about = {"key": key, "code": code or key, "windowsVirtualKeyCode": virtual}
        self._call("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self._call("Input.dispatchKeyEvent", type="keyUp", **about)

    def complaints(self) -> list[str]:
        """What went wrong since the page was opened: errors of scripts and on the console, requests beyond files."""
        self.evaluate("0")  # whatever was sent before has arrived with the answer
        found = []
        for event in self._events:
            method, params = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                found.append(f"exception: {params['exceptionDetails']}")
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(f"console: {params['args']}")
            elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(f"log: {params['entry']['text']} {params['entry'].get('url', '')}")
            elif method == "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith(("file:", "data:", "blob:")):
                    found.append(f"request: {url}")
        return found

    def overflow(self) -> list[str]:
        """Elements that make the page wider than the window; none where it fits."""
        return self.evaluate(
            """(() => {
              const width = document.documentElement.clientWidth;
              if (document.documentElement.scrollWidth <= width) return [];
              return [...document.body.querySelectorAll("*")]
                .filter(one => one.getBoundingClientRect().right > width + 1 && !one.closest(".scroll"))
                .map(one => one.tagName + "." + one.className).concat(`${document.documentElement.scrollWidth} px`);
            })()"""
        )

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """The whole page (up to 16,000 pixels), or the window, as PNG."""
        options = {}
        if whole:
            size = self._call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16_000), "scale": 1}
            options = {"captureBeyondViewport": True, "clip": clip}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png", **options)["data"]))

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if session := getattr(self, "_session", None):
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self._events.append(answer)

    def _loaded(self) -> None:
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._events.append(self._next())
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + _SECONDS
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError(f"Chromium said nothing for {_SECONDS} s")
            received = os.read(self._read, 1 << 20)
            if not received:
                raise ConnectionError("Chromium has ended")
            self._buffer += received
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser of its own, its settings in the folder `profile`; ended with the block."""
    from_us, to_browser = os.pipe()
    from_browser, to_us = os.pipe()
    # Chromium reads from descriptor 3 and writes to 4.
    start = f'exec "$0" "$@" 3<&{from_us} 4>&{to_us}'
    command = ["bash", "-c", start, BROWSER, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    with open(profile.parent / f"{profile.name}.log", "wb") as log:
        process = subprocess.Popen(command, pass_fds=(from_us, to_us), stdout=log, stderr=log)
    os.close(from_us)
    os.close(to_us)
    try:
        yield Browser(from_browser, to_browser)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(from_browser)
        os.close(to_browser)

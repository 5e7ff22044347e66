"""Pages in headless Chromium without network, through Playwright: what they complain about, and whether they fit."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

#: Set it to a browser that is not on the PATH.
VARIABLE = "CHROMIUM"
#: For whatever a page has to wait for; only to end what hangs.
_MILLISECONDS = 300_000
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--proxy-server=127.0.0.1:9", "--proxy-bypass-list=<-loopback>"),  # whatever asks for the network fails
]


def executable() -> str | None:
    """The Chromium that is used: the variable's, or else the first on the PATH."""
    named = os.environ.get(VARIABLE)
    names = [named] if named else ["chromium", "chromium-browser", "google-chrome"]
    return next(filter(None, map(shutil.which, names)), None)


def install() -> str | None:
    """Install Debian's Chromium if there is none and this is root. Returns why there is still none, or None."""
    if executable():
        return None
    if named := os.environ.get(VARIABLE):
        return f"{VARIABLE}={named}: no such program; set it to Chromium's, or to nothing"
    wanted = f"no Chromium on the PATH: install it (apt-get install chromium), or set {VARIABLE} to the program"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return wanted
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        done = subprocess.run(["apt-get", *words], env=environment, timeout=900, check=False, **quiet)
    if done.returncode:
        return f"Chromium cannot be installed ({' '.join(done.stdout.split()[-20:])}): {wanted}"
    return None if executable() else wanted


class Tab:
    """One page at a time, each in a context of its own: `open` it, then ask `page`, which is Playwright's."""

    def __init__(self, browser: Any):
        self._browser, self._context, self._complaints = browser, None, []
        self.page: Any = None

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> Any:
        """Load a file, `width` pixels wide. Narrow ones are phones: touch, no scroll bars beside the page."""
        self.close()
        phone = width < 600
        self._context = self._browser.new_context(
            viewport={"width": width, "height": height},
            is_mobile=phone,
            has_touch=phone,
            color_scheme="dark" if dark else "light",
        )
        self._context.set_default_timeout(_MILLISECONDS)
        self._complaints = []
        self.page = self._context.new_page()
        self.page.on("pageerror", lambda error: self._complaints.append(f"exception: {error}"))
        self.page.on("console", self._said)
        self.page.on("request", self._requested)
        self.page.goto(path.resolve().as_uri())
        return self.page

    def close(self) -> None:
        """Forget the page and all that it stored."""
        if self._context is not None:
            self._context.close()
            self._context = None

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning", "assert"):
            self._complaints.append(f"console: {message.text} {message.location.get('url', '')}")

    def _requested(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self._complaints.append(f"request: {request.url}")

    def complaints(self) -> list[str]:
        """What went wrong since the page was opened: errors of scripts and on the console, requests beyond files."""
        # Two frames later whatever the last action caused has been said; events come in the order of the answers.
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return list(self._complaints)

    def overflow(self) -> list[str]:
        """Elements that make the page wider than the window; none where it fits."""
        return self.page.evaluate(
            """() => {
              const width = document.documentElement.clientWidth;
              if (document.documentElement.scrollWidth <= width) return [];
              return [...document.body.querySelectorAll("*")]
                .filter(one => one.getBoundingClientRect().right > width + 1 && !one.closest(".scroll"))
                .map(one => one.tagName + "." + one.className).concat(`${document.documentElement.scrollWidth} px`);
            }"""
        )

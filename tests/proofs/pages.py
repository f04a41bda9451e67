"""Look at the pages that a build and a run write, in a browser: at several widths, in light and dark.

    python launch/demo.py --output out/demo
    python tests/proofs/pages.py out/demo/webtext/corpus/report.html out/demo/run/run.html
    python tests/proofs/pages.py out/demo/run/run.html --pictures docs/pictures --height 1100

Fails if a page is wider than a screen of 390 pixels, loads anything, or writes to the browser's console.
`--pictures` keeps what was seen as PNG. It needs Chromium (Debian: `apt install chromium`).
"""

import argparse
import functools
import http.server
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PHONE, DESK = 390, 1200  # pixels
# In a frame of a phone's width, since a browser's own window is never narrower than 500.
FRAME = """<!doctype html>
<iframe id="f" src="page.html" style="width:{width}px;height:900px;border:0"></iframe>
<script>document.getElementById("f").onload = event => {{
  const found = event.target.contentDocument.documentElement;
  document.title = "widths " + found.scrollWidth + " " + found.clientWidth;
  document.body.dataset.loaded = event.target.contentWindow.performance.getEntriesByType("resource").length;
}};</script>"""


def main() -> None:
    """Look at each page; exit with what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for PNG files")
    parser.add_argument("--height", type=int, default=1600, help="of the pictures, in pixels")
    options = parser.parse_args()
    if browser() is None:
        sys.exit(f"no browser: install one of {', '.join(BROWSERS)}")
    wrong = [f"{page}: {what}" for page in options.pages for what in faults(page)]
    for page in options.pages if options.pictures else ():
        options.pictures.mkdir(parents=True, exist_ok=True)
        for name, width, dark in (("", DESK, False), ("-dark", DESK, True), ("-phone", 500, False)):
            picture = options.pictures / f"{page.stem}{name}.png"
            take_picture(page, picture, width=width, height=options.height, dark=dark)
            print(picture)
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{len(options.pages)} pages: no wider than {PHONE} pixels, nothing loaded, nothing on the console")


def browser() -> str | None:
    """Return the first browser that is installed."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def faults(page: Path) -> list[str]:
    """Return what is wrong with a page."""
    found = []
    for width in (PHONE, DESK):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(page, Path(folder, "page.html"))
            Path(folder, "frame.html").write_text(FRAME.format(width=width))
            with _served(folder) as address:
                seen = _run(
                    f"{address}/frame.html", "--dump-dom", "--enable-logging=stderr", width=DESK + 100
                )
        widths = re.search(r"<title>widths (\d+) (\d+)</title>", seen.stdout)
        if widths is None:
            found.append(f"it was not shown: {seen.stdout[:200]!r} {seen.stderr[-300:]!r}")
            continue
        whole, visible = map(int, widths.groups())
        if whole > visible:
            found.append(f"{whole} pixels wide on a screen of {visible}")
        loaded = re.search(r'data-loaded="(\d+)"', seen.stdout)
        if loaded is None or loaded[1] != "0":
            found.append(f"it loads {loaded[1] if loaded else 'something'}")
        found += [line for line in seen.stderr.splitlines() if ":CONSOLE" in line and "favicon" not in line]
    return found


def take_picture(page: Path, picture: Path, *, width: int, height: int, dark: bool) -> None:
    """Save what a window of that size shows."""
    options = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
    _run(page.resolve().as_uri(), f"--screenshot={picture.resolve()}", *options, width=width, height=height)


def _run(address: str, *options: str, width: int, height: int = 900) -> subprocess.CompletedProcess[str]:
    program = browser()
    assert program is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        fixed = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--virtual-time-budget=3000",
        ]
        line = [program, *fixed, f"--user-data-dir={profile}", f"--window-size={width},{height}", *options]
        return subprocess.run([*line, address], capture_output=True, text=True, check=True, timeout=120)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """Print nothing."""


@contextmanager
def _served(folder: str) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    main()

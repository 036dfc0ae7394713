"""The browser that tests of pages run in; a module that imports this is skipped where there is none."""

from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the dev extra has it)")
CHROMIUM = next(
    (path for path in map(Path, ("/usr/bin/chromium", "/usr/bin/chromium-browser")) if path.exists()), None
)
if CHROMIUM is None:
    pytest.skip("no chromium in /usr/bin (apt install chromium)", allow_module_level=True)
# Neither a GPU nor calls home.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

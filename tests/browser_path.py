"""Where headless Chromium is on this machine, for the tests and benchmarks that drive a browser."""

from __future__ import annotations

import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WHY_NOT = "no Chromium on this machine: set CHROMIUM to its path, or run python scripts/browser.py"


def find_browser() -> str | None:
    """Return the path of a Chromium, from ``$CHROMIUM`` or from PATH, or None."""
    wish = os.environ.get("CHROMIUM")
    if wish:
        return shutil.which(wish)
    return next((path for name in NAMES if (path := shutil.which(name))), None)

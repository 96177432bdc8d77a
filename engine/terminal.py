"""What the terminal commands share: data folder, log, consoles, exit codes."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console

console = Console()
errors = Console(stderr=True)
REFUSED, UNREACHABLE = 3, 4

HomeOption = Annotated[Path | None, typer.Option("--data-dir", help="Data folder [ASTROLABE_HOME or ~/.astrolabe]")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON")]


def data_folder(chosen: Path | None) -> Path:
    """Return the data folder: the chosen one, ``ASTROLABE_HOME`` or ``~/.astrolabe``."""
    return (chosen or Path(os.environ.get("ASTROLABE_HOME") or Path.home() / ".astrolabe")).expanduser()


class PatientLogger(structlog.PrintLogger):
    """Prints a line, or does without it: a log on a full disk must not end what it tells of."""

    def msg(self, message: str) -> None:
        """Print one line."""
        with contextlib.suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


def log_to_stderr() -> None:
    """Log as lines of key=value on stderr, so that stdout stays for answers."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=lambda *names: PatientLogger(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    logging.getLogger("apscheduler").setLevel(logging.ERROR)

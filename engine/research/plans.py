"""Runs that can be resumed: what was asked for, in a file beside the chunks that are finished."""

from __future__ import annotations

import json
import re
import time
import uuid
from pathlib import Path
from typing import TypeVar

from engine.errors import ConfigError
from engine.research.sweep import SweepConfig

Config = TypeVar("Config", bound=SweepConfig)
PLAN = "plan.json"


def runs_folder(home: Path) -> Path:
    """Return the folder that holds a folder for each run."""
    return home / "research" / "runs"


def new_run_id(prefix: str) -> str:
    """Return a name for a run that no other has."""
    return f"{prefix}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}"


def planned(config: Config, home: Path, run_id: str) -> Config:
    """Return the configuration with the run's folder, after its plan was written there."""
    folder = runs_folder(home) / run_id
    folder.mkdir(parents=True, exist_ok=True)
    ready = config.model_copy(update={"folder": folder, "home": home})
    temporary = folder / f"{PLAN}.part"
    temporary.write_text(json.dumps(ready.model_dump(mode="json", exclude={"folder", "home"})), encoding="utf-8")
    temporary.replace(folder / PLAN)
    return ready


def resumed(kind: type[Config], home: Path, run_id: str) -> Config:
    """Return the configuration of a run that was begun before.

    Raises
    ------
    ConfigError
        There is no such run, or it is of another kind.
    """
    path = runs_folder(home) / run_id / PLAN
    if not re.fullmatch(r"[\w-]+", run_id) or not path.is_file():
        raise ConfigError(f"there is no run {run_id!r} to resume in {runs_folder(home)}")
    given = json.loads(path.read_text(encoding="utf-8"))
    given.pop("json_out", None)  # a field of earlier versions; it was always empty
    if set(given) - set(kind.model_fields):
        raise ConfigError(f"run {run_id!r} is a walk-forward: resume it with python -m engine walkforward")
    if {"train_days"} & set(kind.model_fields) - set(given):
        raise ConfigError(f"run {run_id!r} is a sweep: resume it with python -m engine sweep")
    return kind.model_validate(given | {"folder": path.parent, "home": home})

"""Costs of a backtest from our own fills: the newest model that the engine fitted and left in the data folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.errors import ConfigError
from engine.execution.impact import backtest_params, from_json

FILE_NAME = "cost_model.json"  # the record itself is the running engine's alone
SAME = {"taker_fee": "fee"}  # another name by which a person may state it


def with_own_costs(home: Path, params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters with what our fills say where nobody stated anything.

    Raises
    ------
    ConfigError
        No model has been fitted in that data folder, or its file cannot be read.
    """
    place = home / FILE_NAME
    try:
        kept = json.loads(place.read_text())
        own = backtest_params(from_json(kept["model"]))
    except FileNotFoundError:
        raise ConfigError(
            f"there are no costs of our own in {home}: trade on paper first, then python -m engine parents costs --fit"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{place} cannot be read as a cost model ({error}): fit it again") from error
    stated = {name for name in own if name in params or SAME.get(name) in params}
    return {name: value for name, value in own.items() if name not in stated} | params

"""What a sweep tries: axes of values, all combinations of them or a random choice, each checked before it runs."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.errors import ConfigError
from engine.research.backtest import trial_key
from engine.research.config import BacktestConfig, Resolved, resolve
from engine.research.loading import BarTable
from engine.research.simulation import has_volume

MAX_MEMBERS = 20_000
MAX_VALUES = 2_000
"""Of one axis."""

LEAST_CHUNK = 4
"""Members that are measured together, where there are enough: less is spent on each."""


class Member(NamedTuple):
    """One parameter set of a sweep, checked."""

    chosen: dict[str, Any]  # the axes' values
    resolved: Resolved
    key: str  # the trial that it is; a single run with these parameters has the same


class Grid(NamedTuple):
    """The members of a sweep in the order of its axes, and what was left out."""

    axes: dict[str, list[Any]]
    members: list[Member]
    left_out: list[str]  # sentences about combinations that cannot be run


def axis_values(text: str) -> list[Any]:
    """Return the values that a text stands for.

    Parameters
    ----------
    text : str
        ``first:last:step`` with both ends included, ``first:last`` in steps of 1, a list ``a,b,c``, or ``a,b;c,d``
        where a value is a list.

    Examples
    --------
    >>> axis_values("5:20:5"), axis_values("0.1:0.3:0.1"), axis_values("on,off")
    ([5, 10, 15, 20], [0.1, 0.2, 0.3], ['on', 'off'])
    """
    if ";" in text:
        return [part.strip() for part in text.split(";") if part.strip()]
    if ":" not in text:
        return [_number(part.strip()) for part in text.split(",") if part.strip()]
    numbers = [_number(part.strip()) for part in text.split(":")]
    if len(numbers) not in (2, 3) or any(isinstance(number, str) for number in numbers):
        raise ConfigError(f"{text!r} is not of the form first:last:step with numbers")
    first, last, step = numbers[0], numbers[1], numbers[2] if len(numbers) == 3 else 1
    if not step > 0 or last < first or not all(math.isfinite(number) for number in numbers):
        raise ConfigError(f"{text!r} counts from {first} to {last} in steps of {step}: it must count upwards")
    count = math.floor((last - first) / step * (1 + 1e-12) + 1e-9) + 1
    if count > MAX_VALUES:
        raise ConfigError(f"{text!r} stands for {count} values; at most {MAX_VALUES} are allowed")
    whole = all(isinstance(number, int) for number in (first, step))
    return [first + k * step if whole else round(first + k * step, 12) for k in range(count)]


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _checked_axes(axes: Mapping[str, Any]) -> dict[str, list[Any]]:
    if not axes:
        raise ConfigError("a sweep needs at least one axis, such as fast=5:50:5")
    found: dict[str, list[Any]] = {}
    for name, given in axes.items():
        values = axis_values(given) if isinstance(given, str) else list(given)
        if not values:
            raise ConfigError(f"axis {name!r} has no values")
        repeated = [value for value in values if values.count(value) > 1] if len(values) <= MAX_VALUES else []
        if repeated:
            raise ConfigError(f"axis {name!r} holds {repeated[0]!r} more than once")
        found[name] = values
    return found


def _combinations(axes: dict[str, list[Any]], n_random: int | None, seed: int) -> list[tuple[Any, ...]]:
    total = math.prod(len(values) for values in axes.values())
    wanted = total if n_random is None else n_random
    if wanted > MAX_MEMBERS:
        raise ConfigError(f"{wanted:,} combinations are too many; at most {MAX_MEMBERS:,}. Try some at random, or less")
    if n_random is None or n_random >= total:
        return list(itertools.product(*axes.values()))
    if total > 10**12:
        raise ConfigError(f"the axes have {total:.0e} combinations; leave some out")
    picked = np.random.default_rng(seed).choice(total, size=n_random, replace=False)
    shape = [len(values) for values in axes.values()]
    places = np.unravel_index(np.sort(picked), shape)
    picked_places = zip(*places, strict=True)
    return [tuple(values[i] for values, i in zip(axes.values(), place, strict=True)) for place in picked_places]


def make_grid(
    config: BacktestConfig, axes: Mapping[str, Any], bars: BarTable, n_random: int | None = None, seed: int = 0
) -> Grid:
    """Return every parameter set of a sweep, checked.

    Parameters
    ----------
    config : BacktestConfig
        What all members share; its ``params`` are the parameters that are not swept.
    axes : mapping of parameter name to values
        Values as a list or as text for ``axis_values``.
    bars : BarTable
        What the members run on.
    n_random : int, optional
        Try so many combinations, drawn without replacement; default: all.
    seed : int

    Raises
    ------
    ConfigError
        Unknown parameters, empty axes, too many combinations, or none that can be run. A combination that contradicts
        itself (a fast average slower than the slow one) is left out and listed.
    """
    checked = _checked_axes(axes)
    members, left_out = [], []
    volume = has_volume(bars)
    for values in _combinations(checked, n_random, seed):
        chosen = dict(zip(checked, values, strict=True))
        own = config.model_copy(update={"params": config.params | chosen})
        try:
            resolved = resolve(own, bars.interval_s, bars.symbols, volume)
        except ConfigError as error:
            if "is unknown" in str(error):
                raise
            told = ", ".join(f"{name}={value}" for name, value in chosen.items())
            left_out.append(f"{told}: {str(error).removeprefix('Value error, ')}")
            continue
        members.append(Member(chosen, resolved, trial_key(own, resolved, bars)))
    if not members:
        raise ConfigError(f"no combination of the grid can be run; the first: {left_out[0]}")
    return Grid(checked, list({member.key: member for member in members}.values()), left_out)


def stage_key(bars: BarTable, cash: float, funding: Any, code: str) -> str:
    """Return what finished work may be reused for: the same bars, cash, funding and code of the core."""
    paid = "none" if funding is None else hashlib.sha256(np.ascontiguousarray(funding).tobytes()).hexdigest()
    span = [bars.fingerprint, list(bars.symbols), int(bars.ts_open[0]), int(bars.ts_open[-1]), len(bars.ts_open)]
    return hashlib.sha256(json.dumps([span, cash, paid, code]).encode()).hexdigest()


def chunks_of(members: Sequence[Member], n_workers: int, largest: int) -> list[list[Member]]:
    """Return the members in consecutive lists of up to ``largest``, ever shorter, so that all workers end together.

    Each is half of an equal share of what is left, but no shorter than ``LEAST_CHUNK`` where there are many.
    """
    least = min(LEAST_CHUNK, math.ceil(len(members) / (4 * n_workers)))
    found, first = [], 0
    while first < len(members):
        size = min(max(math.ceil((len(members) - first) / (2 * n_workers)), least), largest)
        found.append(list(members[first : first + size]))
        first += size
    return found

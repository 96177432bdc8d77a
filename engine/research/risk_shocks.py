"""Shocks on a year of the default configuration: those of history, with and without a gap on top, and made-up ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from engine.domain import F8, NS_PER_DAY, NS_PER_S
from engine.research.loading import BarTable
from engine.research.risk_trials import (
    CONTROL_OFF,
    CONTROL_ON,
    GAP,
    Trial,
    judged_run,
    known_part,
    rows_of,
    run_window,
    scan_window,
    shifted,
)

HISTORIC = {
    "2018-11-14": "Bitcoin Cash split",
    "2020-03-12": "pandemic crash",
    "2021-05-19": "leverage washed out",
    "2022-05-09": "LUNA",
    "2022-11-08": "FTX",
    "2024-08-05": "yen carry unwound",
}
"""First day of each shock, UTC."""

SPIKE_RATE = 0.0075
"""Funding rate in the spike, every eight hours for three days: the cap of the large venues."""

DEPEG = 0.10
"""Share of its value that the quote currency loses for two days: every price rises by 1 / (1 - DEPEG)."""

DEARER = 10.0


class Shock(NamedTuple):
    """What a shock did, with the control on and off."""

    name: str
    ts: int  # ns, of the bar at whose open it came
    gross: float  # gross weight held into it, control on
    move: float  # return of the account from the close before to the close of its bar, control on
    on: Trial
    off: Trial


def _rows(bars: BarTable, ts: int) -> tuple[int, int, int] | None:
    """Return the first, the shock's and the last row of a year around a moment; None without enough bars."""
    day = NS_PER_DAY // (bars.interval_s * NS_PER_S)
    at = int(np.searchsorted(bars.ts_open, ts))
    first, last = max(at - 183 * day, 0), min(at + 182 * day, len(bars.ts_open))
    return (first, at, last) if at - first >= 30 * day and last - at >= 14 * day else None


def _told(
    name: str, bars: BarTable, rows: tuple[int, int, int], costs: float = 1.0, funding: F8 | None = None
) -> Shock:
    first, at, last = rows
    result = scan_window(bars, first, last, CONTROL_ON, costs, funding)
    equity, weight, t = result.track.equity, result.track.weight, at - first
    on = judged_run(name, rows_of(bars, slice(first, last)), result)
    off = run_window(bars, first, last, CONTROL_OFF, name, costs, funding)
    gross, move = float(np.abs(weight[t - 1]).sum()), float(equity[t] / equity[t - 1] - 1.0)
    return Shock(name, int(bars.ts_open[at]), gross, move, on, off)


def listed_then(bars: BarTable, ts: int) -> BarTable:
    """Return the bars of the symbols that had them a quarter of a year before a moment."""
    row = int(np.searchsorted(bars.ts_open, ts - 90 * NS_PER_DAY))
    there = np.isfinite(bars.close_px[row]) if row < len(bars.ts_open) else np.zeros(len(bars.symbols), dtype=bool)
    symbols = tuple(symbol for symbol, known in zip(bars.symbols, there, strict=True) if known)
    return known_part(bars, symbols) if symbols else rows_of(bars, slice(0, 0))


def _of_history(bars: BarTable) -> list[Shock]:
    found = []
    for day, name in HISTORIC.items():
        ts = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * NS_PER_S
        part = listed_then(bars, ts)
        rows = _rows(part, ts)
        if rows is None:
            continue
        title = f"{day} {name}, {len(part.symbols)} symbols"
        found.append(_told(title, part, rows))
        gapped = shifted(part, rows[1], np.full(len(part.symbols), 1.0 - GAP))
        found.append(_told(f"{title}, with a gap of -30 % at its start", gapped, rows))
    return found


def _as_one(bars: BarTable) -> BarTable:
    """Return bars in which every symbol moves as the mean of all, each with its own volatility."""
    moves = np.diff(np.log(bars.close_px), axis=0)
    own = moves.std(axis=0)
    shared = (moves / own).mean(axis=1)
    level = np.exp(np.vstack([np.zeros((1, len(own))), np.cumsum(shared[:, None] / shared.std() * own, axis=0)]))
    closes = bars.close_px[0] * level
    opens = np.vstack([closes[:1], closes[:-1]])
    pair = np.maximum(opens, closes), np.minimum(opens, closes)
    return bars._replace(open_px=opens, high_px=pair[0], low_px=pair[1], close_px=closes)


def _worst_moment(bars: BarTable, first: int, last: int) -> tuple[int, F8]:
    """Return the bar after which a year's book was largest, and what it held, with the control on."""
    weight = scan_window(bars, first, last, CONTROL_ON).track.weight
    inside = slice(24, last - first - 24 * 14)
    t = int(np.abs(weight[inside]).sum(axis=1).argmax()) + 24
    return first + t + 1, weight[t]


def _made_up(bars: BarTable) -> list[Shock]:
    """Return made-up shocks at the moment of the largest book in the newest year."""
    last, day = len(bars.ts_open), NS_PER_DAY // (bars.interval_s * NS_PER_S)
    first = max(last - 365 * day, 0)
    at, held = _worst_moment(bars, first, last)
    rows, n = (first, at, last), len(bars.symbols)
    against = 1.0 - GAP * np.sign(held)
    coin = shifted(shifted(bars, at, np.full(n, 1.0 / (1.0 - DEPEG))), at + 2 * day, np.full(n, 1.0 - DEPEG))
    funding = np.zeros((last - first, n))
    due = np.flatnonzero(bars.ts_close[first:last] % (NS_PER_DAY // 3) == 0)
    funding[due[(due >= at - first) & (due < at - first + 3 * day)]] = SPIKE_RATE * np.sign(held)
    one = _as_one(bars)
    one_at, one_held = _worst_moment(one, first, last)
    return [
        _told("every price falls by 30 % between two bars", shifted(bars, at, np.full(n, 1.0 - GAP)), rows),
        _told("every price rises by 30 % between two bars", shifted(bars, at, np.full(n, 1.0 + GAP)), rows),
        _told("30 % against every single position", shifted(bars, at, against), rows),
        _told("the same, spread and impact tenfold all year", shifted(bars, at, against), rows, DEARER),
        _told("correlation 1 all year, 30 % against every position",
              shifted(one, one_at, 1.0 - GAP * np.sign(one_held)), (first, one_at, last)),
        _told("funding of 0.75 % every 8 hours against every position, 3 days", bars, rows, funding=funding),
        _told("the quote coin loses 10 % for two days, spread and impact tenfold", coin, rows, DEARER),
    ]  # fmt: skip


def all_shocks(bars: BarTable) -> list[Shock]:
    """Return every shock that the bars have room for: of history on the symbols listed then, made-up ones on all."""
    return _of_history(bars) + _made_up(known_part(bars, bars.symbols))


def listed(shock: Shock) -> dict[str, Any]:
    """Return a shock as plain JSON."""
    return shock._asdict() | {"on": shock.on._asdict(), "off": shock.off._asdict()}

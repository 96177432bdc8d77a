"""How often the alarms that start a training sound on real candles, and how many of them fall on known breaks.

    python benchmarks/alarms.py --data DATA [--from 2019-01-01] [--split 2022-01-01] [--to 2023-01-01] [--json OUT]

DATA is a folder of hourly SYMBOL.parquet, which should begin a year before --from. The engine's rules are played
through day by day: the set in force watches with what it learned until it expires, every training takes the newest
bars, and a challenger is always being judged, so the calendar alone trains every 28 days. The spans before and after
--split are told apart: limits were chosen on the first alone. The judged forecasts are those of the linear learner.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measuring import machine

from engine.domain import NS_PER_DAY, NS_PER_MS
from engine.research.loading import cut, load_bars
from models.catalogue import BASE, build
from models.dataset import learnable
from models.ensemble import Skill, daily_sums, gains, skill_of
from models.fit import EXPIRES_AFTER_DAYS
from models.forecast import HORIZONS, Learnable
from models.panel import panel_from_bars, rows_of
from models.retraining import RECENT_DAYS, Facts, why_train
from models.surroundings import DRIFT_BARS, Lookout, Surroundings

DAY_BARS = 24
WARM_BARS = 900
VALID_BARS = 60 * DAY_BARS
EVERY_DAYS, PAUSE_DAYS = 7, 3  # the settings' defaults
BY_CALENDAR = ("schedule", "expiry")
REACH_DAYS = 3
BREAKS = {
    "2018-11-14": "the fork of Bitcoin Cash", "2020-03-12": "the pandemic", "2021-05-19": "mining is banned in China",
    "2021-09-07": "a fall on the day El Salvador takes bitcoin", "2021-12-04": "a fall of a fifth within an hour",
    "2022-05-09": "Terra fails", "2022-06-13": "Celsius stops paying out", "2022-11-08": "FTX fails",
}  # fmt: skip
"""Listed before any alarm was looked at; falls that were news of their own."""


class Watcher(NamedTuple):
    """A set in force: its lookout, what its forecasts gained by day, and when it began."""

    began: int  # row
    lookout: Lookout
    sums: np.ndarray  # (D, H) from the day of ``began`` on
    counts: np.ndarray


def day_of(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


def watcher_at(data: Learnable, row: int) -> Watcher:
    """Return a set that was trained on all bars before a row, and has been shown the newest of them."""
    learned = Surroundings()
    learned.fit(data, slice(0, row))
    lookout = Lookout(learned)
    for t in range(max(row - WARM_BARS, 0), row):
        lookout.see(rows_of(data.panel, slice(t, t + 1)), data.features[t], data.sigma[t])
    parts = slice(0, row - VALID_BARS - HORIZONS[-1]), slice(row - VALID_BARS, row)
    rows = slice(row, min(row + (EXPIRES_AFTER_DAYS + 30) * DAY_BARS, len(data.panel.ts_close)))
    said = {}
    for name in (BASE, "linear"):
        model = build(name)
        model.fit(data, *parts, 0, lambda *_: True)
        said[name] = model.predict(data, rows)
    gain = gains(said["linear"].quantile, said["linear"].prob_up, said[BASE], data.target[rows])
    day = (np.arange(rows.stop - rows.start) // DAY_BARS).astype(np.int64)
    return Watcher(row, lookout, *daily_sums(gain, day))


def recent(watcher: Watcher, row: int) -> Skill | None:
    """Return the skill over the newest judged days: those whose longest horizon has passed."""
    until = (row - watcher.began) // DAY_BARS - 1
    if until <= 0:
        return None
    days = slice(max(until - RECENT_DAYS, 0), until)
    return skill_of(watcher.sums[days], watcher.counts[days])


def played(data: Learnable, first: int) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Return every change that was noticed and every training, as (ts, reason)."""
    ts_close = data.panel.ts_close
    watcher, tried = watcher_at(data, first), int(ts_close[first])
    ts_last, changes, trainings = tried, [], []
    for row in range(first, len(ts_close)):
        now = int(ts_close[row])
        before = list(watcher.lookout.changes)
        watcher.lookout.see(rows_of(data.panel, slice(row, row + 1)), data.features[row], data.sigma[row])
        changes += [(ts * NS_PER_MS, what) for ts, what in watcher.lookout.changes if [ts, what] not in before]
        if (row - first) % DAY_BARS:
            continue
        answer = watcher.lookout.answer()
        change = answer["changes"][-1] if answer["changes"] else None
        life = EXPIRES_AFTER_DAYS * NS_PER_DAY
        ends = int(ts_close[watcher.began]) + life
        why = why_train(Facts(
            now, tried, ts_last, ends, tried + life, answer["drift"],
            None if change is None else (change[0] * NS_PER_MS, change[1]), recent(watcher, row), EVERY_DAYS,
            PAUSE_DAYS,
        ))  # fmt: skip
        if why is not None:
            trainings.append((now, why))
            tried = ts_last = now
        if now >= ends:
            watcher = watcher_at(data, row + 1)
    return changes, trainings


def kind_of(reason: str) -> str:
    """Return the trigger, and for drift what drifted."""
    trigger = reason.split(":")[0]
    return trigger if trigger != "drift" else "drift of inputs" if "inputs" in reason else "drift of forecasts"


def told(changes: list[tuple[int, str]], trainings: list[tuple[int, str]], span: tuple[int, int]) -> dict[str, Any]:
    """Return what fell into a span: rates a year, and what of it lies within three days of a known break."""
    years = (span[1] - span[0]) / NS_PER_DAY / 365.25
    breaks = {day: day_of(day) for day in BREAKS if span[0] <= day_of(day) < span[1]}

    def near(ts: int) -> bool:
        return any(0 <= ts - at <= REACH_DAYS * NS_PER_DAY for at in breaks.values())

    def within(rows: list[tuple[int, str]]) -> list[tuple[int, str]]:
        return [row for row in rows if span[0] <= row[0] < span[1]]

    noticed = within(changes)
    extra = [(ts, kind_of(why)) for ts, why in within(trainings) if not why.startswith(BY_CALENDAR)]
    sizes = [ts for ts, what in noticed if what.startswith("the size")]
    return {
        "years": round(years, 2),
        "alarms_a_year": round(len(sizes) / years, 1), "alarms_near_a_break": sum(near(ts) for ts in sizes),
        "rare_regimes_a_year": round((len(noticed) - len(sizes)) / years, 1),
        "breaks": len(breaks),
        "breaks_with_an_alarm": sum(any(0 <= ts - at <= REACH_DAYS * NS_PER_DAY for ts in sizes)
                                    for at in breaks.values()),
        "trainings_beyond_schedule_a_year": round(len(extra) / years, 1),
        "trainings_beyond_schedule_near_a_break": sum(near(ts) for ts, _ in extra),
        "by_reason_a_year": {kind: round(n / years, 1) for kind, n in Counter(kind for _, kind in extra).items()},
    }  # fmt: skip


def measured(args: argparse.Namespace) -> dict[str, Any]:
    bars = cut(load_bars(args.data, ()), None, day_of(args.end))
    data = learnable(panel_from_bars(bars))
    first = int(np.searchsorted(data.panel.ts_close, day_of(args.start)))
    if first < 2 * VALID_BARS + DRIFT_BARS:
        raise SystemExit(f"the bars begin too late: give half a year of them before {args.start}")
    changes, trainings = played(data, first)
    spans = {"chosen_on": (day_of(args.start), day_of(args.split)), "held_out": (day_of(args.split), day_of(args.end))}
    return {
        "symbols": list(bars.symbols), "bars": len(bars.ts_open), "from": args.start, "split": args.split,
        "to": args.end, **{name: told(changes, trainings, span) for name, span in spans.items()},
        "machine": machine(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--from", dest="start", default="2019-01-01")
    parser.add_argument("--split", default="2022-01-01")
    parser.add_argument("--to", dest="end", default="2023-01-01")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = json.dumps(measured(args), indent=1)
    print(found)
    if args.json:
        args.json.write_text(found)


if __name__ == "__main__":
    main()

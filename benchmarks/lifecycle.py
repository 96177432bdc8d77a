"""Do models on a running engine learn again when the market turns, and does the better set take over? Prints JSON.

    python benchmarks/lifecycle.py [--days 60] [--speed 3600] [--seed 1] [--control] [--json OUT]

Two made-up markets of hourly candles: in one an hour's move tends to go on, in the other it tends to be taken back.
A set learns the first market and is put into force on the second, where its forecasts are worse than none. Nobody
touches the engine from then on. Expected, in this order: the drift trigger starts a training on the candles that the
engine has gathered; the new set forecasts in the shadow; the sequential test finds it better and puts it into force.
Then a person takes that back. The market runs fast, but at real speed while a training goes on.

With ``--control`` the set in force has learned the very market it meets: no drift may be found, and no training begun.

The calendar and the alarm for changes of the market are switched off, so nothing but drift can start a training. The
exit code is 1 when something expected did not happen, or something happened that should not.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from chaos_rig import Exchange, Victim
from measuring import EngineDoor, options, report
from soak import HOUR_MS

T = TypeVar("T")
SYMBOLS = ("BTCUSDT", "ETHUSDT")
# the rig's own settings loosen limits; these are the defaults again, with nothing but drift to start a training
SETTINGS: dict[str, Any] = {
    "symbols": list(SYMBOLS), "strategy": "trend", "decision_interval": "1h", "rebalance_band": 0.05,
    "use_retraining": False, "use_regime_retraining": False, "retrain_pause_days": 1, "max_total_drawdown": 0.15,
    "max_daily_loss": 0.05, "max_symbol_weight": 0.5, "max_gross_weight": 2.0, "max_leverage": 3.0,
}  # fmt: skip
CONTINUES, TURNS = 0.3, -0.3
"""Autocorrelation of hourly log returns: direction is then right in 60 % of the hours for whoever knows the sign."""

SIGMA = 0.006  # of an hour's log return
HISTORY_DAYS = 240
LEARNED_DAYS_AGO = 10  # the pause after a training is over, and the set has long to live
STEPS = 12  # of a path within an hour, for highs and lows
LOOK_EVERY_S = 0.5
TRAINING_S = 1_800.0
SETTLE_S = 2.0
DAY_MS = 24 * HOUR_MS


def candles(memory: float, open_ms: np.ndarray, seed: int, px: float) -> pd.DataFrame:
    """Return hourly candles whose log returns follow r_t = memory r_{t-1} + noise, with steady volume.

    Parameters
    ----------
    memory : float
    open_ms : (T,) int64
    seed : int
    px : float
        First open, quote per base.
    """
    dice = np.random.default_rng(seed)
    noise = dice.standard_normal(len(open_ms)) * SIGMA * np.sqrt(1.0 - memory**2)
    moves = np.empty(len(noise))
    before = 0.0
    for t, shock in enumerate(noise):
        before = moves[t] = memory * before + shock
    close = px * np.exp(np.cumsum(moves))
    opens = np.append(px, close[:-1])
    bridge = np.cumsum(dice.standard_normal((len(moves), STEPS)) * SIGMA / np.sqrt(STEPS), axis=1)
    bridge -= bridge[:, -1:] * np.linspace(1.0 / STEPS, 1.0, STEPS)
    path = np.log(opens)[:, None] + bridge + moves[:, None] * np.linspace(1.0 / STEPS, 1.0, STEPS)
    high, low = np.exp(path.max(axis=1)), np.exp(path.min(axis=1))
    return pd.DataFrame({
        "timestamp": open_ms, "open": opens, "high": np.maximum.reduce([opens, close, high]),
        "low": np.minimum.reduce([opens, close, low]), "close": close,
        "volume": 2e7 / px * np.exp(0.3 * dice.standard_normal(len(moves))),
    })  # fmt: skip


def write_market(folder: Path, memory: float, first_ms: int, n_hours: int, seed: int) -> Path:
    """Write a folder of candles and return it."""
    folder.mkdir()
    open_ms = first_ms + HOUR_MS * np.arange(n_hours, dtype=np.int64)
    for index, (symbol, px) in enumerate(zip(SYMBOLS, (50_000.0, 3_000.0), strict=True)):
        candles(memory, open_ms, seed * 100 + index, px).to_parquet(folder / f"{symbol}.parquet")
    return folder


def teach(home: Path, data: Path, ts_now: int) -> dict[str, Any]:
    """Train a set of forecasters as if it had been some days ago; it is in force, being the first."""
    from models.train import TrainRequest, train_and_store

    request = TrainRequest(data, ("linear", "boosting", "persistence"), seeds=1, reason="the market before")
    return train_and_store(home, request, ts_now, lambda *_: True)


class Course:
    """What happens to the models of one engine, and when in market time."""

    def __init__(self, exchange: Exchange, victim: Victim, speed: float) -> None:
        self._exchange, self._home, self._speed = exchange, victim.home, speed
        self._door: EngineDoor = victim.door()
        self.start_ms = self._now_ms()

    def _now_ms(self) -> int:
        return int(self._exchange.ask("clock")["market_ms"])

    @property
    def day(self) -> float:
        """Days of market time since the beginning."""
        return round((self._now_ms() - self.start_ms) / DAY_MS, 2)

    def models(self) -> dict[str, Any]:
        """Return what the Insights page would show."""
        return self._door.ask("models")

    def champion(self) -> str | None:
        """The version in force."""
        from models.roles import read_roles

        return read_roles(self._home).champion

    def training(self) -> dict[str, Any] | None:
        """Return the newest training."""
        return self.models()["training"]

    def run_until_another(self, what: Callable[[], T], days: float) -> T | None:
        """Let the market run until ``what`` gives something else; return that, or None after ``days``."""
        self._exchange.tell("clock", {"speed": self._speed})
        before = what()
        try:
            while self.day < days:
                if (now := what()) != before:
                    return now
                print(f"day {self.day}: {_line(self.models())}", file=sys.stderr, flush=True)
                time.sleep(LOOK_EVERY_S)
            return None
        finally:
            self._exchange.tell("clock", {"speed": 1.0})

    def wait_for_training(self) -> dict[str, Any]:
        """Return how the training under way ended and when, seconds; the market runs at real speed."""
        began = time.monotonic()
        while time.monotonic() - began < TRAINING_S:
            row = self._door.ask("models.training")["training"]
            if row["status"] not in ("queued", "running"):
                return {"training": row["status"], "training_s": round(time.monotonic() - began, 1)}
            time.sleep(1.0)
        return {"training": "too slow", "training_s": None}

    def take_back(self) -> str | None:
        """Roll back as a person would, and return what is in force then."""
        self._door.act("models.rollback", reason="a person takes the promotion back")
        return self.champion()

    def audit(self) -> list[dict[str, Any]]:
        """Return what was written to the audit record about models, once it is all there."""
        time.sleep(SETTLE_S)
        rows = [row for row in self._door.read(table="audit").to_pylist() if row["action"].startswith("models.")]
        return [{name: row[name] for name in ("actor", "action")} for row in rows]


def _line(models: dict[str, Any]) -> str:
    challenge = next(iter(models["challenges"]), None)
    return str(challenge.get("verdict", challenge) if challenge else models["retraining"])[:150]


def lifecycle(days: float, speed: float, seed: int, control: bool, home: Path) -> dict[str, Any]:
    """Run one course in an empty folder and return what happened."""
    now_ms = time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS
    first_ms = now_ms - HISTORY_DAYS * DAY_MS
    meets = write_market(home / "meets", TURNS, first_ms, (HISTORY_DAYS + int(days) + 2) * 24, seed)
    learned_ms = now_ms - LEARNED_DAYS_AGO * DAY_MS
    memory, own_seed = (TURNS, seed) if control else (CONTINUES, seed + 1)
    n_learned = (HISTORY_DAYS - LEARNED_DAYS_AGO) * 24
    learns = write_market(home / "learns", memory, first_ms, n_learned, own_seed)
    old = teach(home, learns, learned_ms * 1_000_000)
    exchange = Exchange(seed, home, "--market", "replay", "--path", str(meets), "--speed", str(speed), symbols=SYMBOLS)
    victim = Victim(home, exchange, "--speed", str(speed))
    try:
        exchange.tell("clock", {"speed": 1.0})
        victim.prepare(3.0, **SETTINGS)
        course = Course(exchange, victim, speed)
        training = course.run_until_another(course.training, days)
        found: dict[str, Any] = {"in_force_at_first": old["version"], "drift_after_days": None}
        if training is not None:
            found |= {"drift_after_days": course.day, "reason": training["reason"]} | course.wait_for_training()
            if not control:
                found |= _succession(course, days)
        return found | {"days": course.day, "audit": course.audit()}
    finally:
        victim.stop()
        exchange.stop()


def _succession(course: Course, days: float) -> dict[str, Any]:
    """Let the challenge go on to its end, then take back what it did."""
    began = course.day
    if course.run_until_another(course.champion, days) is None:
        last = next(iter(course.models()["challenges"]), {})
        return {"promoted_after_days": None, "standing": last.get("verdict")}
    found = {"promoted_after_days": round(course.day - began, 2), "change": course.models()["changes"][0]}
    return found | {"in_force_after_rollback": course.take_back()}


def passed(result: dict[str, Any], control: bool) -> bool:
    """Return whether what was expected happened, and nothing else."""
    if control:
        return result["drift_after_days"] is None
    return (
        str(result.get("reason", "")).startswith("drift")
        and result.get("promoted_after_days") is not None
        and {"actor": "sequential test", "action": "models.promote"} in result["audit"]
        and any(row["action"] == "models.rollback" for row in result["audit"])
        and result["in_force_after_rollback"] == result["in_force_at_first"]
    )


def main() -> None:
    """Run what the command line asks for."""
    chosen = options(
        __doc__,
        ("--days", {"type": float, "default": 60.0, "help": "of market time, at most"}),
        ("--speed", {"type": float, "default": 3600.0, "help": "market time per wall time, at most 3600"}),
        ("--seed", {"type": int, "default": 1}),
        ("--control", {"action": "store_true", "help": "the set has learned the market that it meets"}),
    )
    with tempfile.TemporaryDirectory(prefix="astrolabe-lifecycle-", ignore_cleanup_errors=True) as folder:
        began = time.monotonic()
        result = lifecycle(chosen.days, chosen.speed, chosen.seed, chosen.control, Path(folder))
    setting = {"benchmark": "lifecycle", "control": chosen.control, "seed": chosen.seed, "speed": chosen.speed}
    ok = passed(result, chosen.control)
    report(setting | result | {"as_expected": ok, "wall_s": round(time.monotonic() - began, 1)}, chosen.json)
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()

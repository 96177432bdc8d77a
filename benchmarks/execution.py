"""What each execution algorithm pays, against an even schedule and against one market order, on the same market.

    python benchmarks/execution.py [--runs 100] [--seconds 60] [--data FOLDER] [--only simulated] [--json OUT]

By itself, takes many minutes. Each run is one seed (simulated market) or one moment of a recorded session; every
algorithm works the same order there. Shortfall is against the mid at arrival, in basis points, fees included, and what
did not fill is priced at the end. Compared in pairs: mean difference, a bootstrap interval of it, and a p-value from
flipping signs. Recorded moments overlap, so there whole blocks are drawn and flipped.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from execution_markets import (
    MAKER_FEE,
    START_MS,
    STEP_MS,
    TAKER_FEE,
    LabMarket,
    Recorded,
    Simulated,
    Tape,
    load_tape,
    recorded_sessions,
)
from measuring import options, report

from engine.domain import NS_PER_MS, NS_PER_S, ApprovedOrder, BookTop, MarketTrade, OrderSpec, OrderStatus
from engine.execution import orders as states
from engine.execution.algorithms import View, next_step, whole_lots
from engine.execution.curves import learned_curve
from engine.execution.flow import SymbolFlow
from engine.execution.orders import Order
from engine.execution.parents import Parent, ParentSpec, ParentStatus, brought_to_end
from engine.execution.planner import crossing_px
from engine.execution.quality import Execution, Wanted, shortfall
from engine.venues.sandbox.market.simulated import SimulatedMarket

WARM_S = 10.0  # the market is watched for so long before the order comes
TAKE_TRIES = 60
BOOTSTRAPS, FLIPS = 4000, 20_000
SYMBOL = "BTCUSDT"
SHARES = {"1 % of the volume": 0.01, "10 % of the volume": 0.10}
REGIMES = {"normal": 1, "stressed": 2}
BLOCK_S = 120.0

WAYS: dict[str, dict[str, Any]] = {
    "immediate": {},
    "twap": {"algorithm": "twap", "passive": False},
    "twap, post-only first": {"algorithm": "twap"},
    "vwap": {"algorithm": "vwap"},
    "pov": {"algorithm": "pov"},
    "almgren-chriss": {"algorithm": "almgren-chriss", "urgency": 2.0},
    "adaptive": {"algorithm": "adaptive", "urgency": 1.0},
}


class Outcome(NamedTuple):
    """One order worked in one way, basis points of its notional at arrival; positive is a cost."""

    total: float
    without_fees: float
    opportunity: float
    filled: float  # share
    maker: float  # share of what filled
    against_vwap: float  # average price against the interval's VWAP; NaN when nothing filled


class Trial:
    """Works one order in one market, step by step. Orders and cancels arrive one step after they were sent.

    Parameters
    ----------
    market : LabMarket
    curve : VolumeCurve or None
    """

    def __init__(self, market: LabMarket, curve: Any = None) -> None:
        self.market, self.curve, self.flow = market, curve, SymbolFlow()
        self.children: dict[int, Order] = {}
        self.fills: list[Execution] = []
        self.volume = self.worth = 0.0
        self._wire: list[tuple[str, int]] = []

    def watch(self, seconds: float) -> None:
        """Let the market move before the order comes."""
        for _ in range(round(seconds * 1000 / STEP_MS)):
            self._move()
        self.volume = self.worth = 0.0

    def _move(self) -> None:
        fills, volume, worth = self.market.step()
        now, top = self.market.now, self.market.top()
        self.volume, self.worth = self.volume + volume, self.worth + worth
        if volume > 0:
            self.flow.on_trade(MarketTrade(top.symbol, now, now, worth / volume, volume, 1))
        self.flow.on_top(top._replace(ts_received=now))
        for order_id, qty, px, is_maker in fills:
            self._fill(order_id, qty, px, is_maker)
        for order_id, child in self.children.items():  # what ended by itself; its last fills were told just now
            gone = not child.is_final and child.status != OrderStatus.SENT and not self.market.is_open(order_id)
            if gone:
                self.children[order_id] = replace(child, status=OrderStatus.CANCELED, ts_final=now)
        self._deliver()

    def _fill(self, order_id: int, qty: float, px: float, is_maker: bool) -> None:
        child = self.children[order_id]
        filled = child.filled_qty + qty
        known = child.avg_px * child.filled_qty if child.filled_qty > 0 else 0.0
        status = OrderStatus.FILLED if filled >= child.spec.qty - 1e-9 else OrderStatus.PARTIALLY_FILLED
        self.children[order_id] = replace(child, filled_qty=filled, avg_px=(known + qty * px) / filled, status=status)
        fee = qty * px * (MAKER_FEE if is_maker else TAKER_FEE)
        self.fills.append(Execution(qty, px, child.arrival_px, fee, is_maker))

    def _deliver(self) -> None:
        wire, self._wire = self._wire, []
        for what, order_id in wire:
            child = self.children[order_id]
            if what == "cancel":
                self.market.pull(order_id)
            else:
                lives = self.market.send(order_id, child.spec)
                status = OrderStatus.NEW if lives else OrderStatus.EXPIRED
                self.children[order_id] = replace(child, status=status)

    def send(self, spec: OrderSpec) -> None:
        """Send an order; it arrives with the next step."""
        top = self.market.top()
        number = len(self.children) + 1
        approved = ApprovedOrder(str(number), 0, spec, math.nan)
        order = states.new_order(approved, self.market.now, (top.bid_px + top.ask_px) / 2)
        self.children[number] = states.sent(order, self.market.now)
        self._wire.append(("send", number))

    def take(self, qty: float, side: int) -> None:
        """Buy or sell at once, and what the book did not hold as soon as it holds more; give up after half a minute."""
        for _ in range(TAKE_TRIES):
            left = qty - math.fsum(fill.qty for fill in self.fills)
            top, lots = self.market.top(), whole_lots(left, self.market.instrument)
            if lots <= 0.0:
                return
            limit_px = crossing_px(top.ask_px if side > 0 else top.bid_px, side, self.market.instrument)
            self.send(OrderSpec(top.symbol, side, "LIMIT", lots, limit_px, math.nan, "IOC", False, False, "manual"))
            self._move()  # it arrives
            self._move()  # its fills are told

    def work(self, parent: Parent, seconds: float) -> Parent:
        """Work a parent until its end or until ``seconds`` have passed."""
        for _ in range(round(seconds * 1000 / STEP_MS)):
            now = self.market.now
            view = View(
                self.market.top(), self.market.instrument, 0.0, self.volume, self.flow.rate(now), self.flow.sigma,
                self.curve,
            )  # fmt: skip
            children = list(self.children.values())
            step = next_step(parent, children, view, now)
            for client_id in step.cancel:
                number = int(client_id)
                self.children[number] = replace(self.children[number], cancel_sent_ns=now)
                self._wire.append(("cancel", number))
            if step.stop is not None:
                parent = brought_to_end(parent, step.stop, step.why, children, now)
            if step.place is not None:
                self.send(step.place)
            if parent.is_ended:
                break
            self._move()
        return parent


def run_order(trial: Trial, way: str, side: int, share: float, seconds: float) -> Outcome:
    """Work one order of a share of the interval's expected volume in one way, and say what it cost."""
    trial.watch(WARM_S)
    market = trial.market
    top, now = market.top(), market.now
    mid = (top.bid_px + top.ask_px) / 2
    qty = max(whole_lots(share * trial.flow.rate(now) * seconds, market.instrument), 2 * smallest(market, top))
    if way == "immediate":
        trial.take(qty, side)
    else:
        changes = {"participation": share, **WAYS[way]}
        spec = ParentSpec(
            top.symbol, side, qty, str(changes.pop("algorithm")), now, now + int(seconds * NS_PER_S)
        )._replace(**changes)
        trial.work(Parent(1, spec, ParentStatus.WORKING, now, now), seconds + 45.0)
    top = market.top()
    split = shortfall(Wanted(side, qty, mid, mid, (top.bid_px + top.ask_px) / 2), trial.fills)
    filled = math.fsum(fill.qty for fill in trial.fills)
    made = math.fsum(fill.qty for fill in trial.fills if fill.is_maker)
    avg = math.fsum(fill.qty * fill.px for fill in trial.fills) / filled if filled > 0 else math.nan
    scale = 1e4 / (qty * mid)
    against = side * (avg / (trial.worth / trial.volume) - 1.0) * 1e4 if trial.volume > 0 else math.nan
    # what did not fill still has to be bought: it pays the fee and half the spread of the end
    rest = (qty - filled) / qty * (TAKER_FEE + (top.ask_px - top.bid_px) / 2 / mid) * 1e4
    total = split.total * scale + rest
    return Outcome(
        total, total - split.fees * scale - (qty - filled) / qty * TAKER_FEE * 1e4, split.opportunity * scale,
        filled / qty, made / filled if filled > 0 else 0.0, against,
    )  # fmt: skip


def smallest(market: LabMarket, top: BookTop) -> float:
    """Return the least quantity that the venue takes, base units."""
    lot = market.instrument.lot_size
    return math.ceil(market.instrument.min_notional / top.bid_px / lot) * lot


def compare(ours: Sequence[float], theirs: Sequence[float], blocks: Sequence[int], seed: int = 0) -> dict[str, Any]:
    """Return the mean difference of pairs (negative: ours is cheaper) with its 95 % interval and two-sided p-value.

    Blocks are drawn with replacement for the interval, and change sign together for the p-value; independent pairs are
    blocks of one.
    """
    gaps = np.asarray(ours) - np.asarray(theirs)
    _, block_of = np.unique(np.asarray(blocks), return_inverse=True)
    sums, counts = np.bincount(block_of, gaps), np.bincount(block_of)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(sums), (BOOTSTRAPS, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    flips = rng.choice([-1.0, 1.0], (FLIPS, len(sums))) @ sums
    p_value = (1 + np.count_nonzero(np.abs(flips) >= abs(sums.sum()) - 1e-12)) / (FLIPS + 1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "mean_bps": round(float(gaps.mean()), 3), "low_bps": round(float(low), 3), "high_bps": round(float(high), 3),
        "p_value": round(float(p_value), 5), "pairs": len(gaps), "blocks": len(sums),
    }  # fmt: skip


def summary(outcomes: dict[str, list[Outcome]], blocks: Sequence[int]) -> dict[str, Any]:
    """Return each way's figures, and each against the crossing TWAP, the patient TWAP and the market order."""
    rows = {}
    for way, found in outcomes.items():
        total = [o.total for o in found]
        tracking = np.array([o.against_vwap for o in found])
        tracking = tracking[np.isfinite(tracking)]
        rows[way] = {
            "shortfall_bps": round(float(np.mean(total)), 3), "sd_bps": round(float(np.std(total, ddof=1)), 3),
            "without_fees_bps": round(float(np.mean([o.without_fees for o in found])), 3),
            "filled": round(float(np.mean([o.filled for o in found])), 4),
            "maker_share": round(float(np.mean([o.maker for o in found])), 3),
            "against_vwap_bps": round(float(tracking.mean()), 3) if len(tracking) else None,
            "vwap_error_bps": round(float(np.abs(tracking).mean()), 3) if len(tracking) else None,
        } | {
            f"less {other}": compare(total, [o.total for o in outcomes[other]], blocks)
            for other in ("twap", "twap, post-only first", "immediate")
            if other != way
        } | {
            "less twap, without fees": compare(
                [o.without_fees for o in found], [o.without_fees for o in outcomes["twap"]], blocks
            )
        }  # fmt: skip
    return rows


def simulated(runs: int, seconds: float, regimes: dict[str, int], shares: dict[str, float]) -> dict[str, Any]:
    """Try every way in the simulated market: a seed a run, sides by turns."""
    market = SimulatedMarket((SYMBOL,), 7, START_MS)
    past = market.history(SYMBOL, "1m")
    curve = learned_curve(past["open_ms"] * NS_PER_MS, past["volume"], 60)
    found: dict[str, Any] = {}
    pooled: dict[str, list[Outcome]] = {way: [] for way in WAYS}
    for cell, (regime, label) in enumerate(itertools.product(regimes, shares)):
        outcomes: dict[str, list[Outcome]] = {way: [] for way in WAYS}
        for run in range(runs):
            side, seed = 1 if run % 2 == 0 else -1, 1000 * (cell + 1) + run
            for way in WAYS:
                trial = Trial(Simulated(market, seed, regimes[regime]), curve)
                outcomes[way].append(run_order(trial, way, side, shares[label], seconds))
        found[f"{regime}, {label}"] = summary(outcomes, range(runs))
        for way in WAYS:
            pooled[way] += outcomes[way]
    found["all"] = summary(pooled, range(len(pooled["adaptive"])))
    return found


def recorded(folder: Path, runs: int, seconds: float, shares: dict[str, float]) -> dict[str, Any]:
    """Try every way at random moments of the recorded sessions, each side at each moment."""
    tapes = [(name, load_tape(name, depth, trades)) for name, depth, trades in recorded_sessions(folder)]
    if not tapes:
        return {"why_not": f"no recorded session of the form books/binance_*_depth.parquet under {folder}"}
    rng = np.random.default_rng(5)
    found: dict[str, Any] = {"sessions": {name: _span(tape) for name, tape in tapes}}
    whole = math.ceil((WARM_S + seconds + 50.0) * 1000 / STEP_MS)
    moments = []
    for n in range(runs // 2):
        index = n % len(tapes)
        moments.append((index, int(rng.integers(0, max(len(tapes[index][1].trades) - whole, 1)))))
    for label, share in shares.items():
        outcomes: dict[str, list[Outcome]] = {way: [] for way in WAYS}
        blocks = []
        for index, begin in moments:
            if begin + whole > len(tapes[index][1].trades):
                continue
            for side in (1, -1):
                blocks.append(index * 1000 + int(begin * STEP_MS / 1000 / BLOCK_S))
                for way in WAYS:
                    outcomes[way].append(run_order(Trial(Recorded(tapes[index][1], begin)), way, side, share, seconds))
        found[label] = summary(outcomes, blocks)
    return found


def _span(tape: Tape) -> dict[str, float]:
    return {"seconds": len(tape.trades) * STEP_MS / 1000, "tick_size": tape.tick_size}


def main() -> None:
    """Run and report."""
    chosen = options(
        __doc__,
        ("--runs", {"type": int, "default": 100, "help": "for each volatility and size"}),
        ("--seconds", {"type": float, "default": 60.0}),
        ("--data", {"type": Path, "default": None, "help": "folder with books/ and ticks/"}),
        ("--only", {"choices": ("simulated", "recorded"), "default": None}),
    )
    began = time.monotonic()
    result: dict[str, Any] = {
        "benchmark": "execution", "runs": chosen.runs, "seconds": chosen.seconds,
        "fees": {"taker": TAKER_FEE, "maker": MAKER_FEE}, "latency_ms": STEP_MS,
        "target": "adaptive cheaper than twap with p < 0.01",
    }  # fmt: skip
    if chosen.only != "recorded":
        result["simulated"] = simulated(chosen.runs, chosen.seconds, REGIMES, SHARES)
        rows = result["simulated"].values()
        result["reached"] = all(
            r["adaptive"]["less twap"]["mean_bps"] < 0 and r["adaptive"]["less twap"]["p_value"] < 0.01 for r in rows
        )
    if chosen.only != "simulated" and chosen.data is not None:
        result["recorded"] = recorded(chosen.data, 2 * chosen.runs, chosen.seconds, SHARES)
    report(result | {"took_s": round(time.monotonic() - began, 1)}, chosen.json)


if __name__ == "__main__":
    main()

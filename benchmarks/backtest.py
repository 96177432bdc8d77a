"""Backtests side by side: this project, a bare numba kernel of the same rule, and other libraries, in the same run.

    python benchmarks/backtest.py [--bars 1000000] [--repeats 5] [--no-peers] [--json OUT]

Prints a table to stderr and JSON to stdout. The repetitions of all contestants alternate, so that whatever else the
machine does meets all of them; ratios are of the fastest repetition of each, the one that was disturbed least. The
slowest peers run once warm. Final equities are compared too: exit code 1 where two that follow the same conventions
differ by more than a millionth of each other. Kernels are compiled beforehand in a process of their own, as ``make``
and the engine do it; what memory that takes is reported apart. The peers of ``peers.txt`` are installed once into an
environment of their own. Without a network, or with ``--no-peers``, the bare kernels are what is compared with.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from bare import bare_kernel, bare_rebalance, bare_sweep
from measuring import ROOT, Missing, options, report
from peers import LEFT_OUT, Peers
from rich.console import Console
from rich.table import Table

from engine.core.costs import Costs
from engine.core.decide import no_limits
from engine.core.frictions import Assumptions
from engine.core.simulate import Scan, SimBars, SimResult
from engine.core.step import new_state, step, warm_up
from engine.domain import NO_SHOCKS, NS_PER_S, AccountView, MarketSlice, Sleeve
from engine.limits import risk_limits
from engine.settings import SystemConfig

FEE, SLIPPAGE, CASH = 0.0004, 0.0001, 10_000.0
PLAIN = Costs(FEE, SLIPPAGE)
ANSWERING = Costs(FEE, SLIPPAGE, FEE, 0.0, 0.08, 1.0)
VENUE = Assumptions(maintenance_rate=0.01, liquidation_fee_rate=0.025)
N_SYMBOLS, REBALANCE_BARS, REBALANCE_EVERY = 50, 20_000, 24
SWEEP_BARS = 200_000

ROUNDING = 1e-6
"""Largest difference of final equities, as a fraction, between contestants that follow the same conventions."""

SAME = {
    "single": (("gate off", "bare"), ("gate off", "vectorbt")),
    "rebalance": (("gate on", "bare"),),
    "sweep": (("sweep", "bare"), ("sweep", "vectorbt")),
}
"""By section, who must agree with whom. For everybody else the table says how far they are apart, and why."""

Contest = dict[str, Callable[[], tuple[float, float]]]
"""Contestant to a function that runs it once and returns milliseconds and final equity."""


def timed(work: Callable[[], float]) -> Callable[[], tuple[float, float]]:
    def once() -> tuple[float, float]:
        started = time.perf_counter()
        final = work()
        return 1000.0 * (time.perf_counter() - started), final

    return once


def alternate(contest: Contest, repeats: int) -> dict[str, dict[str, Any]]:
    """Run every contestant once unmeasured, then all of them in turns; one that fails is reported and left out."""
    found: dict[str, dict[str, Any]] = {}
    for name, once in contest.items():
        try:
            found[name] = {"final_equity": once()[1], "times": []}
        except Missing as problem:
            found[name] = {"error": str(problem)}
    for _ in range(repeats):
        for name, row in found.items():
            if "times" in row:
                row["times"].append(contest[name]()[0])
    for row in found.values():
        if times := row.pop("times", None):
            row |= {"median_ms": statistics.median(times), "best_ms": min(times)}
    return found


def minute_bars(n_bars: int) -> SimBars:
    rng = np.random.default_rng(7)
    close_px = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.0007, n_bars)))
    open_px = np.concatenate([close_px[:1], close_px[:-1]]) * np.exp(rng.normal(0.0, 0.0001, n_bars))
    ts_close = 1_600_000_020 * NS_PER_S + np.arange(n_bars, dtype=np.int64) * 60 * NS_PER_S
    high_px, low_px = np.maximum(open_px, close_px) * 1.0002, np.minimum(open_px, close_px) * 0.9998
    columns = (column.reshape(-1, 1) for column in (high_px, low_px, rng.uniform(1e3, 1e5, n_bars)))
    return SimBars(ts_close, open_px.reshape(-1, 1), close_px.reshape(-1, 1), np.zeros((0, 1)), *columns)


def hourly_bars(n_bars: int, n_symbols: int) -> SimBars:
    rng = np.random.default_rng(5)
    close_px = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.005, (n_bars, n_symbols)), axis=0))
    open_px = np.vstack([close_px[:1], close_px[:-1]]) * np.exp(rng.normal(0.0, 0.0005, (n_bars, n_symbols)))
    ts_close = 1_600_000_200 * NS_PER_S + np.arange(n_bars, dtype=np.int64) * 3600 * NS_PER_S
    return SimBars(ts_close, open_px, close_px, np.zeros((0, n_symbols)))


def cross_params(**settings: Any) -> Any:
    return SystemConfig(strategy="ema-cross", decision_interval="1m", allow_short=False).params()._replace(**settings)


def scanned(bars: SimBars, costs: Costs, params: Any, venue: Assumptions | None = None) -> SimResult:
    scan = Scan(bars, no_limits(bars.close_px.shape[1]), costs, params, CASH, assumptions=venue)
    scan.advance(len(bars.ts_close))
    return scan.result()


def single(n_bars: int, repeats: int, peers: Peers | None) -> dict[str, Any]:
    """ema-cross 20/100 on one symbol. The wide limits let it trade throughout; every rule is computed on every bar."""
    bars = minute_bars(n_bars)
    open_px, close_px = bars.open_px[:, 0].copy(), bars.close_px[:, 0].copy()
    wide = cross_params(gate=True, max_symbol_weight=1.5, max_drawdown=0.99, max_daily_loss=0.9)

    def ours(costs: Costs, params: Any, venue: Assumptions | None = None) -> Callable[[], tuple[float, float]]:
        return timed(lambda: float(scanned(bars, costs, params, venue).track.equity[-1]))

    contest: Contest = {
        "bare": timed(lambda: float(bare_kernel(open_px, close_px, 20, 100, FEE, SLIPPAGE, CASH)[-1])),
        "gate off": ours(PLAIN, cross_params(gate=False)),
        "gate on": ours(PLAIN, wide),
        "gate on, default limits": ours(PLAIN, cross_params()),
        "gate on, answering market": ours(ANSWERING, wide, VENUE),
    }
    slow: Contest = {}
    peak_mb = 0.0
    if peers is not None:
        arrays = peers.keep("single", open=open_px, close=close_px)
        contest["vectorbt"] = lambda: _peer(peers, "vectorbt_cross", arrays)
        slow["backtesting.py"] = lambda: _peer(peers, "backtesting_cross", arrays)
    curve = scanned(bars, PLAIN, cross_params(gate=False)).track.equity
    difference = np.max(np.abs(curve - bare_kernel(open_px, close_px, 20, 100, FEE, SLIPPAGE, CASH)))
    scanned(bars, PLAIN, wide)
    peak_mb = own_peak_mb()
    found = alternate(contest, repeats) | alternate(slow, 1)
    return {"bars": n_bars, "rows": found, "difference_from_bare": float(difference), "peak_rss_mb": peak_mb}


def _peer(peers: Peers, run: str, arrays: Any) -> tuple[float, float]:
    answer = peers.run(run, arrays)
    return answer["ms"], answer["final"]


def own_peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compile_apart() -> float:
    """Compile what is not compiled yet in a process of its own and return that process's peak memory, MB."""
    subprocess.run([sys.executable, str(ROOT / "scripts" / "compile_kernels.py")], check=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def rebalance(repeats: int, peers: Peers | None) -> dict[str, Any]:
    """Equal weights over 50 symbols at every 24th hour, through the gate, and with the default limits on the book.

    Those limits change the orders, and need covariances and tails, for which no peer has anything: a row of their own.
    """
    bars = hourly_bars(REBALANCE_BARS, N_SYMBOLS)
    weight = np.full((REBALANCE_BARS, N_SYMBOLS), np.nan)
    weight[::REBALANCE_EVERY] = 1.0 / N_SYMBOLS
    whole = SystemConfig(decision_interval="1h", rebalance_band=0.0).params()._replace(shocks=NO_SHOCKS,
        sleeve=int(Sleeve.EXTERNAL), max_drawdown=0.99, max_daily_loss=0.9, max_gross_weight=2.0
    )  # fmt: skip

    def ours(params: Any) -> Callable[[], tuple[float, float]]:
        def once() -> float:
            scan = Scan(bars, no_limits(N_SYMBOLS), PLAIN, params, CASH)
            scan.external_weight[:] = weight
            scan.advance(REBALANCE_BARS)
            return float(scan.track.equity[-1])

        return timed(once)

    def bare() -> float:
        return float(bare_rebalance(bars.open_px, bars.close_px, REBALANCE_EVERY, FEE, SLIPPAGE, CASH)[-1])

    contest: Contest = {"bare": timed(bare), "gate on": ours(whole._replace(risk=risk_limits()))}
    if peers is not None:
        arrays = peers.keep("rebalance", open=bars.open_px, close=bars.close_px, weight=weight)
        contest["vectorbt"] = lambda: _peer(peers, "vectorbt_rebalance", arrays)
    rows = alternate(contest, repeats) | alternate({"gate on, limits on the book": ours(whole)}, min(repeats, 3))
    return {"bars": REBALANCE_BARS, "symbols": N_SYMBOLS, "rows": rows}


def sweep(n_bars: int, repeats: int, peers: Peers | None) -> dict[str, Any] | None:
    """100 pairs of spans on one symbol; None where this project has no sweep."""
    try:
        from engine.research.sweep import SweepConfig, run_sweep
    except ImportError:
        return None
    from engine.research.loading import BarTable

    bars = minute_bars(n_bars)
    spans = {"ema_fast": list(range(5, 55, 5)), "ema_slow": list(range(60, 160, 10))}
    pairs = np.array([(fast, slow) for fast in spans["ema_fast"] for slow in spans["ema_slow"]], dtype=np.int64)
    open_px, close_px = bars.open_px[:, 0].copy(), bars.close_px[:, 0].copy()
    table = BarTable(("X",), 60, bars.ts_close - 60 * NS_PER_S, bars.open_px, bars.high_px, bars.low_px, bars.close_px,
                     bars.volume, "benchmark")  # fmt: skip
    config = SweepConfig(bars=table, strategy="ema-cross", params={"gate": "off"}, grid=spans, keep_ledger=False)

    def ours() -> tuple[float, float]:
        found = run_sweep(config)
        return 1000.0 * found.table.scan_s, float(np.nanmax(found.table.column("final_equity")))

    def bare() -> float:
        return float(bare_sweep(open_px, close_px, pairs, FEE, SLIPPAGE, CASH).max())

    contest: Contest = {"bare": timed(bare), "sweep": ours}
    slow: Contest = {}
    if peers is not None:
        arrays = peers.keep("sweep", open=open_px, close=close_px, pairs=pairs)
        slow["vectorbt"] = lambda: _peer(peers, "vectorbt_sweep", arrays)
    return {"bars": n_bars, "pairs": len(pairs), "rows": alternate(contest, repeats) | alternate(slow, 1)}


def step_latency_us(n_symbols: int, repeats: int) -> dict[str, float]:
    rng = np.random.default_rng(1)
    params = SystemConfig(decision_interval="1h").params()._replace(shocks=NO_SHOCKS)
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (2000, n_symbols)), axis=0))
    state = warm_up(new_state(n_symbols, params), closes, params)
    zeros, ones, last = np.zeros(n_symbols), np.ones(n_symbols), closes[-1]
    market = MarketSlice(1_700_000_000 * NS_PER_S, last, last, last, last, ones, zeros)
    account = AccountView(CASH, zeros, zeros, zeros, last, 0)
    elapsed = []
    for _ in range(repeats):
        started = time.perf_counter()
        step(state, market, account, no_limits(n_symbols), zeros, params)
        elapsed.append(time.perf_counter() - started)
    return {"p50": 1e6 * float(np.percentile(elapsed, 50)), "p99": 1e6 * float(np.percentile(elapsed, 99))}


def apart(rows: dict[str, dict[str, Any]], name: str, other: str = "bare") -> float | None:
    """Return how far two final equities are apart, fraction of the other's; None where one was not run."""
    ours, theirs = (rows.get(each, {}).get("final_equity") for each in (name, other))
    return None if ours is None or theirs is None else ours / theirs - 1.0


def agreement(sections: dict[str, dict[str, Any] | None]) -> list[dict[str, Any]]:
    """Return for every pair of ``SAME`` that was run how far apart it is, and whether that is rounding."""
    found = []
    for title, pairs in SAME.items():
        section = sections[title]
        for name, other in pairs if section else ():
            difference = apart(section["rows"], name, other) if section else None
            if difference is not None:
                agrees = bool(abs(difference) <= ROUNDING)
                found.append({"of": title, "ours": name, "theirs": other, "difference": difference, "agrees": agrees})
    return found


WHY = {
    "gate off": "the yardstick's definition: the bare kernel's",
    "gate on": "smaller orders after losses, because the drawdown rule shrinks exposure",
    "gate on, default limits": "half the account at most, and flat after 15 % drawdown",
    "gate on, answering market": "spread and impact on top",
    "vectorbt": "same rule, costs and fill price",
    "backtesting.py": "keeps a sliver of cash, and has one rate for fee and slippage, which is their sum here",
}  # fmt: skip


WHY_REBALANCE = {
    "gate on": "the same orders as the bare kernel",
    "gate on, limits on the book": "smaller orders: clusters, shortfall, gaps and shocks are measured on every bar",
    "vectorbt": "values the book at the open that it trades at, not at the close before",
}
WHY_SWEEP = {"sweep": "best of all pairs", "vectorbt": "best of all pairs"}


def show(title: str, section: dict[str, Any], why: dict[str, str], console: Console) -> None:
    table = Table(
        "contestant", "best ms", "median ms", "over bare", "final equity", "differs by", "why it differs", title=title
    )  # fmt: skip
    bare = section["rows"]["bare"]["best_ms"]
    for name, row in section["rows"].items():
        if "error" in row:
            table.add_row(name, "-", "-", "-", "-", "-", row["error"])
            continue
        times = (f"{row[kind]:.1f}" for kind in ("best_ms", "median_ms"))
        over = f"{row['best_ms'] / bare:.1f}"
        differs = f"{apart(section['rows'], name):.1e}"
        table.add_row(name, *times, over, f"{row['final_equity']:.6g}", differs, why.get(name, ""))
    console.print(table)


def times_faster(section: dict[str, Any] | None, ours: str) -> float | None:
    """Return how many times longer vectorbt takes, None when it was not run."""
    peer = section["rows"].get("vectorbt", {}) if section else {}
    return peer["best_ms"] / section["rows"][ours]["best_ms"] if section and "best_ms" in peer else None


def main() -> int:
    asked = options(
        __doc__, ("--bars", {"type": int, "default": 1_000_000}), ("--repeats", {"type": int, "default": 5}),
        ("--no-peers", {"action": "store_true"}),
    )  # fmt: skip
    why_no_peers = "not asked for" if asked.no_peers else None
    compiling_mb = compile_apart()
    peers = None
    try:
        peers = None if asked.no_peers else Peers()
    except Missing as problem:
        why_no_peers = str(problem)
        print(problem, file=sys.stderr)
    try:
        one = single(asked.bars, asked.repeats, peers)
        many = rebalance(asked.repeats, peers)
        swept = sweep(min(SWEEP_BARS, asked.bars), asked.repeats, peers)
    finally:
        if peers is not None:
            peers.close()
    console = Console(stderr=True, width=150)
    show(f"ema-cross on {one['bars']:,} bars", one, WHY, console)
    title = f"{many['symbols']} symbols x {many['bars']:,} bars, rebalanced every {REBALANCE_EVERY} bars"
    show(title, many, WHY_REBALANCE, console)
    if swept is not None:
        show(f"{swept['pairs']} pairs x {swept['bars']:,} bars", swept, WHY_SWEEP, console)
    agreed = agreement({"single": one, "rebalance": many, "sweep": swept})
    for pair in agreed:
        said = "agree" if pair["agrees"] else "DO NOT AGREE"
        print(
            f"{pair['of']}: {pair['ours']} and {pair['theirs']} {said}: {pair['difference']:.1e} apart", file=sys.stderr
        )
    rows = one["rows"]
    report(
        {
            "bars": one["bars"],
            "bare_kernel_ms": rows["bare"]["best_ms"],
            "gate_on_ms": rows["gate on"]["best_ms"],
            "gate_on_over_bare": rows["gate on"]["best_ms"] / rows["bare"]["best_ms"],
            "target_over_bare": 5.0,
            "times_faster_than_vectorbt": {
                "single": times_faster(one, "gate on"), "rebalance": times_faster(many, "gate on"),
                "sweep": times_faster(swept, "sweep"),
            },
            "largest_equity_difference_gate_off": one["difference_from_bare"],
            "agreement": agreed,
            "peak_rss_mb": one["peak_rss_mb"],
            "compiling_peak_rss_mb": compiling_mb,
            "single": one,
            "rebalance": many,
            "sweep": swept,
            "no_peers_because": why_no_peers,
            "left_out": LEFT_OUT,
            "step_us": {str(n): step_latency_us(n, 2000) for n in (10, 50)},
        },
        asked.json,
    )  # fmt: skip
    return 0 if all(pair["agrees"] for pair in agreed) else 1


if __name__ == "__main__":
    sys.exit(main())

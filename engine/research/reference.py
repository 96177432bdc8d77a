"""The reference portfolio: all sleeves against trend alone and against holding, with everything that was tried counted.

``run_reference`` returns plain JSON types:

* ``rows``: ``[{"name", "what", "runs_live", "cagr", "sharpe", "low", "high", "volatility", "max_drawdown", "turnover",
  "costs_a_year", "research_sharpe", "held_out_sharpe", "held_out_drawdown"}]``, the portfolio first
* ``goals``: ``[{"goal", "found", "passes"}]``
* ``panel``: the honesty panel, ``canaries`` and ``critique`` of the portfolio
* ``ways``: every way of sharing before the end of research, see ``ways_of``; ``sharing``: see ``record_over``
* ``evidence``: see ``sleeve_evidence``; ``crises``: ``[{"crisis", "tail", "portfolio", "trend", "btc"}]``, returns
* ``tail``: what the hedge cost a year and how it was positioned; ``years``: return and ratio by calendar year
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.core.metrics import annual_growth, max_drawdown, sharpe_ratio
from engine.core.simulate import SimResult
from engine.domain import F8, I8, NS_PER_DAY, NS_PER_S, Sleeve
from engine.research import declared_trials
from engine.research.backtest import BacktestConfig, run_backtest
from engine.research.coins import coin_column
from engine.research.config import resolve
from engine.research.declared_trials import without_curve
from engine.research.figures import DAYS_PER_YEAR, day_ends
from engine.research.ledger import Ledger, Trial
from engine.research.loading import BarTable, load_funding
from engine.research.montecarlo import block_length, drawn_rows
from engine.research.optimiser_evidence import better
from engine.research.portfolio_scan import scan_portfolio
from engine.research.simulation import has_volume, scan_of
from engine.research.sleeve_evidence import by_day, evidence, learning
from engine.research.sleeve_report import optimised, record_over
from engine.settings import SystemConfig
from engine.strategies.portfolio import ADAPTIVE, DEFAULT_SHARING, DEFAULT_SLEEVES, SLEEVES
from engine.strategies.portfolio_runner import PortfolioRunner, Told
from engine.strategies.sleeves.state import TAIL
from engine.underlyings import SPOT_SUFFIX

GOAL_SHARPE, GOAL_DRAWDOWN = 2.0, 0.15
DRAWS = 1_000
CASH = 10_000.0
ON_PERPETUALS = "+".join(name for name in DEFAULT_SLEEVES if name != "basis")
CRISES = (
    ("2018-11, Bitcoin Cash fork", "2018-11-13", "2018-12-16"),
    ("2020-03, pandemic", "2020-03-07", "2020-03-17"),
    ("2021-05, China and leverage", "2021-05-10", "2021-05-24"),
    ("2022-05, LUNA", "2022-05-04", "2022-05-13"),
    ("2022-11, FTX", "2022-11-05", "2022-11-15"),
    ("2024-08, yen carry", "2024-07-31", "2024-08-06"),
)


class Case(NamedTuple):
    """One line of the table."""

    name: str
    what: str
    strategy: str
    params: dict[str, Any]
    runs_live: bool


CASES = (
    Case("portfolio", "all default sleeves", "portfolio", {}, False),
    Case("portfolio, perpetuals only", "without spot pairs", "portfolio", {"sleeves": ON_PERPETUALS}, True),
    Case("trend alone", "the trend strategy, default settings", "trend", {}, True),
    Case("portfolio with reversal", "all sleeves", "portfolio", {"sleeves": "+".join(SLEEVES)}, False),
    *(
        Case(f"{name} alone", "one sleeve through the gate", "portfolio", {"sleeves": name}, name != "basis")
        for name in SLEEVES if name not in ("trend", "models")
    ),
)  # fmt: skip


def nanoseconds(day: str) -> int:
    """Return the first instant of a UTC day, ns."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * NS_PER_S


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def daily(ts_close: I8, equity: F8, opening: float) -> F8:
    """Return daily returns (D,) of an equity curve, its opening included."""
    ends = np.append(opening, equity[day_ends(ts_close)])
    returns: F8 = ends[1:] / ends[:-1] - 1.0
    return returns


def sharpe_interval(returns: F8, seed: int, level: float = 0.95) -> tuple[float | None, float | None]:
    """Return bounds of the annual Sharpe ratio from redrawn blocks of days."""
    if len(returns) < 60 or not returns.std() > 0.0:
        return None, None
    drawn: list[float] = []
    for rows in drawn_rows(len(returns), block_length(returns), DRAWS, seed):
        sample = returns[rows]
        drawn += (sample.mean(axis=1) / sample.std(axis=1, ddof=1) * math.sqrt(DAYS_PER_YEAR)).tolist()
    low, high = np.quantile(drawn, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def row_of(
    case: Case, ts_close: I8, equity: F8, split_ns: int, paid: float, traded: float, seed: int
) -> dict[str, Any]:
    """Return one line of the table.

    Parameters
    ----------
    case : Case
    ts_close : (T,) int64 ns
    equity : (T,) float64, ccy
    split_ns : int
        Research ends here; what comes after was held out of it.
    paid, traded : float, ccy
        Fees and slippage, and notional, over the whole run.
    seed : int
    """
    years = len(equity) and (ts_close[-1] - ts_close[0]) / NS_PER_S / 86_400 / DAYS_PER_YEAR
    after = ts_close > split_ns
    row: dict[str, Any] = {"name": case.name, "what": case.what, "runs_live": case.runs_live}
    if not (equity > 0).all():
        return row | {"sharpe": None, "ruined": True}
    returns = daily(ts_close, equity, CASH)
    late = daily(ts_close[after], equity[after], float(equity[~after][-1]) if (~after).any() else CASH)
    early = returns[: len(returns) - len(late)]
    low, high = sharpe_interval(returns, seed)
    held_out = np.append(equity[~after][-1:], equity[after])
    return row | {
        "cagr": annual_growth(CASH, float(equity[-1]), years), "sharpe": _plain(sharpe_ratio(returns, DAYS_PER_YEAR)),
        "low": low, "high": high, "volatility": float(returns.std() * math.sqrt(DAYS_PER_YEAR)),
        "max_drawdown": max_drawdown(equity), "turnover": traded / float(equity.mean()) / years,
        "costs_a_year": paid / float(equity.mean()) / years,
        "research_sharpe": _plain(sharpe_ratio(early, DAYS_PER_YEAR)) if len(early) > 30 else None,
        "held_out_sharpe": _plain(sharpe_ratio(late, DAYS_PER_YEAR)) if len(late) > 30 else None,
        "held_out_drawdown": max_drawdown(held_out) if len(held_out) > 1 else None,
    }  # fmt: skip


def simulated(config: BacktestConfig, bars: BarTable, funding: F8 | None) -> SimResult:
    """Return what a built-in strategy does, without judging it: what was tried only has to be counted."""
    resolved = resolve(config, bars.interval_s, bars.symbols, has_volume(bars))
    scan = scan_of(bars, funding, resolved, config.cash)
    if resolved.params.sleeve == Sleeve.EXTERNAL:
        scan_portfolio(scan, resolved.params, resolved.user_params, bars.symbols)
    else:
        scan.advance(len(bars.ts_open))
    return scan.result()


def _row_of_run(case: Case, bars: BarTable, result: SimResult, split_ns: int, seed: int) -> dict[str, Any]:
    money, fills = result.account.money[0], result.fills
    paid = float(money["fees"]) + float(money["slippage"])
    traded = float(np.sum(np.abs(fills.qty) * fills.px))
    return row_of(case, bars.ts_close, result.track.equity, split_ns, paid, traded, seed)


def _holding(bars: BarTable, symbol: str, split_ns: int, seed: int) -> dict[str, Any] | None:
    """Return the line of holding one symbol, as spot: bought once with all cash, 5 bp paid, never sold, no funding."""
    if symbol not in bars.symbols:
        return None
    closes = bars.close_px[:, bars.symbols.index(symbol)]
    there = np.isfinite(closes)
    equity = CASH * (1.0 - 0.0005) * closes[there] / closes[there][0]
    case = Case(f"{symbol.removesuffix('USDT')} hold, spot", "bought once", "", {}, False)
    return row_of(case, bars.ts_close[there], equity, split_ns, CASH * 0.0005, CASH, seed)


def count_tried(
    config: BacktestConfig, bars: BarTable, funding: F8 | None, home: Path
) -> tuple[int, dict[str, F8]]:  # fmt: skip
    """Run what was tried again, put it, what is gone and what was tried of trend into the ledger.

    Returns
    -------
    tried : int
        How many.
    shared : dict of str to (T,) float64
        Equity of each way of sharing that was tried.
    """
    shared: dict[str, F8] = {}
    ends = bars.ts_close[day_ends(bars.ts_close)]
    trials = [
        *without_curve("draft", declared_trials.PORTFOLIO_GONE),
        *without_curve("trend", len(declared_trials.TREND)),
    ]
    for number, params in enumerate(declared_trials.PORTFOLIO):
        result = simulated(config.model_copy(update={"params": params}), bars, funding)
        returns = daily(bars.ts_close, result.track.equity, CASH)
        if "sharing" in params:
            shared[params["sharing"]] = result.track.equity
        trials.append(Trial(f"tried {number}", sharpe_ratio(returns, 1.0), returns, ends, DAYS_PER_YEAR))
    ledger = Ledger(home)
    ledger.know(bars)
    ledger.record_many(bars.fingerprint, trials)
    return len(trials), shared


def ways_of(shared: dict[str, F8], ts_close: I8, split_ns: int, seed: int) -> list[dict[str, Any]]:
    """Return what each way of sharing did before the end of research; nothing after it is looked at.

    Parameters
    ----------
    shared : dict of str to (T,) float64, ccy
        Equity of each way, the default first.

    Returns
    -------
    list of dict
        ``sharing, sharpe, low, high, cagr, max_drawdown``, and ``beats_default``: whether its Sharpe ratio is above the
        default's in more than 95 % of redrawn histories, the number tried counted. Only then may it become the default.
    """
    early, found = ts_close <= split_ns, []
    default = daily(ts_close[early], next(iter(shared.values()))[early], CASH)
    for place, (sharing, equity) in enumerate(shared.items()):
        returns = daily(ts_close[early], equity[early], CASH)
        low, high = sharpe_interval(returns, seed)
        found.append({
            "sharing": sharing, "sharpe": _plain(sharpe_ratio(returns, DAYS_PER_YEAR)), "low": low, "high": high,
            "cagr": annual_growth(CASH, float(equity[early][-1]), len(returns) / DAYS_PER_YEAR),
            "max_drawdown": max_drawdown(equity[early]),
            "beats_default": None if place == 0 else better(returns, default, len(shared) - 1),
        })  # fmt: skip
    return found


def told_over(bars: BarTable, funding: F8 | None, params: dict[str, Any]) -> tuple[Told, PortfolioRunner]:
    """Return what the portfolio strategy says over bars with default settings, and the strategy after them."""
    interval = {3600: "1h", 60: "1m", 86_400: "1d", 14_400: "4h", 900: "15m", 300: "5m", 1800: "30m"}
    settings = SystemConfig(decision_interval=interval.get(bars.interval_s, "1h"))
    runner = PortfolioRunner(settings.params(), params, bars.symbols)
    return runner.advance(bars.ts_close, bars.close_px, funding), runner


def _over(ts_close: I8, equity: F8, first: int, last: int) -> float | None:
    rows = np.flatnonzero((ts_close > first) & (ts_close <= last))
    if len(rows) == 0 or rows[0] == 0:
        return None
    return float(equity[rows[-1]] / equity[rows[0] - 1] - 1.0)


def crises_of(bars: BarTable, told: Told, portfolio: F8, trend: F8) -> list[dict[str, Any]]:
    """Return what the hedge, the portfolio, trend alone and Bitcoin did in every crisis that the bars cover."""
    paid = np.cumsum(told.net[:, TAIL] * told.share[:, TAIL])
    btc, found, ts = coin_column(bars.symbols, "BTC"), [], bars.ts_close
    for name, begin, end in CRISES:
        first, last = nanoseconds(begin), nanoseconds(end)
        rows = np.flatnonzero((ts > first) & (ts <= last))
        if len(rows) == 0 or rows[0] == 0 or last > ts[-1] + 86_400 * NS_PER_S:
            continue
        found.append({
            "crisis": name, "begin": begin, "end": end, "tail": float(paid[rows[-1]] - paid[rows[0] - 1]),
            "portfolio": _over(ts, portfolio, first, last), "trend": _over(ts, trend, first, last),
            "btc": None if btc is None else _over(ts, bars.close_px[:, btc], first, last),
        })  # fmt: skip
    return found


def tail_of(told: Told, ts_close: I8) -> dict[str, Any]:
    """Return what the tail hedge earned or cost, a year and in each calendar year, as fractions of equity."""
    earned = told.net[:, TAIL] * told.share[:, TAIL]
    year = ts_close.astype("datetime64[ns]").astype("datetime64[Y]").astype(int) + 1970
    by_year = {int(each): float(earned[year == each].sum()) for each in np.unique(year)}
    years = (ts_close[-1] - ts_close[0]) / NS_PER_S / 86_400 / DAYS_PER_YEAR
    return {"a_year": float(earned.sum() / years), "by_year": by_year, "active_share": float(np.mean(earned != 0.0))}


def goals_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return whether the portfolio reaches what was asked, over the whole time and in what was held out."""
    found = []
    for row in rows[:2]:
        for goal, name, passes in (
            (f"net Sharpe ratio at least {GOAL_SHARPE:g}", "sharpe", lambda value: value >= GOAL_SHARPE),
            (f"drawdown below {GOAL_DRAWDOWN:.0%}", "max_drawdown", lambda value: value < GOAL_DRAWDOWN),
            (f"held out: Sharpe ratio at least {GOAL_SHARPE:g}", "held_out_sharpe", lambda value: value >= GOAL_SHARPE),
            (f"held out: drawdown below {GOAL_DRAWDOWN:.0%}", "held_out_drawdown", lambda value: value < GOAL_DRAWDOWN),
        ):
            value = row.get(name)
            verdict = None if value is None else bool(passes(value))
            found.append({"of": row["name"], "goal": goal, "found": value, "passes": verdict})
    return found


def run_reference(
    bars: BarTable, funding: Path | None, home: Path, split_ns: int, report: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Run the reference portfolio and everything that it is compared with.

    Parameters
    ----------
    bars : BarTable
        With or without spot legs; without any the pairs sleep.
    funding : Path or None
        Folder of rates; None: neither charged nor known, so carry and pairs sleep.
    home : Path
        Data folder of the ledger of trials; a fresh one counts only what this function runs.
    split_ns : int
        Research ends here.
    report : callable
        Told what is being done.
    """
    seed = int(bars.fingerprint[:8], 16)
    base = BacktestConfig(bars=bars, strategy="portfolio", funding=funding, cash=CASH, home=home, panel="full")
    rates = None if funding is None else load_funding(funding, bars)
    report("what was tried before")
    tried, shared = count_tried(base, bars, rates, home)
    rows, curves = [], {}
    for case in CASES[1:]:
        report(case.name)
        asked = base.model_copy(update={"strategy": case.strategy, "params": case.params})
        result = simulated(asked, bars, rates)
        curves[case.name] = result.track.equity
        rows.append(_row_of_run(case, bars, result, split_ns, seed))
    report(f"{CASES[0].name}, with the whole honesty panel")
    full = run_backtest(base)
    rows.insert(0, _row_of_run(CASES[0], bars, full.simulation, split_ns, seed))
    for symbol in ("BTCUSDT", "ETHUSDT"):
        held = _holding(bars, symbol, split_ns, seed)
        rows += [held] if held else []
    report("evidence")
    told, runner = told_over(bars, rates, {})
    learned, learner = told_over(bars, rates, {"sharing": ADAPTIVE})
    moments, days = by_day(bars.ts_close, learned.net)
    shares = learned.share[day_ends(bars.ts_close)]
    optimisers, why = optimised(moments // 1_000_000, days, shares, learner)
    equity = full.simulation.track.equity
    panel = full.to_json(max_points=700)
    return {
        "symbols": [symbol for symbol in bars.symbols if not symbol.endswith(SPOT_SUFFIX)],
        "pairs": [symbol for symbol in bars.symbols if symbol.endswith(SPOT_SUFFIX)],
        "first_ts_ms": int(bars.ts_open[0]) // 1_000_000, "last_ts_ms": int(bars.ts_close[-1]) // 1_000_000,
        "bars": len(bars.ts_open), "interval_s": bars.interval_s, "funding": funding is not None,
        "split_ms": split_ns // 1_000_000, "tried": tried, "trials": full.trials, "rows": rows,
        "goals": goals_of(rows), "panel": panel["honesty"], "canaries": full.canaries, "rules": full.rules,
        "metrics": panel["metrics"], "equity": panel["equity"], "sensitivity": panel["sensitivity"],
        "evidence": evidence(told, bars.ts_close, runner, split_ns) | {"learning": learning(days, shares, learner)},
        "crises": crises_of(bars, told, equity, curves["trend alone"]), "tail": tail_of(told, bars.ts_close),
        "elapsed_s": full.elapsed_s, "optimisers": optimisers, "why_no_optimisers": why,
        "ways": ways_of({DEFAULT_SHARING: equity, **shared}, bars.ts_close, split_ns, seed),
        "sharing": record_over(runner.sharer.days.before(int(split_ns // NS_PER_DAY))),
    }  # fmt: skip

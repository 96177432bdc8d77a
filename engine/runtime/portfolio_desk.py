"""What the Portfolio page asks of the sleeves: multipliers now and through time, and the newest comparison."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.domain import F8
from engine.errors import CommandRefused, ConfigError, DataError
from engine.research.goal_answer import SEED_EQUITY
from engine.research.loading import BarTable, align
from engine.research.optimiser_evidence import COST
from engine.research.own_costs import ASSUMED, own_costs
from engine.strategies import portfolio
from engine.strategies.sharing import BAR, MIN_SCORED

if TYPE_CHECKING:
    from engine.runtime.engine import Engine
    from engine.runtime.jobs import Jobs
    from storage.database import Database

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
KIND = "portfolio"
SHOWN_OF_RUN = ("run_id", "status", "progress", "error", "ts_started", "ts_finished")
SHOWN_DECISIONS = 500
POINTS = 120


class PortfolioDesk:
    """Answers ``portfolio``; ``portfolio.compare`` starts a comparison and ``portfolio.cancel`` ends it.

    Parameters
    ----------
    engine : Engine
    jobs : Jobs
        Runs the comparison in a process of its own.
    """

    def __init__(self, engine: Engine, jobs: Jobs) -> None:
        self._engine, self._jobs = engine, jobs
        self._starting = asyncio.Lock()
        self.questions: dict[str, Handler] = {"portfolio": self._now}
        self.orders: dict[str, Handler] = {"portfolio.compare": self._compare, "portfolio.cancel": self._cancel}

    async def _now(self, body: dict[str, Any]) -> dict[str, Any]:
        loop = self._engine.loop
        told = await asyncio.to_thread(_answer, self._engine.store, loop.config.strategy, loop.began_ns)
        return told | {"comparison": self._newest(), "sharing": self._sharing()}

    def _sharing(self) -> dict[str, Any]:
        """Return who shares the risk out, see ``PortfolioSleeve.sharing``, and what may be chosen.

        ``now`` is None while the portfolio strategy is not at work; ``wanted`` is None while it is not chosen, and
        differs from ``now`` while a change is on its way; ``own``: all parameters of the strategy, as chosen.
        """
        wanted, decider = self._engine.wanted_config, self._engine.loop.decider
        chosen = portfolio.PortfolioParams(**wanted.strategy_params) if wanted.strategy == portfolio.NAME else None
        return {
            "now": None if decider is None or decider.portfolio is None else decider.portfolio.sharing(),
            "wanted": None if chosen is None else chosen.sharing, "choices": list(portfolio.SHARINGS),
            "own": None if chosen is None else wanted.strategy_params, "bar": BAR, "needed": MIN_SCORED,
        }  # fmt: skip

    def _newest(self) -> dict[str, Any] | None:
        """Return the newest comparison, finished or not; None before the first."""
        row = self._jobs.newest(KIND)
        return None if row is None else {name: row.get(name) for name in SHOWN_OF_RUN}

    async def _compare(self, body: dict[str, Any]) -> dict[str, Any]:
        """Start a comparison and return its ``run_id``; while one goes on, that one's."""
        async with self._starting:  # the second of two clicks finds the run of the first
            newest = self._newest()
            if newest is not None and newest["status"] == "running":
                return {"run_id": newest["run_id"]}
            config = self._engine.loop.config
            bars, rates = await asyncio.to_thread(_hourly, self._engine.store, config.symbols)
            cost, origin = await asyncio.to_thread(shifting_cost, self._engine, bars)
            inputs = {
                "bars": bars, "cost": cost, "rates": rates,
                "risk_params": config.model_copy(update={"decision_interval": "1h"}).params(),
                "own": config.strategy_params if config.strategy == portfolio.NAME else {},
            }  # fmt: skip
            return await self._jobs.start_given(KIND, {"symbols": list(bars.symbols), "costs": origin}, inputs)

    async def _cancel(self, body: dict[str, Any]) -> dict[str, Any]:
        newest = self._newest()
        if newest is None or newest["status"] != "running":
            raise CommandRefused("No comparison is going on, so there is nothing to cancel.")
        return self._jobs.cancel(newest["run_id"])


def shifting_cost(engine: Engine, bars: BarTable) -> tuple[float, str]:
    """Return what trading one unit costs, by our own fills where there are enough, and where that is from."""
    equity = engine.loop.equity_now()
    try:
        own = own_costs(engine.store.path.parent)
    except ConfigError:
        return COST, ASSUMED
    return own.turnover_rate(bars.close_px, bars.volume, equity if equity > 0.0 else SEED_EQUITY), own.origin


def cost_of_plans(engine: Engine) -> float:
    """Return what an optimiser's plans charge for shifting between sleeves, as the comparison does."""
    try:
        return shifting_cost(engine, _hourly(engine.store, engine.loop.config.symbols)[0])[0]
    except CommandRefused:  # no hourly candles yet
        return COST


def _answer(store: Database, strategy: str, began_ns: int) -> dict[str, Any]:
    rows = store.rows(  # of this account: what sleeves earned in an earlier one is not its money
        "SELECT ts_close, ts_decided, detail FROM decisions WHERE strategy = ? AND ts_decided >= ? "
        "ORDER BY decision_id DESC LIMIT ?",
        [portfolio.NAME, began_ns, SHOWN_DECISIONS],
    )
    told = [(row, json.loads(row["detail"]).get("portfolio") or {}) for row in rows]
    told = [(row, said["sleeves"]) for row, said in told if said.get("sleeves")]
    reports = store.rows(
        "SELECT ts_started, config, result FROM runs WHERE kind = ? AND status = 'done' "
        "ORDER BY ts_started DESC LIMIT 1",
        [KIND],
    )
    return {"strategy": strategy, "in_force": strategy == portfolio.NAME} | sleeves_now(told) | {
        "report": None if not reports else json.loads(reports[0]["result"]) | {
            "ts": reports[0]["ts_started"], "costs": json.loads(reports[0]["config"]).get("costs", ASSUMED),
        },
    }  # fmt: skip


def sleeves_now(told: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Return what the newest decisions say of the sleeves.

    Parameters
    ----------
    told : list of (row of ``decisions``, the record's sleeves)
        Newest first.

    Returns
    -------
    dict
        ``ts_decided`` ns, None without a decision; ``sleeves``: rows of ``name, share, awake, gross`` (of its part in
        the portfolio, x equity), ``earned`` (summed over the shown decisions, share of equity); ``since`` ns;
        ``through_time``: rows of ``ts`` ns and each sleeve's multiplier.
    """
    if not told:
        return {"ts_decided": None, "since": None, "decisions": 0, "sleeves": [], "through_time": []}
    newest, now = told[0]
    rows = [
        {
            "name": name, "share": said["share"], "awake": said["awake"],
            "gross": float(np.abs(said["held"]).sum()) * said["share"],
            "earned": sum(each[name]["net"] * each[name]["share"] for _, each in told if name in each),
        }
        for name, said in now.items()
    ]  # fmt: skip
    every = max(1, len(told) // POINTS)
    through = [
        {"ts": row["ts_close"]} | {name: said["share"] for name, said in each.items()} for row, each in told[::every]
    ]
    return {
        "ts_decided": newest["ts_decided"], "since": told[-1][0]["ts_close"], "decisions": len(told), "sleeves": rows,
        "through_time": through[::-1],
    }  # fmt: skip


def _hourly(store: Database, symbols: tuple[str, ...]) -> tuple[BarTable, F8 | None]:
    """Return the recorded hourly candles and funding of the symbols that have any.

    Raises
    ------
    CommandRefused
        There are none yet.
    """
    series = []
    for symbol in symbols:
        table = store.read(
            "SELECT ts_open, open_px, high_px, low_px, close_px, volume FROM bars "
            "WHERE symbol = ? AND interval = '1h' ORDER BY ts_open", [symbol],
        )  # fmt: skip
        if table.num_rows >= 2:
            values = np.column_stack([table.column(index).to_numpy() for index in range(1, 6)])
            series.append((symbol, table.column(0).to_numpy(), values))
    try:
        bars = align(series) if series else None
    except DataError as error:
        raise CommandRefused(f"The hourly candles on the record cannot be used: {error}.") from error
    if bars is None:
        raise CommandRefused("There are no hourly candles of the traded symbols on the record yet. Try again later.")
    rates = np.zeros((len(bars.ts_open), len(bars.symbols)))
    for row in store.rows("SELECT symbol, ts_funding, rate FROM funding WHERE rate IS NOT NULL"):
        at = int(np.searchsorted(bars.ts_close, row["ts_funding"]))
        if row["symbol"] in bars.symbols and at < len(rates) and row["ts_funding"] > bars.ts_open[0]:
            rates[at, bars.symbols.index(row["symbol"])] += row["rate"]
    return bars, rates if rates.any() else None

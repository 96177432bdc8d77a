"""The parity certificate: one tape through backtest, paper and live, decision logs compared, outcome signed.

    python -m engine.certify --home HOME --config JSON

Paper and live are the engine itself, in both modes, each trading the tape at a practice exchange of its own whose time
stands still between bars. Nothing of the trading engine is touched; the folders are temporary and the keys are the
throw-away exchanges'. The last line printed is the certificate as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from engine.domain import INTERVAL_S, NS_PER_MS, Instrument, Mode
from engine.errors import ConfigError, InvariantBroken, WorkstationError
from engine.research.certificate import issue, version_in_force
from engine.research.loading import BarTable, align
from engine.research.parity import Backtester, Judged, Played, between
from engine.research.user_scan import columns_of
from engine.runtime.decider import Decider
from engine.runtime.engine import Engine
from engine.runtime.kernels import no_need_to_compile
from engine.runtime.ladder import override
from engine.runtime.session import open_session
from engine.settings import SystemConfig
from engine.strategies.versions import is_file, keep, kept_path
from engine.venues.aster import AsterVenue
from engine.venues.aster_client import client_config
from engine.venues.sandbox.contracts import CONTRACTS
from engine.venues.sandbox.market.assets import ASSETS
from engine.venues.sandbox.market.history import build_history
from engine.venues.sandbox.options import SandboxOptions
from engine.venues.sandbox.server import SandboxServer
from storage.database import Database

N_PLAYED = 40
SEARCHED_BARS = 3_000  # for the stretch with most trades
MAX_SYMBOLS = 3
MINUTE_MS = 60_000
START_MS = 1_767_225_600_000  # 2026-01-01, a whole hour
SEED = 11
SPEED = 60.0  # how the engine's clocks are told that market time is not wall time
STEP_S, SETTLE_S = 30.0, 20.0
REASON = "a certificate's own throw-away account at a practice exchange"


class Tape(NamedTuple):
    """Candles of the practice exchange's simulated market, on disk as a replay reads them."""

    folder: Path
    start_ms: int  # when the first decision's bar closes
    n_history: int  # closed bars before that moment


def tape_config(config: SystemConfig) -> SystemConfig:
    """Return the settings under which the tape is traded.

    The strategy's own parameters stay, counted in bars: hours become minutes of the tape where the interval is an hour.
    What only concerns execution is set so that every decision is carried out at once: no waiting for makers, no stops,
    no limit on price age (time stands still), no band of no trade, because a tape without trades would prove little.
    """
    scale = 60.0 / INTERVAL_S[config.decision_interval]
    traded = tuple(symbol for symbol in config.symbols if symbol in CONTRACTS)[:MAX_SYMBOLS]
    if not traded:
        raise ConfigError(
            f"none of {', '.join(config.symbols)} is listed at the practice exchange: {', '.join(CONTRACTS)}"
        )
    return config.model_copy(update={
        "symbols": traded, "decision_interval": "1m",
        "trend_horizons_hours": tuple(hours * scale for hours in config.trend_horizons_hours),
        "volatility_horizon_hours": config.volatility_horizon_hours * scale, "use_maker_orders": False,
        "use_protective_stops": False, "use_dead_man_switch": False, "max_price_age_s": 3600.0, "rebalance_band": 0.0,
        "initial_balance": 10_000.0, "use_gate_daily_loss": True, "use_gate_drawdown": True, "use_trend": True,
    })  # fmt: skip


def simulated_minutes(symbols: tuple[str, ...]) -> BarTable:
    """Return fifteen days of minutes of the practice exchange's simulated market."""
    history = build_history({s: ASSETS[s] for s in symbols}, {s: CONTRACTS[s] for s in symbols}, START_MS, SEED)
    series = []
    for symbol in symbols:
        bars = history.minutes[symbol]
        values = np.column_stack([bars[name] for name in ("open", "high", "low", "close", "volume")])
        series.append((symbol, bars["open_ms"] * NS_PER_MS, values))
    return align(series)


def busiest(bars: BarTable, n_history: int, backtester: Backtester) -> int:
    """Return the first decision of the stretch in which a backtest trades most: a tape without trades proves little."""
    last = len(bars.ts_open) - N_PLAYED - 2
    first = max(n_history - 1, last - SEARCHED_BARS)
    if first >= last:
        return last
    filled = np.zeros(len(bars.ts_open))
    np.add.at(filled, backtester.fills(bars, first), 1.0)
    trades = np.convolve(filled, np.ones(N_PLAYED), mode="valid")
    return first + int(np.argmax(trades[first + 1 : last + 1]))


def write_tape(folder: Path, bars: BarTable, first: int, n_history: int) -> Tape:
    """Write the bars around the first decision, ``n_history`` up to it and those to be played after it."""
    begin = max(first + 1 - n_history, 0)
    part = slice(begin, first + N_PLAYED + 3)
    folder.mkdir()
    for index, symbol in enumerate(bars.symbols):
        columns: dict[str, Any] = {"timestamp": pa.array(bars.ts_open[part] // NS_PER_MS, pa.timestamp("ms", tz="UTC"))}
        names = ("open", "high", "low", "close", "volume")
        columns |= {name: column[part, index] for name, column in zip(names, columns_of(bars), strict=True)}
        pa_parquet.write_table(pa.table(columns), folder / f"{symbol}.parquet")
    return Tape(folder, int(bars.ts_close[first]) // NS_PER_MS, first + 1 - begin)


async def play(mode: Mode, tape: Tape, config: SystemConfig, folder: Path, strategy: Path | None) -> Played:
    """Trade the tape's end through an engine in one mode and return what it recorded."""
    folder.mkdir()
    if strategy is not None:
        config = config.model_copy(update={"strategy": keep(folder, str(strategy))})
    server = SandboxServer(SandboxOptions(
        market="replay", path=str(tape.folder), symbols=config.symbols, manual=True, start_ms=tape.start_ms,
    ))  # fmt: skip
    await server.start()
    store = Database(folder / f"{mode}.duckdb")
    venue = AsterVenue(client_config(private_key=server.private_key, base_url=server.base_url, ws_url=server.ws_url))
    no_need_to_compile(store)
    if mode == Mode.LIVE:
        override(store, "full", REASON, "certify")  # its share of capital must not be the ladder's of a real account
    session = open_session(store, mode, "replay", SPEED, f"certify-{mode}", time.time_ns())
    engine = Engine(session, config, venue, store, new_market=True)
    try:
        await _play_bars(engine, server, tape.start_ms)
    finally:
        await engine.stop()
        store.flush()
        details = store.rows("SELECT detail FROM decisions ORDER BY decision_id")
        candles = store.rows("SELECT * FROM bars WHERE interval = '1m' ORDER BY ts_open")
        store.close()
        await server.stop()
    return Played(str(mode), _bars(candles, config.symbols), [json.loads(row["detail"]) for row in details])


async def _play_bars(engine: Engine, server: SandboxServer, start_ms: int) -> None:
    await engine.start()
    await _until(lambda: engine.loop.last_decision is not None, STEP_S, "the first decision")
    await _settled(engine)
    async with aiohttp.ClientSession() as http:
        for bar in range(1, N_PLAYED + 1):
            async with http.post(f"{server.base_url}/sandbox/clock", json={"advance_ms": MINUTE_MS}) as answer:
                if answer.status != 200:
                    raise InvariantBroken(f"the tape could not be moved on: {await answer.text()}")
            close_ns = (start_ms + MINUTE_MS * bar) * NS_PER_MS
            await _until(
                lambda: (engine.loop.last_decision or {}).get("ts_close") == close_ns,  # noqa: B023
                STEP_S, f"the decision of bar {bar}",
            )  # fmt: skip
            await _settled(engine)


async def _until(condition: Any, within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise InvariantBroken(f"{what} did not come within {within_s:.0f} s")
        await asyncio.sleep(0.002)


async def _settled(engine: Engine) -> None:
    """Wait until every target is reached: what is left is less than the venue's smallest step or order."""
    await _until(lambda: _is_settled(engine), SETTLE_S, "the carrying out of a decision")


def _is_settled(engine: Engine) -> bool:
    loop = engine.loop
    for symbol, target in loop.worker.targets.items():
        instrument, leaves = loop.executor.instruments[symbol], target.target_qty - loop.account.position(symbol).qty
        smallest = max(instrument.lot_size, instrument.min_notional / max(loop.market.mid_px(symbol), 1e-9))
        if abs(leaves) > smallest * 1.05 or loop.executor.open_orders(symbol) or loop.executor.awaits_fill(symbol):
            return False
    return True


def _bars(candles: list[dict[str, Any]], symbols: tuple[str, ...]) -> BarTable:
    series = []
    for symbol in symbols:
        rows = [row for row in candles if row["symbol"] == symbol]
        values = [[row[f"{name}_px"] for name in ("open", "high", "low", "close")] + [row["volume"]] for row in rows]
        series.append((symbol, np.array([row["ts_open"] for row in rows], dtype=np.int64), np.array(values)))
    return align(series)


def _instruments(symbols: tuple[str, ...]) -> dict[str, Instrument]:
    return {
        symbol: Instrument(
            symbol, "", "USDT", float(c.tick_size), float(c.lot_size), float(c.min_qty), float(c.max_qty),
            float(c.max_market_qty), float(c.min_notional), 0.02, 20.0, 0.0, 0.0004,
        )
        for symbol, c in CONTRACTS.items()
        if symbol in symbols
    }  # fmt: skip


async def certify(home: Path, config: SystemConfig, strategy: Path | None) -> dict[str, Any]:
    """Play one tape through all paths, compare, and return the signed certificate.

    Parameters
    ----------
    home : Path
        Data folder; the certificate and its key are kept there.
    config : SystemConfig
        The settings whose strategy is certified.
    strategy : Path or None
        The file of a user's strategy; None for a built-in one.
    """
    began = time.monotonic()
    traded = tape_config(config)
    decider = Decider(traded, _instruments(traded.symbols))
    backtester = Backtester(traded, decider.table, strategy)
    wanted = max(decider.warm_up_bars if strategy is None else _history_of(strategy, traded), 2)
    with tempfile.TemporaryDirectory(prefix="astrolabe-parity-") as name:
        folder = Path(name)
        bars = await asyncio.to_thread(simulated_minutes, traded.symbols)
        first = await asyncio.to_thread(busiest, bars, wanted, backtester)
        tape = write_tape(folder / "tape", bars, first, wanted)
        played = await asyncio.gather(
            *(play(mode, tape, traded, folder / str(mode), strategy) for mode in (Mode.PAPER, Mode.LIVE))
        )
    judged = {path.name: backtester.judge(path) for path in played}
    compared, apart = between(*played)
    version = version_in_force(config, strategy)
    content = version | _outcome(judged, compared, apart) | {
        "strategy": config.strategy if strategy is None else strategy.name, "ts": time.time_ns(),
        "tape": {"symbols": list(traded.symbols), "bars_before": tape.n_history, "bars_played": N_PLAYED, "seed": SEED},
        "elapsed_s": round(time.monotonic() - began, 1),
    }  # fmt: skip
    return issue(home, content)


def _history_of(strategy: Path, config: SystemConfig) -> int:
    from engine.strategies.user import UserRunner

    return UserRunner(strategy, config.strategy_params, config.symbols).history


def _outcome(judged: dict[str, Judged], compared: int, apart: list[str]) -> dict[str, Any]:
    sentences = [sentence for path in judged.values() for sentence in path.differences] + apart[:20]
    differences = sum(path.n_differences for path in judged.values()) + len(apart)
    idle = [name for name, path in judged.items() if path.traded == 0]
    if idle:
        sentences.append(f"nothing was traded on {' and '.join(idle)}: such a tape proves nothing. Does it ever trade?")
    own = sum(path.own_account for path in judged.values())
    return {
        "status": "pass" if differences == 0 and not idle else "fail",
        "decisions": sum(path.decisions for path in judged.values()), "differences": differences,
        "sentences": sentences, "own_account": own, "paper_and_live": compared,
        "paths": {name: path.listed() for name, path in judged.items()},
    }  # fmt: skip


def certify_now(home: Path, config: SystemConfig) -> dict[str, Any]:
    """Certify the strategy that settings name; a file is kept first, so that what is certified is what will trade."""
    path = kept_path(home, keep(home, config.strategy)) if is_file(config.strategy) else None
    return asyncio.run(certify(home, config, path))


def main() -> None:
    """Certify what the command line names and print the certificate; a failure is a sentence and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--config", required=True, help="Settings as JSON")
    chosen = parser.parse_args()
    os.nice(5)
    try:
        outcome = certify_now(chosen.home, SystemConfig.model_validate_json(chosen.config))
    except (WorkstationError, ValueError) as trouble:
        sys.stdout.write(json.dumps({"error": str(trouble)}) + "\n")
        sys.exit(1)
    sys.stdout.write(json.dumps(outcome) + "\n")


if __name__ == "__main__":
    main()

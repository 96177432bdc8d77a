"""What the engine answers of the sleeves: from decisions and from its own candles."""

import asyncio
import json
from types import SimpleNamespace

import numpy as np
import pytest
from research_bars import walk

from engine.domain import NS_PER_DAY
from engine.errors import CommandRefused, DataError
from engine.research.sleeve_report import record_over, sleeve_report
from engine.runtime.jobs import Jobs
from engine.runtime.portfolio_desk import PortfolioDesk, _answer, _hourly, cost_of_plans, sleeves_now
from engine.runtime.portfolio_sleeve import PortfolioSleeve
from engine.runtime.run_worker import WORK
from engine.settings import SystemConfig
from engine.strategies.sharing import Days
from storage.database import Database


@pytest.fixture
def store(tmp_path):
    made = Database(tmp_path / "paper.duckdb")
    yield made
    made.close()


def recorded(store, bars):
    """Put bars on the record as hourly candles."""
    rows = [
        {"symbol": symbol, "interval": "1h", "ts_open": int(bars.ts_open[t]), "open_px": bars.open_px[t, i],
         "high_px": bars.high_px[t, i], "low_px": bars.low_px[t, i], "close_px": bars.close_px[t, i], "volume": 1.0}
        for i, symbol in enumerate(bars.symbols) for t in range(len(bars.ts_open))
    ]  # fmt: skip
    store.append_durable("bars", rows).result(30)
    return bars


def said(share, net=0.001):
    return {"trend": {"share": share, "net": net, "awake": True, "held": [0.5, -0.25]},
            "tail": {"share": 0.25, "net": -0.0004, "awake": False, "held": [0.0, 0.0]}}  # fmt: skip


def test_decisions_tell_what_every_sleeve_has_and_earned():
    told = [({"ts_close": 10 - k, "ts_decided": 10 - k}, said(0.4 + 0.1 * k)) for k in range(3)]
    found = sleeves_now(told)
    trend, tail = found["sleeves"]
    assert trend["share"] == 0.4
    assert trend["gross"] == pytest.approx(0.75 * 0.4)
    assert trend["earned"] == pytest.approx(0.001 * (0.4 + 0.5 + 0.6))
    assert tail["earned"] == pytest.approx(3 * -0.0004 * 0.25)
    assert [row["ts"] for row in found["through_time"]] == [8, 9, 10]
    assert sleeves_now([])["ts_decided"] is None


def test_what_sleeves_earned_in_an_earlier_account_is_not_of_this_one(store):
    rows = [{"decision_id": k, "ts_close": k, "ts_decided": k, "strategy": "portfolio",
             "detail": json.dumps({"portfolio": {"sleeves": said(0.5)}})} for k in (1, 2, 3)]  # fmt: skip
    store.append("decisions", rows)
    store.flush()
    assert _answer(store, "portfolio", 0)["decisions"] == 3
    found = _answer(store, "portfolio", 3)
    assert (found["decisions"], found["since"]) == (1, 3)
    assert found["sleeves"][0]["earned"] == pytest.approx(0.0005)


def test_a_record_without_portfolio_or_candles_says_so(store):
    found = _answer(store, "trend", 0)
    assert (found["in_force"], found["sleeves"], found["report"]) == (False, [], None)
    with pytest.raises(CommandRefused, match="no hourly candles"):
        _hourly(store, ("BTCUSDT",))


def test_the_record_gives_candles_and_funding(store):
    bars = recorded(store, walk(50, symbols=("BTCUSDT", "ETHUSDT"), seed=1))
    settled = {"symbol": "ETHUSDT", "ts_funding": int(bars.ts_close[20]), "rate": 0.0003, "mark_px": 1.0}
    store.append_durable("funding", [settled]).result(30)
    found, rates = _hourly(store, ("BTCUSDT", "ETHUSDT", "NEWUSDT"))
    assert found.symbols == ("BTCUSDT", "ETHUSDT")
    assert np.array_equal(found.close_px, bars.close_px)
    assert rates[20].tolist() == [0.0, 0.0003]
    assert rates.sum() == 0.0003


async def test_a_comparison_is_a_job_that_is_watched_cancelled_and_never_run_twice(store, tmp_path):
    jobs = Jobs(store, tmp_path / "runs")
    config = SystemConfig(symbols=("AUSDT", "BUSDT"))
    loop = SimpleNamespace(began_ns=0, config=config, equity_now=lambda: 10_000.0, decider=None)
    engine = SimpleNamespace(store=store, loop=loop, wanted_config=config)
    desk = PortfolioDesk(engine, jobs)
    assert (await desk.questions["portfolio"]({}))["comparison"] is None
    with pytest.raises(CommandRefused, match="nothing to cancel"):
        await desk.orders["portfolio.cancel"]({})
    recorded(store, walk(600, symbols=("AUSDT", "BUSDT"), seed=1))
    first, second = await asyncio.gather(*(desk.orders["portfolio.compare"]({}) for _ in range(2)))
    assert first == second
    assert (await desk.questions["portfolio"]({}))["comparison"]["status"] == "running"
    await desk.orders["portfolio.cancel"]({})
    while jobs.status(first["run_id"])["status"] == "running":
        await asyncio.sleep(0.05)
    told = await desk.questions["portfolio"]({})
    assert (told["comparison"]["status"], told["report"]) == ("cancelled", None)


def test_the_worker_of_a_comparison_tells_its_progress_and_stops_when_asked():
    params = SystemConfig(decision_interval="1h", trend_horizons_hours=(24.0,), volatility_horizon_hours=24.0).params()
    bars = walk(600, symbols=("AUSDT", "BUSDT", "CUSDT", "DUSDT"), seed=4)
    request = {"bars": bars, "rates": None, "risk_params": params, "own": {"sleeves": "trend+tail"}, "cost": 0.0006}
    told = []
    found, metrics = WORK["portfolio"](request, told.append, lambda: False)
    assert (metrics["days"], told[0]) == (found["days"], 0.1)
    with pytest.raises(DataError, match="cancelled"):
        WORK["portfolio"](request, told.append, lambda: True)


def test_a_report_compares_optimisers_once_there_are_days_enough(monkeypatch):
    from engine.research import optimiser_evidence
    from engine.strategies.optimisers import OPTIMISERS, equal, risk_parity

    cheap = {"equal weight": equal, "risk parity": risk_parity}
    monkeypatch.setattr(optimiser_evidence, "OPTIMISERS", cheap)
    params = SystemConfig(decision_interval="1h", trend_horizons_hours=(24.0,), volatility_horizon_hours=24.0).params()
    own = {"sleeves": "trend+momentum+tail", "momentum_hours": 48.0}
    bars = walk(150 * 24, symbols=("AUSDT", "BUSDT", "CUSDT", "DUSDT"), seed=4)
    found = sleeve_report(bars, None, params, own)
    json.dumps(found, allow_nan=False)
    names = [row["name"] for row in found["optimisers"]["rows"]]
    assert names == [
        "equal weight",
        "risk parity",
        "adaptive, learned sleeves only",
        "equal weight, learned sleeves only",
    ]
    assert found["optimisers"]["learned"]["names"] == ["trend", "momentum"]
    assert found["optimisers"]["learned"]["adaptive_beats_equal"] in (True, False)
    assert found["optimisers"]["train_days"] >= 60
    assert found["optimisers"]["first_ts_ms"] - found["first_ts_ms"] > 60 * NS_PER_DAY // 1_000_000
    short = sleeve_report(walk(600, symbols=("AUSDT", "BUSDT", "CUSDT", "DUSDT"), seed=4), None, params, own)
    assert short["optimisers"] is None
    assert "are needed" in short["why"]
    assert len(OPTIMISERS) == 6


def test_plans_charge_what_our_own_fills_say_once_there_are_enough(store, monkeypatch):
    config = SystemConfig(symbols=("AUSDT",))
    engine = SimpleNamespace(store=store, loop=SimpleNamespace(config=config, equity_now=lambda: 5_000.0))
    asked = []

    def rate(close_px, volume, equity):
        asked.append((close_px.shape, equity))
        return 0.0011

    own = SimpleNamespace(turnover_rate=rate, origin="own")
    monkeypatch.setattr("engine.runtime.portfolio_desk.own_costs", lambda home: own)
    assert cost_of_plans(engine) == 0.0006  # no candles
    recorded(store, walk(48, symbols=("AUSDT",), seed=1))
    assert cost_of_plans(engine) == 0.0011
    assert asked == [((48, 1), 5_000.0)]
    monkeypatch.undo()
    assert cost_of_plans(engine) == 0.0006  # no fit in the data folder


async def test_the_desk_says_who_shares_out_now_and_what_was_chosen(store, tmp_path):
    config = SystemConfig(symbols=("AUSDT",), strategy="portfolio", strategy_params={"sharing": "risk-parity"})
    decider = SimpleNamespace(portfolio=PortfolioSleeve(config.params(), config.strategy_params, config.symbols))
    loop = SimpleNamespace(began_ns=0, config=config, equity_now=lambda: 10_000.0, decider=decider)
    desk = PortfolioDesk(SimpleNamespace(store=store, loop=loop, wanted_config=config), Jobs(store, tmp_path / "runs"))
    found = (await desk.questions["portfolio"]({}))["sharing"]
    assert (found["wanted"], found["own"]) == ("risk-parity", {"sharing": "risk-parity"})
    assert (found["now"]["rule"], found["now"]["days"], found["now"]["made"]) == ("equal-weight", 0, None)
    assert found["choices"][0] == "adaptive"
    loop.decider = None
    loop.config = desk._engine.wanted_config = SystemConfig(symbols=("AUSDT",))
    found = (await desk.questions["portfolio"]({}))["sharing"]
    assert (found["now"], found["wanted"], found["own"]) == (None, None, None)


def test_the_record_over_candles_says_what_evidence_would_have_used_and_since_when():
    rng = np.random.default_rng(2)
    net = rng.normal(0.0, 0.01, (150, 2))
    found = record_over(Days(np.arange(18_262, 18_412), net, np.ones((150, 2), dtype=bool)))
    assert (found["rule"], found["changes"]) == ("equal-weight", [{"day": 18_323, "rule": "equal-weight"}])
    assert {row["days"] for row in found["record"]} == {59}  # from the day after the first plan to the newest one
    json.dumps(found, allow_nan=False)
    assert record_over(Days(np.arange(5), net[:5], np.ones((5, 2), dtype=bool)))["rule"] is None

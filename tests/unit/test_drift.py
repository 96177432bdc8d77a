"""The drift meter: a day that went as a backtest assumes has no drift; each thing that goes otherwise is its part."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from engine.core import step as core
from engine.core.account import apply_fill
from engine.core.costs import fee_of, slipped_px
from engine.core.decide import no_limits
from engine.domain import NS_PER_DAY, NS_PER_S, AccountView, InstrumentTable, MarketSlice
from engine.errors import CommandRefused
from engine.research.drift import COSTS, PARTS, Day, Executed, Made, measure
from engine.research.loading import align
from engine.research.simulation import usual_trade
from engine.runtime import evidence_desk
from engine.runtime.drift import FILTERS, drift_rows, measure_day, too_large, unmeasured, yesterday
from engine.settings import SystemConfig
from storage.database import Database

SYMBOLS = ("BTCUSDT", "ETHUSDT")
WARM, TRADED = 150, 200
DAY_NS = 1_767_225_600 * NS_PER_S  # 2026-01-01
SPAN = 60 * NS_PER_S
CONFIG = SystemConfig(
    symbols=SYMBOLS, trend_horizons_hours=(0.2, 0.5), volatility_horizon_hours=0.5, rebalance_band=0.01,
)  # fmt: skip


SLOW = CONFIG.model_copy(
    update={"decision_interval": "4h", "trend_horizons_hours": (48.0, 120.0), "volatility_horizon_hours": 120.0}
)


def candles(seed=4, span=SPAN):
    rng = np.random.default_rng(seed)
    series, n_bars = [], WARM + TRADED + 1
    ts_open = DAY_NS + span * np.arange(-WARM - 1, TRADED, dtype=np.int64)
    for symbol, px in zip(SYMBOLS, (60_000.0, 3_000.0), strict=True):
        close = px * np.exp(np.cumsum(0.0006 * np.sin(np.arange(n_bars) / 15.0) + rng.normal(0, 5e-4, n_bars)))
        open_px = np.concatenate([[px], close[:-1]]) * (1.0 + rng.normal(0, 5e-5, n_bars))
        values = np.column_stack(
            [open_px, np.maximum(open_px, close), np.minimum(open_px, close), close, np.ones(n_bars)]
        )
        series.append((symbol, ts_open, values))
    return align(series)


def traded(bars, refused=(), slip=COSTS.slippage_rate, fee_rate=COSTS.fee_rate, config=CONFIG):
    """Trade the day as the simplest engine would: every decision filled at the next open. Returns decisions and fills.

    On bars in ``refused`` the engine keeps what it has, as under a kill switch.
    """
    params = core.normal_params(config.params())
    state = core.warm_up(core.new_state(2, params), bars.close_px[:WARM], params)
    position, entry, cash = np.zeros(2), np.zeros(2), 10_000.0
    made, executed, waiting, usual = [], [], [], usual_trade(bars, params)
    for t in range(WARM, WARM + TRADED):
        ts_close = int(bars.ts_close[t])
        for i, qty, decision_id in waiting:
            open_px = bars.open_px[t, i]
            px = slipped_px(open_px, qty, slip)
            fee = fee_of(qty, px, fee_rate)
            cash += apply_fill(position, entry, i, qty, px) - fee
            ts = int(bars.ts_open[t]) + 500_000_000
            executed.append(Executed(SYMBOLS[i], qty, px, fee, open_px, decision_id, "target", ts))
        close = bars.close_px[t].copy()
        market = MarketSlice(ts_close, *(close,) * 4, np.ones(2), np.zeros(2), usual[t])
        view = AccountView(cash, position.copy(), np.zeros(2), entry.copy(), close, 0)
        state, decision = core.step(state, market, view, no_limits(2), np.full(2, np.nan), params)
        act = np.zeros(2, dtype=int) if t in refused else decision.act.astype(int)
        target = np.where(act == 1, decision.target_qty, position)
        waiting = [(i, target[i] - position[i], t) for i in np.flatnonzero(act)]
        names = ("raw_weight", "sized_weight", "approved_weight")
        detail = {name: getattr(decision, name).tolist() for name in names} | {
            "symbols": list(SYMBOLS), "close_px": close.tolist(), "venue_mark_px": close.tolist(),
            "position_qty": view.position_qty.tolist(), "target_qty": target.tolist(), "act": act.tolist(),
            "params": config.model_dump(mode="json"),
        }  # fmt: skip
        made.append(Made(t, ts_close, ts_close + 10**8, decision.equity, decision.drawdown, decision.day_pnl, detail))
    return made, [fill for fill in executed if fill.ts_received <= made[-1].ts_decided]


def day_of(bars, made, executed, **changes):
    rates = np.zeros((len(bars.ts_open), 2))
    return Day(CONFIG, bars, made, executed, rates, 0.0, no_limits(2), None)._replace(**changes)


@pytest.fixture(scope="module")
def bars():
    return candles()


@pytest.fixture(scope="module")
def plain(bars):
    return traded(bars)


def parts_of(drift):
    assert sum(drift.parts.values()) == pytest.approx(drift.total, abs=1e-9)  # nothing disappears
    return {name: round(value, 4) for name, value in drift.parts.items() if abs(value) > 1e-4}


def test_a_day_that_went_as_assumed_has_no_drift(bars, plain):
    drift = measure(day_of(bars, *plain))
    assert drift.n_fills > 20
    assert drift.pnl_recorded == pytest.approx(drift.pnl_replayed, abs=1e-6)
    assert parts_of(drift) == {}


def test_worse_fills_are_the_fill_part_to_the_cent(bars):
    made, executed = traded(bars, slip=COSTS.slippage_rate * 3)
    parts = parts_of(measure(day_of(bars, made, executed)))
    # two basis points more on every notional; sizes follow the poorer account a little, and their fees with them
    paid = sum(abs(fill.qty) * fill.arrival_px for fill in executed) * 2 * COSTS.slippage_rate
    assert parts["fill"] == pytest.approx(-paid, rel=1e-3)
    assert abs(parts["fill"]) > 10 * sum(abs(value) for name, value in parts.items() if name != "fill")


def test_higher_fees_are_the_fee_part(bars):
    made, executed = traded(bars, fee_rate=COSTS.fee_rate * 2)
    parts = parts_of(measure(day_of(bars, made, executed)))
    assert parts["fee"] == pytest.approx(-sum(fill.fee for fill in executed) / 2, abs=1e-3)


def test_funding_that_the_venue_took_is_the_funding_part(bars, plain):
    made, executed = plain
    made = [*made[:-1], made[-1]._replace(equity=made[-1].equity - 3.5)]
    assert parts_of(measure(day_of(bars, made, executed, funding_paid=3.5))) == {"funding": -3.5}


def test_what_the_record_cannot_explain_is_left_over(bars, plain):
    made, executed = plain
    made = [*made[:-1], made[-1]._replace(equity=made[-1].equity + 7.0)]
    assert parts_of(measure(day_of(bars, made, executed))) == {"residual": 7.0}


def test_orders_sent_at_another_price_than_the_open_are_latency(bars, plain):
    made, executed = plain
    moved = [fill._replace(arrival_px=fill.arrival_px * (1 + 1e-4 * np.sign(fill.qty))) for fill in executed]
    parts = parts_of(measure(day_of(bars, made, moved)))
    late = sum(abs(fill.qty) * fill.px for fill in executed) * 1e-4
    assert parts["latency"] == pytest.approx(-late, rel=1e-3)
    assert parts["fill"] == pytest.approx(late, rel=1e-3)  # filled better than where they were sent, in this test


def test_decisions_that_were_not_carried_out_are_the_veto_part(bars):
    refused = set(range(WARM + 60, WARM + 120))
    drift = measure(day_of(bars, *traded(bars, refused)))
    parts = parts_of(drift)
    assert abs(parts["veto"]) > 1.0
    assert abs(parts["veto"] - drift.total) < 0.02 * abs(drift.total)


def test_missing_decisions_are_signal_time(bars):
    made, executed = traded(bars, refused=set(range(WARM + 60, WARM + 120)))
    present = [one for one in made if not WARM + 60 <= one.decision_id < WARM + 120]
    parts = parts_of(measure(day_of(bars, present, executed)))
    assert abs(parts["signal_time"]) > 1.0
    assert abs(parts.get("veto", 0.0)) < 0.1 * abs(parts["signal_time"])


def test_lots_are_the_rounding_part(bars):
    lot = np.array([0.001, 0.01])
    limits = InstrumentTable(lot, lot, lot, np.full(2, 1e9), np.full(2, 5.0))
    parts = parts_of(measure(day_of(bars, *traded(bars), instruments=limits)))
    assert abs(parts["rounding"]) > 0.001
    # this engine did not round: what the replay loses by rounding comes back where the record's own aims are taken
    assert sum(parts.values()) == pytest.approx(0.0, abs=1e-3)


def test_candles_that_were_revised_afterwards_are_data(bars):
    made, executed = traded(bars)
    closes = bars.close_px.copy()
    closes[WARM + 50, 0] *= 1.002
    parts = parts_of(measure(day_of(bars._replace(close_px=closes), made, executed)))
    assert abs(parts["data"]) > 10 * abs(parts.get("veto", 0.0))


# the record ----------------------------------------------------------------------------------------------------------


def recorded(path, bars, plain, interval="1m"):
    """Return a record of the day, as the engine leaves it."""
    store = Database(path / "paper.duckdb")
    made, executed = plain
    columns = {"open_px": bars.open_px, "high_px": bars.high_px, "low_px": bars.low_px, "close_px": bars.close_px,
               "volume": bars.volume}  # fmt: skip
    store.append("bars", [
        {"symbol": symbol, "interval": interval, "ts_open": int(ts)} | {n: float(c[t, i]) for n, c in columns.items()}
        for t, ts in enumerate(bars.ts_open) for i, symbol in enumerate(SYMBOLS)
    ])  # fmt: skip
    store.append("decisions", [
        {"decision_id": one.decision_id, "ts_close": one.ts_close, "ts_decided": one.ts_decided, "strategy": "trend",
         "params_hash": "x", "equity": one.equity, "drawdown": one.drawdown, "day_pnl": one.day_pnl,
         "detail": json.dumps(one.detail)}
        for one in made
    ])  # fmt: skip
    store.append("orders", [
        {"account": "acc", "client_id": f"c{i}", "purpose": fill.purpose} for i, fill in enumerate(executed)
    ])  # fmt: skip
    store.append("fills", [
        {"account": "acc", "trade_id": str(i), "client_id": f"c{i}", "symbol": fill.symbol, "qty": fill.qty,
         "px": fill.px, "fee": fill.fee, "arrival_px": fill.arrival_px, "decision_id": fill.decision_id,
         "ts_received": fill.ts_received}
        for i, fill in enumerate(executed)
    ])  # fmt: skip
    store.remember("began:acc", DAY_NS - NS_PER_DAY)
    filters = {"tick_size": 0.0, "lot_size": 0.0, "min_qty": 0.0, "max_qty": 1e12, "min_notional": 0.0}
    store.remember(FILTERS, {symbol: filters for symbol in SYMBOLS}).result(10)
    return store


@pytest.fixture
def store(tmp_path, bars, plain):
    store = recorded(tmp_path, bars, plain)
    yield store
    store.close()


@pytest.fixture
def slow_store(tmp_path):
    """Thirty-three days of six decisions each: no day has the ten that are needed."""
    bars = candles(span=4 * 3600 * NS_PER_S)
    store = recorded(tmp_path, bars, traded(bars, config=SLOW), "4h")
    yield store
    store.close()


def test_days_of_few_decisions_are_joined(slow_store):
    row = measure_day(slow_store, "2026-01-10")
    assert row["n_decisions"] == 10
    assert row["drift_bps"] == pytest.approx(0.0, abs=1e-6)
    assert "bp of equity a day over 1.5 days that end then" in row["verdict"]
    last = slow_store.rows(
        "SELECT max(decision_id) AS n FROM decisions WHERE ts_close <= ?", [DAY_NS + 10 * NS_PER_DAY]
    )
    slow_store.execute("UPDATE decisions SET equity = equity + 9 WHERE decision_id = ?", [last[0]["n"]])
    again = measure_day(slow_store, "2026-01-10")
    assert again["residual"] == pytest.approx(9.0, abs=1e-6)
    assert again["drift_bps"] == pytest.approx(9.0 / again["equity"] * 1e4 / 1.5)


def test_too_few_decisions_even_of_several_days_are_refused(slow_store):
    with pytest.raises(CommandRefused, match="There are 7 decisions under the same settings up to that day"):
        measure_day(slow_store, "2026-01-01")
    slow_store.flush()
    slow_store.execute("UPDATE decisions SET params_hash = 'y' WHERE ts_close > ?", [DAY_NS + 9 * NS_PER_DAY])
    with pytest.raises(CommandRefused, match="There are 6 decisions under the same settings"):
        measure_day(slow_store, "2026-01-10")


def test_a_fast_strategy_that_hardly_ran_is_not_joined(store):
    store.flush()
    store.execute("DELETE FROM decisions WHERE ts_close > ?", [DAY_NS + 5 * SPAN])
    with pytest.raises(CommandRefused, match="There are 5 decisions under the same settings on that day"):
        measure_day(store, "2026-01-01")


async def test_nights_that_were_missed_are_made_up_for_once(store, monkeypatch):
    now, asked, told = DAY_NS + 3 * NS_PER_DAY + 50 * 60 * NS_PER_S, [], []
    loop = SimpleNamespace(phase="trading", incident=lambda *said: told.append(said))
    engine = SimpleNamespace(store=store, loop=loop, session=SimpleNamespace(account_key="acc"))

    async def follow(engine):
        asked.append(engine)

    monkeypatch.setattr(evidence_desk, "follow_ladder", follow)
    monkeypatch.setattr(evidence_desk, "time", SimpleNamespace(time_ns=lambda: now))
    assert unmeasured(store, now, "acc")[:3] == ["2026-01-03", "2026-01-02", "2026-01-01"]
    refused = set()
    await evidence_desk.measure_owed(engine, refused)
    assert [row["day"] for row in drift_rows(store)] == ["2026-01-01"]
    assert (len(asked), told, len(refused)) == (1, [], 6)
    assert "2026-01-01" not in unmeasured(store, now, "acc")
    await evidence_desk.measure_owed(engine, refused)
    assert len(asked) == 1  # nothing new


def test_a_day_of_the_record_is_measured_and_kept(store, plain):
    row = measure_day(store, "2026-01-01")
    assert row["n_decisions"] == TRADED - 1  # a bar that closes at midnight belongs to the day before
    assert 20 < row["n_fills"] <= len(plain[1])
    assert row["drift_bps"] == pytest.approx(0.0, abs=1e-6)
    assert row["verdict"].startswith("within the limit of 25 bp")
    assert too_large(row) is None
    (kept,) = drift_rows(store)
    assert sum(kept[name] for name in PARTS) == pytest.approx(kept["pnl_recorded"] - kept["pnl_replayed"], abs=1e-9)
    measure_day(store, "2026-01-01")
    assert len(drift_rows(store)) == 1  # measured again, kept once


def test_a_day_that_drifts_too_far_makes_a_sentence(store):
    store.flush()
    store.execute(
        "UPDATE decisions SET equity = equity + 100 WHERE decision_id = (SELECT max(decision_id) FROM decisions)"
    )
    sentence = too_large(measure_day(store, "2026-01-01"))
    assert "profit of 2026-01-01 differs from its replay by +" in sentence
    assert "the largest part is residual with +100.00" in sentence


@pytest.mark.parametrize(
    ("day", "sentence"),
    [("2026-01-02", "There are 0 decisions"), ("yesterday", "is not a day of the form 2026-01-31")],
)
def test_a_day_that_cannot_be_measured_says_what_is_missing(store, day, sentence):
    with pytest.raises(CommandRefused, match=sentence):
        measure_day(store, day)


def test_an_empty_record_says_so(tmp_path):
    empty = Database(tmp_path / "live.duckdb")
    try:
        with pytest.raises(CommandRefused, match="Nothing has been traded"):
            measure_day(empty, "2026-01-01")
    finally:
        empty.close()


def test_yesterday_is_the_utc_day_before():
    assert yesterday(DAY_NS) == "2025-12-31"

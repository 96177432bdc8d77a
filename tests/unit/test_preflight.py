"""Every item of the checklist turns red for its own reason, and unknown is never green."""

from __future__ import annotations

import dataclasses

import pytest

from engine.controls.preflight import LocalFacts, VenueFacts, local_items, smallest_useful_equity, venue_items
from engine.domain import Instrument
from engine.settings import SystemConfig

CONFIG = SystemConfig(symbols=("BTCUSDT", "ETHUSDT"), max_symbol_weight=0.5, max_leverage=3)
BTC = Instrument("BTCUSDT", "BTC", "USDT", 0.1, 0.001, 0.001, 1000, 120, 5.0, 0.02, 50.0, 0.0, 0.0004)
ETH = BTC._replace(symbol="ETHUSDT", base="ETH")
LOCAL = LocalFacts(10 * 2**30, None, True, "Flat in 0.40 s, 1.0 days ago", "Minimum size", 0.01, 0)
VENUE = VenueFacts(
    12.0, {"BTCUSDT": BTC, "ETHUSDT": ETH}, 500.0, 0, 0, "agent", True, False, False, False,
    {"BTCUSDT": 20, "ETHUSDT": 20}, {"BTCUSDT": 50_000.0, "ETHUSDT": 2_500.0},
)  # fmt: skip


def red(items):
    return {item.name: item.row["detail"] for item in items if not item.ok}


def test_all_green():
    assert red(local_items(LOCAL, CONFIG)) == {}
    assert red(venue_items(VENUE, CONFIG)) == {}


@pytest.mark.parametrize(("change", "name", "words"), [
    ({"free_disk_bytes": 2**29}, "Disk", "0.5 GB free. Expected: at least 1.1 GB"),
    ({"free_disk_bytes": None}, "Disk", "unknown"),
    ({"write_trouble": "disk full"}, "Record writable", "Found: disk full"),
    ({"drill_ok": False, "drill_detail": "Never rehearsed."}, "Kill switch rehearsed", "Never rehearsed. Expected"),
    ({"capital_share": 0.0, "rung": "Paper"}, "Capital ladder", "rung Paper: 0% of the configured limits"),
    ({"capital_share": 0.0, "missing": ("Backtest", "Drill")}, "Capital ladder", "the next rung lacks Backtest, Drill"),
])  # fmt: skip
def test_this_machine(change, name, words):
    found = red(local_items(dataclasses.replace(LOCAL, **change), CONFIG))
    assert list(found) == [name]
    assert words in found[name]


def test_settings_that_remove_protection():
    loose = CONFIG.model_copy(update={"use_gate_daily_loss": False, "use_protective_stops": False})
    found = red(local_items(LOCAL, loose))
    assert list(found) == ["Loss limits on", "Protective stops on"]
    assert "daily loss off, drawdown on" in found["Loss limits on"]


def test_the_yardstick_is_not_for_live_trading():
    found = red(local_items(LOCAL, CONFIG.model_copy(update={"strategy": "ema-cross"})))
    assert list(found) == ["Loss limits on"]
    assert "book off (ema-cross, the yardstick, has no limits on the book)" in found["Loss limits on"]


@pytest.mark.parametrize(("change", "name", "words"), [
    ({"clock_skew_ms": -2500.0}, "Clock", "-2500 ms against the venue. Expected: within 2000 ms. Synchronise"),
    ({"clock_skew_ms": None}, "Clock", "no answer"),
    ({"can_withdraw": True}, "No withdrawal right", "an agent's key, which can withdraw"),
    ({"can_withdraw": True, "kind": "private_key"}, "No withdrawal right", "own private key, which can withdraw"),
    ({"can_withdraw": None, "troubles": ("agents: X",)}, "No withdrawal right", "rights are unknown (agents: X)"),
    ({"can_trade": False}, "May trade", "no right to trade"),
    ({"can_trade": None}, "May trade", "no answer"),
    ({"is_hedge_mode": True}, "One-way position mode", "hedge mode. Expected: one-way mode"),
    ({"is_hedge_mode": None}, "One-way position mode", "no answer"),
    ({"is_multi_asset": True}, "Single-asset margin", "multi-asset mode"),
    ({"instruments": {"BTCUSDT": BTC}}, "Contract rules", "not usable: ETHUSDT"),
    ({"instruments": {"BTCUSDT": BTC, "ETHUSDT": ETH._replace(lot_size=0.0)}}, "Contract rules", "ETHUSDT"),
    ({"instruments": {"BTCUSDT": BTC, "ETHUSDT": ETH._replace(max_leverage=2.0)}}, "Leverage", "less in ETHUSDT"),
    ({"leverage": {"BTCUSDT": 1, "ETHUSDT": 20}}, "Leverage", "set too low at the venue for BTCUSDT"),
    ({"leverage": None}, "Leverage", "no answer"),
    ({"equity": 99.0}, "Balance", "99.00 USDT. Expected: equity for each symbol's smallest order: 100.00 USDT"),
    ({"equity": None}, "Balance", "no answer"),
    ({"mark_px": {"BTCUSDT": 50_000.0}}, "Balance", "no answer"),
    ({"n_orders": None}, "Account readable", "no answer"),
])  # fmt: skip
def test_the_account(change, name, words):
    found = red(venue_items(dataclasses.replace(VENUE, **change), CONFIG))
    assert list(found) == [name]
    assert words in found[name]


def test_the_smallest_useful_equity_is_the_dearest_smallest_order_over_the_symbols_cap():
    # one lot of BTC, 0.001 at 50 000, is 50 USDT; half of the equity must buy it
    assert smallest_useful_equity(CONFIG, VENUE.instruments, VENUE.mark_px) == pytest.approx(100.0)

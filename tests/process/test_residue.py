"""A start on books that do not add up: reducing, never trading, until a person explains the rest."""

import pytest
from engine_process import EngineProcess, Sandbox

from engine.domain import TradingState
from engine.errors import CommandRefused
from storage.database import Database

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(240)]


def test_unexplained_cash_keeps_the_engine_reducing_until_it_is_accepted(tmp_path):
    sandbox, home = Sandbox("--seed", "3", "--symbols", "BTCUSDT,ETHUSDT"), tmp_path / "home"
    try:
        engine = EngineProcess(home, sandbox)
        engine.until(lambda status: status["phase"] == "trading")
        engine.kill_dead()
        store = Database(home / "paper.duckdb")
        (row,) = store.rows("SELECT key FROM settings WHERE starts_with(key, 'ledger:')")
        opening = store.recall(row["key"])
        store.remember(row["key"], opening | {"cash": opening["cash"] - 5.0}).result(10)
        store.close()

        engine = EngineProcess(home, sandbox)
        status = engine.until(lambda status: status["phase"] == "reducing")
        assert status["trading_state"] == TradingState.REDUCE_ONLY
        assert status["last_decision"] is None
        assert engine.action("ledger")["unexplained"] == 5.0
        held = {row["symbol"]: float(row["positionAmt"]) for row in sandbox.books()["positions"]}
        side = "sell" if held.get("BTCUSDT", 0.0) < 0 else "buy"  # what would add to whatever the strategy took
        ticket = {"symbol": "BTCUSDT", "side": side, "kind": "market", "size": {"unit": "quote", "value": 100.0}}
        with pytest.raises(CommandRefused, match="reduce-only"):
            engine.action("ticket.submit", ticket | {"idempotency_key": "residue-1"})
        accepted = engine.action("ledger.accept", {"reason": "a test", "idempotency_key": "residue-2"})
        assert accepted["accepted"] == ["ledger: cash: ours 9995, the venue's 10000"]
        engine.until(lambda status: status["phase"] == "trading" and status["trading_state"] == TradingState.RUNNING)
        assert engine.action("ledger")["unexplained"] == 0.0
        assert engine.stop() == 0
    finally:
        sandbox.stop()

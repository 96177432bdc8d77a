"""Models beside the trend rule: their share, their record, and a decision made again from it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from decider_builders import HISTORY, INSTRUMENTS, SYMBOLS, account_with, config, market_now
from execution_builders import NOW

from engine.core import step as core
from engine.domain import AccountView, InstrumentTable, MarketSlice, TradingState
from engine.runtime.decider import Decider
from engine.runtime.model_host import Said

WISH = np.array([-0.8, np.nan])
RECORD = {"version": "one", "ts_close": 1, "share": 0.9, "left_out": {"lstm": "slow"}, "elapsed": {"linear": 1.5}}


class FakeHost:
    is_trained = True

    def __init__(self, said):
        self.answer = said

    async def said(self, ts_close):
        return self.answer


async def decided(said, trained=True, **changes):
    decider = Decider(config(**changes), INSTRUMENTS)
    decider.warm_up({symbol: bars[:-1] for symbol, bars in HISTORY.items()})
    decider.models = FakeHost(said)
    decider.models.is_trained = trained
    before = decider.state
    market = market_now()
    seen = market.slice_at(SYMBOLS, "1m", HISTORY["BTCUSDT"][-1].ts_open, NOW)
    wish = await decider.wish(seen, account_with(), market, lambda symbol: 0.0)
    decision, view = decider.decide(seen, account_with(), market, np.zeros(2), TradingState.RUNNING, wish)
    return decision, json.loads(decider.detail(decision, seen, view, {}, wish)), before, decider


async def test_evidence_gives_the_share_within_the_settings_cap_and_the_decision_can_be_made_again_from_its_record():
    plain, *_ = await decided("The models have not answered yet.")
    decision, detail, before, decider = await decided(Said(WISH, 0.9, RECORD), max_model_share=0.3)
    assert detail["models"]["used_share"] == 0.3
    assert detail["models"]["left_out"] == {"lstm": "slow"}
    assert decision.raw_weight[0] == pytest.approx(0.7 * plain.raw_weight[0] + 0.3 * -0.8)
    assert decision.raw_weight[1] == plain.raw_weight[1]  # nothing is said of it
    inputs, said = detail["inputs"], detail["models"]
    array = {name: np.array(values, dtype=float) for name, values in inputs.items() if isinstance(values, list)}
    close, zero = np.array(detail["close_px"]), np.zeros(2)
    market = MarketSlice(
        inputs["ts_close"], array["open_px"], array["high_px"], array["low_px"], close, array["volume"], array["age_s"]
    )  # fmt: skip
    view = AccountView(inputs["cash"], zero, zero, array["entry_px"], array["mark_px"], inputs["trading_state"])
    params = config(**detail["params"]).params()._replace(model_share=said["used_share"])
    table = InstrumentTable(*decider.table)
    _, again = core.step(before, market, view, table, np.array(said["wish"], dtype=float), params)
    np.testing.assert_array_equal(again.target_qty, decision.target_qty)
    np.testing.assert_array_equal(again.sized_weight, decision.sized_weight)


async def test_late_models_leave_the_rule_alone_and_the_record_says_so():
    plain, *_ = await decided(None, trained=False)
    decision, detail, *_ = await decided("The models' newest forecast is 1 h old.")
    np.testing.assert_array_equal(decision.target_qty, plain.target_qty)
    assert detail["models"] == {
        "used_share": 0.0, "wish": None, "why_not": "The models' newest forecast is 1 h old.",
    }  # fmt: skip


@pytest.mark.parametrize("changes", [{"use_models": False}, {"strategy": "ema-cross"}])
async def test_models_are_not_asked_where_they_take_no_part(changes):
    _, detail, *_ = await decided(Said(WISH, 0.9, RECORD), **changes)
    assert "models" not in detail


async def test_before_the_first_training_nothing_is_asked():
    _, detail, *_ = await decided(Said(WISH, 0.9, RECORD), trained=False)
    assert "models" not in detail

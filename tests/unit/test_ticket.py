"""A person's order: size units, prices, costs, and each rule's answer, by hand-worked numbers."""

import math

import pytest
from execution_builders import BTC, TOP
from pydantic import ValidationError

from engine.domain import TradingState
from engine.execution.ticket import TicketContext, TicketRequest, judge, liquidation_px
from engine.settings import SystemConfig

CONFIG = SystemConfig(
    max_symbol_weight=0.5, max_gross_weight=2.0, max_leverage=3.0, max_daily_loss=0.05, max_total_drawdown=0.15,
    max_price_age_s=15.0, protective_stop_pct=0.05, use_gate_book=False,
)  # fmt: skip
CONTEXT = TicketContext(
    instrument=BTC, top=TOP, mark_px=50_000.0, position_qty=0.0, entry_px=0.0, equity=10_000.0, gross_notional=0.0,
    maintenance_margin=0.0, trading_state=TradingState.RUNNING, day_pnl=0.0, day_open_equity=10_000.0, drawdown=0.0,
    price_age_s=0.5,
)  # fmt: skip


def judged(side="buy", kind="market", unit="base", value=0.05, config=CONFIG, context=CONTEXT, **fields):
    changes = {name: fields.pop(name) for name in list(fields) if name in TicketContext._fields}
    request = TicketRequest(symbol="BTCUSDT", side=side, kind=kind, size={"unit": unit, "value": value}, **fields)
    return judge(request, context._replace(**changes), config)


def refusals(ticket):
    return [reason["rule"] for reason in ticket.answer["reasons"] if reason["verdict"] == "REFUSE"]


def test_market_order_crosses_and_pays_the_taker_fee():
    ticket = judged(value=0.05)
    spec, answer = ticket.spec, ticket.answer
    assert (spec.order_type, spec.tif, spec.purpose, spec.side) == ("LIMIT", "IOC", "manual", 1)
    assert spec.limit_px == pytest.approx(50_100.2)  # 50000.1 * 1.002, up to the tick
    assert answer["px"] == 50_000.1
    assert answer["notional"] == pytest.approx(2_500.005)
    assert answer["fee"] == pytest.approx(1.000002)  # 2500.005 * 0.0004
    assert answer["margin"] == pytest.approx(833.335)  # 2500.005 / 3
    assert answer["worst_loss"] == pytest.approx(125.00025)  # 5 % of it
    assert answer["ok"] is True


@pytest.mark.parametrize(
    ("unit", "value", "qty"),
    [
        ("base", 0.0509, 0.05),  # down to whole lots
        ("quote", 2_600.0, 0.051),  # 2600 / 50000.1 = 0.05199…
        ("risk_pct", 1.0, 0.039),  # 100 USDT of loss at a 5 % stop: 100 / (50000.1 * 0.05) = 0.0399…
        ("base", 0.057, 0.057),  # 0.057 / 0.001 is 56.99… in floats
    ],
)
def test_size_units(unit, value, qty):
    assert judged(unit=unit, value=value).answer["qty"] == pytest.approx(qty)


def test_limit_at_rest_is_free_and_limit_across_is_not():
    resting = judged(kind="limit", limit_px=49_950.04)
    assert resting.spec.limit_px == pytest.approx(49_950.0)
    assert (resting.spec.tif, resting.answer["fee"]) == ("GTC", 0.0)
    assert judged(kind="limit", limit_px=50_000.1).answer["fee_rate"] == 0.0004
    assert judged(side="sell", kind="limit", limit_px=49_999.9).answer["fee_rate"] == 0.0004


def test_post_only_is_gtx_and_warns_where_it_would_take():
    assert judged(kind="post_only", limit_px=49_999.0).spec.tif == "GTX"
    assert judged(kind="post_only", limit_px=49_999.0).answer["warnings"] == []
    assert "would take liquidity" in judged(kind="post_only", limit_px=50_001.0).answer["warnings"][0]


def test_stop_is_a_stop_market_on_the_grid():
    spec = judged(side="sell", kind="stop", stop_px=49_000.04, position_qty=0.1, entry_px=50_000.0).spec
    assert (spec.order_type, spec.stop_px) == ("STOP_MARKET", pytest.approx(49_000.0))
    assert math.isnan(spec.limit_px)


@pytest.mark.parametrize(("side", "stop_px", "word"), [("buy", 49_000.0, "above"), ("sell", 51_000.0, "below")])
def test_stop_that_would_trigger_at_once_is_refused(side, stop_px, word):
    ticket = judged(side=side, kind="stop", stop_px=stop_px)
    assert ticket.spec is None
    assert word in ticket.answer["problems"][0]


@pytest.mark.parametrize(("kind", "what"), [("limit", "limit price"), ("post_only", "limit price"), ("stop", "stop")])
def test_missing_price_is_refused(kind, what):
    ticket = judged(kind=kind)
    assert ticket.spec is None
    assert what in ticket.answer["problems"][0]


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("TRADING_STATE", {"trading_state": TradingState.REDUCE_ONLY}),
        ("TRADING_STATE", {"trading_state": TradingState.HALTED}),
        ("STALE_DATA", {"price_age_s": 15.1}),
        ("DAILY_LOSS", {"day_pnl": -350.0}),  # 70 % of the 5 % of 10000
        ("DAILY_LOSS", {"day_worst": 0.035}),  # regained since
        ("DRAWDOWN", {"drawdown": 0.15}),
        ("SYMBOL_CAP", {"position_qty": 0.06, "entry_px": 50_000.0, "gross_notional": 3_000.0}),  # 0.11 * 50000
        ("GROSS_CAP", {"gross_notional": 17_600.0}),
        ("LEVERAGE", {"gross_notional": 27_600.0}),
    ],
)
def test_each_rule_refuses_growth_and_lets_a_reduction_through(rule, changes):
    refused = judged(value=0.05, **changes)
    assert refused.spec is None
    assert rule in refusals(refused)
    if changes.get("trading_state") == TradingState.HALTED:
        return
    held = {"position_qty": 0.2, "entry_px": 50_000.0, "gross_notional": 10_000.0}
    reducing = judged(side="sell", value=0.05, **{**changes, **held})
    assert rule not in refusals(reducing)
    assert reducing.spec is not None


def test_just_inside_each_limit_passes():
    inside = judged(
        value=0.05, price_age_s=15.0, day_pnl=-349.0, drawdown=0.149, gross_notional=15_000.0, position_qty=0.049,
        entry_px=50_000.0,
    )  # fmt: skip
    assert refusals(inside) == []


def test_halted_refuses_even_a_reduction():
    assert judged(
        side="sell", trading_state=TradingState.HALTED, position_qty=0.2, entry_px=50_000.0
    ).spec is None  # fmt: skip


def test_switched_off_loss_gates_do_not_refuse():
    off = CONFIG.model_copy(update={"use_gate_daily_loss": False, "use_gate_drawdown": False})
    assert refusals(judged(day_pnl=-5_000.0, drawdown=0.5, config=off)) == []


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"value": 0.0009}, "below the minimum 0.001"),
        ({"value": 121.0, "equity": 1e9}, "above the maximum 120"),
        ({"kind": "limit", "limit_px": 51_100.0}, "from the mark"),  # 2.2 % of 2 %
    ],
)
def test_venue_filters_refuse(fields, sentence):
    ticket = judged(**fields)
    assert ticket.spec is None
    assert any(sentence in problem for problem in ticket.answer["problems"])
    assert "VENUE_FILTER" in refusals(ticket)


def test_minimum_notional_binds_entries_only():
    cheap = {"top": TOP._replace(bid_px=3_999.9, ask_px=4_000.1), "mark_px": 4_000.0}
    assert "below the minimum 5" in judged(value=0.001, **cheap).answer["problems"][0]
    assert judged(side="sell", value=0.001, position_qty=0.001, entry_px=4_000.0, **cheap).spec is not None


def test_reduce_only_may_not_open_or_flip():
    held = {"position_qty": 0.05, "entry_px": 50_000.0, "gross_notional": 2_500.0}
    assert judged(side="sell", value=0.05, reduce_only=True, **held).spec.reduce_only is True
    for fields in ({"side": "buy", "value": 0.01}, {"side": "sell", "value": 0.06}):
        ticket = judged(reduce_only=True, **fields, **held)
        assert ticket.spec is None
        assert "open or flip" in ticket.answer["problems"][0]


def test_every_problem_is_a_refusal_with_its_sentence():
    answer = judged(kind="limit", trading_state=TradingState.HALTED, price_age_s=99.0).answer
    sentences = [reason["sentence"] for reason in answer["reasons"] if reason["verdict"] == "REFUSE"]
    assert answer["problems"] == sentences
    assert len(sentences) == 3


def test_margin_counts_only_what_opens():
    held = {"position_qty": 0.05, "entry_px": 50_000.0, "gross_notional": 2_500.0}
    assert judged(side="sell", value=0.05, **held).answer["margin"] == 0.0
    # a sale of 0.08 closes 0.05 and opens nothing larger than before: |−0.03| < |0.05|
    assert judged(side="sell", value=0.08, **held).answer["margin"] == 0.0
    assert judged(side="buy", value=0.03, **held).answer["margin"] == pytest.approx(0.03 * 50_000.1 / 3)


@pytest.mark.parametrize(
    ("qty", "px"),
    [
        (1.0, 40_201.005),  # (50000 - 10000) / 0.995
        (-1.0, 59_701.493),  # (-50000 - 10000) / -1.005
    ],
)
def test_liquidation_price_is_where_equity_meets_maintenance(qty, px):
    found = liquidation_px(qty, 50_000.0, CONTEXT)
    assert found == pytest.approx(px, abs=0.001)
    equity_there = 10_000.0 + qty * (found - 50_000.0)
    assert equity_there == pytest.approx(0.005 * abs(qty) * found)


def test_liquidation_price_of_nothing_or_of_enough_money_is_unknown():
    assert math.isnan(liquidation_px(0.0, 50_000.0, CONTEXT))
    assert math.isnan(liquidation_px(0.1, 50_000.0, CONTEXT))  # 5000 of 10000: worth less than the cash behind it
    assert judged(value=0.05).answer["liq_px"] is None


@pytest.mark.parametrize(
    "fields",
    [
        {"size": {"unit": "base", "value": 0}},
        {"size": {"unit": "lots", "value": 1}},
        {"kind": "iceberg"},
        {"side": "long"},
        {"limit_px": -1},
        {"limit_px": math.inf},
        {"size": {"unit": "base", "value": math.inf}},
        {"leverage": 50},
    ],
)
def test_nonsense_is_refused_before_it_is_judged(fields):
    plain = {"symbol": "BTCUSDT", "side": "buy", "kind": "market", "size": {"unit": "base", "value": 1}}
    with pytest.raises(ValidationError):
        TicketRequest.model_validate(plain | fields)


def test_stops_switched_off_are_mentioned():
    off = CONFIG.model_copy(update={"use_protective_stops": False})
    assert "switched off" in judged(config=off).answer["warnings"][-1]


def test_the_cushion_to_the_drawdown_limit_must_pay_for_a_gap():
    config = CONFIG.model_copy(update={"use_gate_book": True, "gap_pct": 0.30, "stop_slippage_pct": 0.01})
    assert judged(value=0.09, config=config).answer["ok"]  # 0.45 of 0.15 / (0.31 * 1.02) = 0.474
    large = judged(value=0.099, config=config)
    assert refusals(large) == ["CUSHION"]
    assert "a gap of 30% leaves the drawdown limit intact up to 0.47" in large.answer["problems"][0]
    assert refusals(judged(value=0.05, config=config, drawdown=0.10)) == ["CUSHION"]
    closing = judged(side="sell", value=0.05, config=config, drawdown=0.14, position_qty=0.1, entry_px=50_000.0)
    assert closing.answer["ok"]

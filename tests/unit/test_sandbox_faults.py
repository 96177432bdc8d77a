"""Fault rules fire when, where and as often as they say; limits refuse what is too much."""

import json
from types import SimpleNamespace

import pytest

from engine.errors import ConfigError
from engine.venues.sandbox.codes import Refusal
from engine.venues.sandbox.faults import FaultPlan, load_rules, parse_rule, parse_rules
from engine.venues.sandbox.limits import RateLimits
from engine.venues.sandbox.market.shocks import Shock
from engine.venues.sandbox.options import SandboxOptions
from engine.venues.sandbox.venue import PracticeVenue


def plan(*entries, seed=0):
    return FaultPlan(parse_rules(list(entries)), seed)


def ask(faults, method="POST", path="order", symbol="BTCUSDT", account="0xabc"):
    rule = faults.for_request(method, path, symbol, account)
    return None if rule is None else rule.action


@pytest.mark.parametrize(
    "entry",
    [
        {"action": "explode"},
        {"action": "reject"},
        {"action": "reject:zero"},
        {"action": "reject:2010"},
        {"action": "429:7"},
        {"action": "delay", "probability": 1.5},
        {"action": "delay", "colour": "red"},
        {"action": "delay", "match": {"weather": "wet"}},
        {"match": {"path": "order"}},
        {"action": "delay", "move": -0.3},
        {"action": "crash", "move": -1.5},
        {"action": "crash", "depth": 0.0},
        "delay",
    ],
)
def test_rule_that_makes_no_sense_is_refused(entry):
    with pytest.raises(ConfigError):
        parse_rule(entry)


def test_faults_file_is_a_list_or_an_object_with_rules(tmp_path):
    rule = {"action": "reject:-2019", "match": {"path": "order"}, "count": 2}
    for content in ([rule], {"rules": [rule]}):
        path = tmp_path / "faults.json"
        path.write_text(json.dumps(content))
        loaded = load_rules(path)
        assert [(r.action, r.code, r.count) for r in loaded] == [("reject", -2019, 2)]
    path.write_text("not json")
    with pytest.raises(ConfigError, match=r"faults\.json"):
        load_rules(path)


def test_patterns_must_all_fit():
    faults = plan({"action": "delay", "match": {"method": "POST", "path": "*rder*", "symbol": "BTC*"}})
    assert ask(faults) == "delay"
    assert ask(faults, path="batchOrders") == "delay"
    assert ask(faults, method="GET") is None
    assert ask(faults, symbol="ETHUSDT") is None
    assert ask(faults, symbol=None) is None


def test_skip_lets_the_first_pass_and_count_limits_the_rest():
    faults = plan({"action": "http_503_after", "skip": 2, "count": 3})
    assert [ask(faults) for _ in range(7)] == [None, None, *["http_503_after"] * 3, None, None]


def test_first_matching_rule_wins_and_later_ones_keep_their_count():
    faults = plan({"action": "delay", "count": 1}, {"action": "429", "count": 1})
    assert [ask(faults) for _ in range(3)] == ["delay", "429", None]


def test_same_seed_throws_the_same_dice():
    rule = {"action": "delay", "probability": 0.3}
    first, second, other = (plan(rule, seed=seed) for seed in (1, 1, 2))
    throws = [[ask(faults) for _ in range(200)] for faults in (first, second, other)]
    assert throws[0] == throws[1] != throws[2]
    assert 30 <= throws[0].count("delay") <= 90  # 200 * 0.3 = 60, five standard deviations are 32


def test_socket_rule_acts_once_unless_told_otherwise_and_only_when_due():
    faults = FaultPlan()
    faults.add(parse_rules([{"action": "close_ws", "match": {"stream": "user"}, "after_s": 5}]), now_s=100.0)
    assert faults.for_socket(["user"], 104.9) is None
    assert faults.for_socket(["btcusdt@depth20"], 106.0) is None
    assert faults.for_socket(["btcusdt@depth20", "user"], 106.0).action == "close_ws"
    assert faults.for_socket(["user"], 200.0) is None


def test_repeating_socket_rule_keeps_its_distance():
    faults = FaultPlan()
    faults.add(parse_rules([{"action": "drop_ws", "count": 2, "every_s": 10}]), now_s=0.0)
    acted = [second for second in range(40) if faults.for_socket(["x"], float(second)) is not None]
    assert acted == [0, 10]


def test_message_rules_do_not_touch_requests_and_the_other_way_round():
    faults = plan({"action": "lose_ws", "match": {"stream": "*@kline_1m"}}, {"action": "429"})
    assert faults.for_message("btcusdt@kline_1m").action == "lose_ws"
    assert faults.for_message("btcusdt@aggTrade") is None
    assert ask(faults) == "429"


def refused(call, *args):
    with pytest.raises(Refusal) as caught:
        call(*args)
    return caught.value


def test_weight_is_counted_per_minute_and_address():
    limits = RateLimits(SandboxOptions(weight_limit=100))
    minute_ms = 1_700_000_040_000  # 1 700 000 040 s = 28 333 334 min exactly
    assert minute_ms % 60_000 == 0
    assert limits.use_weight("a", 60, minute_ms + 1_000) == 60
    assert limits.use_weight("a", 40, minute_ms + 2_000) == 100
    answer = refused(limits.use_weight, "a", 1, minute_ms + 50_000)
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (429, -1003, "10")
    assert limits.use_weight("b", 1, minute_ms + 50_000) == 1
    assert limits.use_weight("a", 1, minute_ms + 60_000) == 1


def test_going_on_after_429_gets_the_address_banned_and_a_second_ban_is_twice_as_long():
    limits = RateLimits(SandboxOptions(weight_limit=10, refusals_to_ban=2, ban_s=120))
    now_ms = 1_700_000_040_000
    limits.use_weight("a", 10, now_ms)
    assert [refused(limits.use_weight, "a", 1, now_ms).status for _ in range(3)] == [429, 429, 418]
    answer = refused(limits.use_weight, "a", 1, now_ms + 60_000)
    assert answer.status == 418
    assert f"IP banned until {now_ms + 120_000}" in answer.message
    later_ms = now_ms + 120_000
    assert limits.use_weight("a", 10, later_ms) == 10
    answers = [refused(limits.use_weight, "a", 1, later_ms) for _ in range(3)]
    assert answers[-1].status == 418
    assert f"IP banned until {later_ms + 240_000}" in answers[-1].message


def test_orders_are_limited_per_account_in_ten_seconds_and_in_a_minute():
    limits = RateLimits(SandboxOptions(order_limit_10s=3, order_limit_1m=5))
    now_ms = 1_700_000_040_000
    assert limits.use_orders("a", 3, now_ms) == (3, 3)
    assert refused(limits.use_orders, "a", 1, now_ms).code == -1015
    assert limits.use_orders("b", 1, now_ms) == (1, 1)
    assert limits.use_orders("a", 1, now_ms + 10_000) == (1, 5)  # the refused one counts
    assert refused(limits.use_orders, "a", 1, now_ms + 20_000).code == -1015
    assert limits.use_orders("a", 1, now_ms + 60_000) == (1, 1)


def test_a_crash_is_handed_to_the_market_once():
    faults = plan({"action": "crash", "move": -0.3, "over_s": 300, "match": {"symbol": "BTC*"}})
    [(rule, symbols)] = faults.for_market(["BTCUSDT", "ETHUSDT"])
    assert (rule.move, rule.over_s, rule.depth, symbols) == (-0.3, 300.0, 0.25, ["BTCUSDT"])
    assert faults.for_market(["BTCUSDT"]) == []
    assert ask(faults) is None
    assert faults.report()[0]["acted"] == 1


def test_a_crash_reaches_the_simulated_market_and_no_other():
    shocks = []
    place = SimpleNamespace(market=SimpleNamespace(shake=shocks.append), faults=FaultPlan(), market_ms=60_000,
                            symbols=("BTCUSDT",), options=SandboxOptions(market="replay"))  # fmt: skip
    PracticeVenue.set_faults(place, parse_rules([{"action": "crash", "after_s": 5, "over_s": 10, "move": -0.2}]))
    assert shocks == [Shock(("BTCUSDT",), 65_000, 10_000, -0.2, 0.25)]
    del place.market.shake
    with pytest.raises(ConfigError, match="needs the simulated market; the replay market has its own prices"):
        PracticeVenue.set_faults(place, parse_rules([{"action": "crash"}]))

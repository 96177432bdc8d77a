"""The capital ladder: a rung needs its evidence, stale evidence takes it away, an override needs a reason and shows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from engine.domain import NS_PER_DAY, Mode
from engine.errors import CommandRefused
from engine.research import certificate, verdicts
from engine.runtime.drills import drill_verdict, record_drill, stalest_level
from engine.runtime.ladder import Capital, at_share, capital_share, ladder, override
from engine.settings import SystemConfig
from storage.database import Database

NOW = 1_900_000_000_000_000_000
REASON = "parity shown by tests/parity on this commit"


@pytest.fixture
def store(tmp_path):
    store = Database(tmp_path / "paper.duckdb")
    yield store
    store.close()


def decide(store, days: int, strategy: str = "trend") -> None:
    rows = [{"decision_id": i, "ts_decided": NOW - i * NS_PER_DAY, "strategy": strategy} for i in range(days)]
    store.append_durable("decisions", rows).result(10)


def compare(store, good: int, bad: int = 0) -> None:
    rows = [{"ts": NOW - i, "name": "reconcile", "value": float(i < bad), "labels": ""} for i in range(good + bad)]
    store.append_durable("metrics", rows).result(10)


def drill(store, level: int = 3, *, ok: bool = True, days_ago: float = 1.0) -> None:
    row = {"drill_id": "d", "ts": NOW - int(days_ago * NS_PER_DAY), "level": level, "ok": ok, "cancels_ms": 90.0,
           "time_to_flat_s": 1.2 if level > 2 else None, "message": "told", "actor": "test"}  # fmt: skip
    record_drill(store, row)
    store.flush()


def certify(folder, status="pass", config=None, **changes) -> None:
    version = certificate.version_now(folder, config or SystemConfig())
    outcome = {"status": status, "decisions": 82, "differences": 0, "ts": NOW, "sentences": ["raw_weight differs"]}
    issued = certificate.issue(folder, version | outcome)
    if changes:
        path = folder / certificate.FOLDER / f"{issued['version']}.json"
        path.write_text(json.dumps(issued | changes))


def backtested(folder, verdict="pass", config=None, bars=5_000) -> None:
    found = {"canaries": {"lookahead": verdict, "fills": "pass"}, "conduct": [], "bars": bars, "symbols": ["A", "B"]}
    verdicts.keep(folder, certificate.version_now(folder, config or SystemConfig()), found)


def drifted(store, days, drift_bps=4.0, newest_days_ago=1) -> None:
    newest = datetime.fromtimestamp(NOW / 1e9, UTC).date() - timedelta(days=newest_days_ago)
    rows = [
        {"account": "a", "day": (newest - timedelta(days=i)).isoformat(), "ts": NOW, "strategy": "trend",
         "drift_bps": drift_bps}
        for i in range(days)
    ]  # fmt: skip
    store.append_durable("drift", rows).result(10)


def earn_minimum(store) -> None:
    decide(store, 8)
    compare(store, 500)
    store.append_durable("equity", [{"ts": NOW - 5, "equity": 1e4, "drawdown": 0.02}]).result(10)
    drill(store)
    certify(store.path.parent)
    backtested(store.path.parent)


def red(store, rung: str = "minimum") -> dict[str, str]:
    found = next(row for row in ladder(store, NOW)["rungs"] if row["name"] == rung)
    return {item["name"]: item["detail"] for item in found["conditions"] if not item["ok"]}


def test_an_empty_record_earns_no_capital_and_says_what_to_do(store):
    assert capital_share(store, NOW) == 0.0
    details = red(store)
    assert set(details) == {"Paper days", "Books agree", "Drawdown", "Drill", "Parity", "Backtest"}
    assert "Start the drill on the Health page" in details["Drill"]
    assert "python -m engine certify" in details["Parity"]


def test_evidence_earns_the_minimum_and_no_more_while_drift_is_unknown(store):
    earn_minimum(store)
    answer = ladder(store, NOW)
    assert (answer["rung"], answer["share"]) == ("minimum", 0.01)
    assert red(store) == {}
    assert "0 of 5 days measured in the last 14" in red(store, "tenth")["Drift"]


def test_measured_days_and_live_days_earn_a_tenth_without_an_override(store, tmp_path):
    earn_minimum(store)
    decide(store, 20)
    drifted(store, 6)
    store.close()
    live = Database(tmp_path / "live.duckdb")
    try:
        decide(live, 8)
        answer = ladder(live, NOW)
        assert (answer["rung"], answer["share"]) == ("tenth", 0.1)
        assert not any(row["by_override"] for row in answer["rungs"])
    finally:
        live.close()


@pytest.mark.parametrize(
    ("days", "drift_bps", "newest_days_ago", "sentence"),
    [
        (5, 4.0, 0, "4 of 5 days measured"),  # the newest of them is not over yet
        (4, 1.0, 1, "4 of 5 days measured"),
        (6, -80.0, 1, "6 beyond 25 bp"),
        (6, 1.0, 6, "The newest measured day is"),
    ],
)
def test_too_few_too_large_or_too_old_drift_holds_the_rung_back(store, days, drift_bps, newest_days_ago, sentence):
    earn_minimum(store)
    drifted(store, days, drift_bps, newest_days_ago)
    assert sentence in red(store, "tenth")["Drift"]


@pytest.mark.parametrize(
    ("spoil", "condition"),
    [
        (lambda store: compare(store, 0, bad=20), "Books agree"),
        (lambda store: drill(store, ok=False, days_ago=0.5), "Drill"),
        (lambda store: certify(store.path.parent, "fail"), "Parity"),
        (lambda store: certify(store.path.parent, "fail", decisions=83), "Parity"),
        (lambda store: store.remember("config", {"trend_horizons_hours": [10.0]}).result(10), "Parity"),
        (lambda store: backtested(store.path.parent, "fail"), "Backtest"),
        (lambda store: store.remember("config", {"trend_horizons_hours": [10.0]}).result(10), "Backtest"),
        (lambda store: store.append_durable("equity", [{"ts": NOW - 4, "drawdown": 0.1}]).result(10), "Drawdown"),
        (lambda store: store.remember("config", {"strategy": "ema-cross"}).result(10), "Paper days"),
    ],
    ids=[
        "books",
        "drill failed",
        "not equal",
        "tampered",
        "other parameters",
        "canary red",
        "not tested",
        "drawdown",
        "other strategy",
    ],
)
def test_each_condition_alone_takes_the_rung_away(store, spoil, condition):
    earn_minimum(store)
    spoil(store)
    assert condition in red(store)
    assert capital_share(store, NOW) == 0.0


def test_evidence_goes_stale(store):
    earn_minimum(store)
    assert capital_share(store, NOW + 28 * NS_PER_DAY) == 0.01
    later = NOW + 32 * NS_PER_DAY
    assert drill_verdict(store, later) == (
        False, "The last drill of flatten is 33 days old; 30 is the limit. Rehearse it.",
    )  # fmt: skip
    assert capital_share(store, later) == 0.0


def test_an_override_needs_a_reason_is_audited_shown_and_withdrawn(store):
    with pytest.raises(CommandRefused, match="at least 20 characters"):
        override(store, "tenth", "because", "ann")
    with pytest.raises(CommandRefused, match="no rung 'half'"):
        override(store, "half", REASON, "ann")
    assert capital_share(store, NOW) == 0.0
    override(store, "tenth", REASON, "ann")
    answer = ladder(store, NOW)
    assert (answer["rung"], answer["share"]) == ("tenth", 0.1)
    assert [(row["reached"], row["by_override"]) for row in answer["rungs"]] == [
        (True, False), (True, True), (True, True), (False, False),
    ]  # fmt: skip
    assert answer["overrides"][0] | {"ts": 0} == {"rung": "tenth", "reason": REASON, "ts": 0, "actor": "ann"}
    override(store, "paper", "withdrawn after the review", "ann")
    assert capital_share(store, NOW) == 0.0
    assert [row["rung"] for row in ladder(store, NOW)["overrides"]] == ["paper", "tenth"]


def test_live_counts_what_paper_has_shown(store, tmp_path):
    earn_minimum(store)
    store.close()
    live = Database(tmp_path / "live.duckdb")
    try:
        assert capital_share(live, NOW) == 0.01
        capital = Capital(Mode.LIVE, live, lambda: NOW)
        assert capital.limited(SystemConfig()).max_gross_weight == pytest.approx(0.02)
        drill(live, ok=False, days_ago=0.1)
        assert capital.changed()
        assert capital.limited(SystemConfig()).max_gross_weight == 0.0
    finally:
        live.close()


def test_paper_always_has_all_of_it(store):
    assert Capital(Mode.PAPER, store, lambda: NOW).limited(SystemConfig()) == SystemConfig()


def test_a_share_scales_all_that_sizes_and_leaves_the_loss_limits():
    config, tenth = SystemConfig(), at_share(SystemConfig(), 0.1)
    for name in ("volatility_target", "max_symbol_weight", "max_gross_weight", "rebalance_band"):
        assert getattr(tenth, name) == pytest.approx(getattr(config, name) * 0.1)
    assert (tenth.max_daily_loss, tenth.max_leverage) == (config.max_daily_loss, config.max_leverage)


def test_the_level_rehearsed_longest_ago_is_next(store):
    assert stalest_level(store)[0] == 3
    for level, days in ((3, 1.0), (4, 2.0), (2, 9.0), (1, 3.0)):
        drill(store, level, days_ago=days)
    level, ts = stalest_level(store)
    assert (level, ts) == (2, NOW - 9 * NS_PER_DAY)

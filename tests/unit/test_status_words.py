"""``python -m engine status`` speaks of times and ages as people do; the raw answer stays for programs."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from engine import __main__ as command_line
from engine.status_words import at, status_words

NOW = 1_795_705_713_247_231_036
MINUTE = 60 * 10**9
STATUS = {
    "started_ns": NOW - 322 * 10**9, "now_ns": NOW, "market_ns": NOW, "speed": 1.0, "trading_state": 1, "kill_level": 0,
    "kill_reason": None, "storage_trouble": None, "equity": 10_006.78159, "drawdown": 0.00016, "last_event_age_s": 0.04,
    "feeds": [{"name": "market", "age_s": 0.04, "state": "ok"}, {"name": "account", "age_s": None, "state": "down"}],
    "last_decision": {"decision_id": 28, "ts_close": NOW - 33 * 10**9, "summary": "No trade.", "n_orders": 1},
    "next_decision_ns": NOW + 27 * 10**9, "symbols": ["A", "B"], "last_time_to_flat_s": None,
    "last_reconcile": {"ts": NOW - 5 * MINUTE, "ok": False, "mismatches": 2, "message": "qty"}, "something_new": 7,
    "models": None,
}  # fmt: skip


def test_times_are_utc_with_their_age_and_nothing_is_left_raw():
    said = status_words(STATUS)
    assert said["running since"] == "2026-11-26 15:03:11 UTC, 5 min 22 s ago"
    assert said["as of"] == "2026-11-26 15:08:33 UTC"
    assert said["next decision"] == "2026-11-26 15:09:00 UTC, in 27.0 s"
    assert said["last decision"].startswith("28, of the bar that closed 2026-11-26 15:08:00 UTC, 33.0 s ago: 1 order.")
    assert said["streams"] == "market ok, newest 0.0 s ago; account down, unknown"
    assert said["books compared"] == "2026-11-26 15:03:33 UTC, 5 min 0 s ago: NOT AGREEING, 2 differences: qty"
    assert (said["equity"], said["drawdown"]) == ("10,006.78 USDT", "0.02 %")
    assert (said["new risk"], said["kill switch"], said["kill reason"]) == ("reduce only", "none", "none")
    assert said["last flattening took"] == "unknown"  # never measured, and not zero
    assert said["something new"] == "7"
    assert not any(str(NOW)[:6] in line for line in said.values())
    assert at(NOW + 90 * MINUTE, NOW).endswith("in 1 h 30 min")


def test_a_market_on_its_own_clock_is_told_by_that_clock():
    fast = STATUS | {"market_ns": NOW + 48 * 60 * MINUTE, "next_decision_ns": NOW + 48 * 60 * MINUTE + MINUTE}
    assert status_words(fast)["next decision"].endswith("in 1 min 0 s")
    unknown = status_words(STATUS | dict.fromkeys(("equity", "feeds", "last_decision", "last_reconcile")))
    assert {unknown[name] for name in ("equity", "streams", "last decision", "books compared")} == {"unknown"}


def test_json_stays_raw(monkeypatch):
    monkeypatch.setattr("engine.runtime.remote.ask", lambda home, action, body=None: STATUS)
    run = CliRunner().invoke(command_line.app, ["status", "--json"])
    assert json.loads(run.stdout) == STATUS
    shown = CliRunner().invoke(command_line.app, ["status"]).stdout
    assert "5 min 22 s ago" in " ".join(shown.split())
    assert "this engine runs no models" in shown
    assert run.exit_code == 0

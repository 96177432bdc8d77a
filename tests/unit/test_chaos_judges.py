"""The judges of the chaos and soak benchmarks: what they let pass, and what they must not."""

import json
import random
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from chaos_faults import GROSS_LIMIT, chosen_kinds
from chaos_kinds import FAULTS
from chaos_rig import MARK_MOVES, Diary, Watcher
from soak import DAY_MS, HOUR_MS, KINDS, memory_line, plan


def books(equity, **held):
    """Positions as symbol=(quantity, mark)."""
    rows = [{"symbol": s, "positionAmt": str(q), "notional": str(q * px)} for s, (q, px) in held.items()]
    return {"positions": rows, "balances": {"margin_balance": str(equity)}}


def watcher(limit=2.0):
    return Watcher(exchange=None, victim=None, limit=limit)


def test_what_was_bought_above_the_limit_is_a_breach():
    judge = watcher()
    judge.judge(books(1000, BTC=(1.0, 1900.0)))
    judge.judge(books(1000, BTC=(1.0, 1900.0), ETH=(-2.0, 100.0)))  # 2.1 times equity
    assert judge.breaches == ["2.1000 of equity after ETH grew; the limit is 2"]
    assert (judge.highest, judge.polls, judge.by_price) == (pytest.approx(2.1), 2, 0)


def test_a_price_that_moved_is_no_breach_and_is_counted():
    judge = watcher()
    judge.judge(books(1000, BTC=(-1.0, 1990.0)))
    judge.judge(books(900, BTC=(-1.0, 2090.0)))  # 2.32, nothing was sold
    judge.judge(books(900, BTC=(-0.9, 2090.0)))  # less of it, still above
    assert (judge.breaches, judge.by_price) == ([], 2)


def test_one_symbol_grown_and_another_shrunk_is_judged_by_the_whole():
    judge = watcher()
    judge.judge(books(1000, BTC=(-1.0, 2050.0)))  # a first look that is above already: it was bought
    judge.judge(books(1000, BTC=(-0.8, 2050.0), ETH=(3.0, 125.0)))  # 2.015: less than before
    assert len(judge.breaches) == 1
    judge.judge(books(1000, BTC=(-0.8, 2050.0), ETH=(4.0, 125.0)))
    assert len(judge.breaches) == 2


def test_a_mark_that_moves_between_fill_and_look_is_allowed_for():
    judge = watcher()
    judge.judge(books(1000, BTC=(1.0, 2000.0 * (1 + 0.9 * MARK_MOVES))))
    assert judge.breaches == []


def test_diary_goes_on_where_it_was_and_refuses_another_benchmark(tmp_path, capsys):
    path = tmp_path / "kept.jsonl"
    about = {"faults": ["429"], "seed": 1, "runs": 3}
    Diary(path, about).add({"kind": "429", "run": 0})
    assert Diary(path, about).rows == [{"kind": "429", "run": 0}]
    assert "1 runs of" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="name another file"):
        Diary(path, about | {"seed": 2})
    assert json.loads(path.read_text().splitlines()[0]) == about


def test_every_kind_of_fault_that_was_promised_is_there_by_name():
    promised = {
        "timeout_before_acceptance", "timeout_after_acceptance", "503_executed", "503_not_executed", "1006_executed",
        "429", "418", "html_error_body", "slow_body", "truncated_json", "ws_drop", "ws_half_open", "duplicate_events",
        "reordered_events", "lost_events", "listen_key_expiry", "24h_close", "partial_fill_then_drop", "clock_11s",
        "venue_restart", "stop_rejected", "funding_while_disconnected", "disk_full", "database_locked",
    }  # fmt: skip
    assert promised <= set(FAULTS)
    assert chosen_kinds("all") == list(FAULTS)
    with pytest.raises(SystemExit, match="There is no fault nonsense"):
        chosen_kinds("429,nonsense")
    assert GROSS_LIMIT < 1.0  # the tickets are large enough to reach it


def test_faults_are_planned_by_the_seed_and_half_of_them_at_a_close():
    start = 1_800_000_000_000
    first, again = (plan(400.0, 1.0, random.Random(3), start) for _ in range(2))
    assert first == again
    assert 340 < len(first) < 460  # Poisson: 400 +- 3 * 20
    assert all(start <= at < start + 401 * DAY_MS and name in KINDS for at, name in first)
    aimed = sum((at + 1_500) % HOUR_MS == 0 for at, _ in first)
    assert 0.4 < aimed / len(first) < 0.6
    assert plan(30.0, 0.0, random.Random(3), start) == []


def test_memory_that_grows_is_not_flat_and_memory_that_only_warms_up_is():
    day = [float(index) * DAY_MS / 10 for index in range(301)]
    warm = memory_line([(at, 500e6 if index > 20 else 300e6) for index, at in enumerate(day)], 900.0)
    still = {"slope_mb_per_market_day": 0.0, "growth": 0.0}
    assert (warm["flat"], warm["second_half"], warm["after_warm_up"]) == (True, still, still)
    leak = memory_line([(at, 500e6 + 2e6 * at / DAY_MS) for at in day], 900.0)
    # second half: 15 days of 2 MB each around 545 MB
    assert (leak["flat"], leak["second_half"]) == (False, {"slope_mb_per_market_day": 2.0, "growth": 0.055})
    assert (leak["first_mb"], leak["last_mb"]) == (500.0, 560.0)

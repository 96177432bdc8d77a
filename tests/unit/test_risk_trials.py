"""The trials of the risk control: windows, made-up paths, gaps, and what is counted of them."""

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from engine.domain import NS_PER_S
from engine.errors import DataError
from engine.research.loading import BarTable
from engine.research.risk_report import page_lines, report_lines, summary, wilson
from engine.research.risk_shocks import Shock, all_shocks, listed_then
from engine.research.risk_trials import (
    CASH,
    Plan,
    Trial,
    all_trials,
    drawn,
    judged,
    known_part,
    made_up_path,
    month_windows,
    rows_of,
    shifted,
    symbol_sets,
    worst_within,
)

BEGIN = int(datetime(2021, 1, 15, tzinfo=UTC).timestamp()) * NS_PER_S
HOUR = 3600 * NS_PER_S
NAMES = ("AUSDT", "BUSDT", "CUSDT")


def bars_of(n_bars, n_symbols=3, seed=1):
    rng = np.random.default_rng(seed)
    close_px = 50.0 * np.exp(np.cumsum(rng.normal(0, 0.006, (n_bars, n_symbols)), axis=0))
    open_px = np.vstack([close_px[:1], close_px[:-1]])
    pair = np.maximum(open_px, close_px) * 1.001, np.minimum(open_px, close_px) * 0.999
    volume = np.full(close_px.shape, 1e7)
    ts_open = BEGIN + np.arange(n_bars, dtype=np.int64) * HOUR
    return BarTable(NAMES[:n_symbols], 3600, ts_open, open_px, *pair, close_px, volume, "made here")


def trial(drawdown=0.1, beyond=0, symbols=NAMES, growth=0.2):
    return Trial("t", symbols, growth, 1.0, drawdown, 0.03, 365, beyond, 0.2, drawdown + 0.02, 0.04, 0)


def test_a_days_loss_is_measured_from_the_close_before_it():
    ts_close = BEGIN + HOUR * np.arange(1, 49)
    equity = np.full(48, CASH)
    equity[30] = 0.94 * CASH  # inside the second day, made good before its end
    found = judged("x", NAMES, ts_close, equity, np.zeros((48, 3)))
    assert (found.n_days, found.days_beyond, found.worst_day) == (2, 1, pytest.approx(0.06))
    assert (found.drawdown, found.growth) == (pytest.approx(0.06), 0.0)


def test_a_loss_in_the_first_bar_counts():
    found = judged("x", NAMES, BEGIN + HOUR * np.arange(1, 3), np.array([0.8, 0.8]) * CASH, np.zeros((2, 3)))
    assert (found.drawdown, found.days_beyond) == (pytest.approx(0.2), 1)


def test_what_is_lost_within_a_bar_is_measured_with_every_symbol_at_its_worst():
    bars = bars_of(3, 2)
    close_px = np.full((3, 2), 100.0)
    low_px, high_px = close_px.copy(), close_px.copy()
    low_px[1], high_px[1] = (80.0, 70.0), (130.0, 110.0)
    close_px[2, 1] = np.nan  # no bar, nothing held
    bars = bars._replace(open_px=close_px, high_px=high_px, low_px=low_px, close_px=close_px)
    equity, weight = np.array([1.0, 1.02, 1.02]) * CASH, np.array([[0.0, 0.0], [0.5, -0.5], [0.5, np.nan]])
    worst = worst_within(bars, equity, weight)
    assert worst == pytest.approx([CASH, 1.02 * CASH * (1.0 - 0.5 * 0.2 - 0.5 * 0.1), 1.02 * CASH])
    found = judged("x", NAMES, bars.ts_close, equity, np.nan_to_num(weight), worst)
    assert (found.drawdown, found.worst_day, found.days_beyond) == (0.0, 0.0, 0)
    assert found.drawdown_within == found.worst_day_within == pytest.approx(1.0 - 1.02 * 0.85)
    assert found.days_beyond_within == 1


def test_windows_begin_on_the_first_of_each_month_that_has_room():
    windows = month_windows(bars_of(24 * 470))
    assert [name for name, _, _ in windows] == ["2021-02", "2021-03", "2021-04"]
    assert windows[0][1:] == (24 * 17, 24 * (17 + 365))


def test_symbol_sets_hold_every_single_and_pair_once():
    sets = symbol_sets(("A", "B", "C", "D"), 5, 1)
    assert sets[0] == ("A", "B", "C", "D")
    assert {len(names) for names in sets} == {1, 2, 3, 4}
    assert sum(len(names) == 2 for names in sets) == 6
    assert len(sets) == len(set(sets))
    assert sets == symbol_sets(("A", "B", "C", "D"), 5, 1)


def test_blocks_go_on_where_they_began_and_have_the_mean_length_asked_for():
    rows = drawn(1000, 200_000, 40.0, np.random.default_rng(2))
    breaks = (np.diff(rows) % 1000 != 1).sum()
    assert 200_000 / (breaks + 1) == pytest.approx(40.0, rel=0.05)
    assert (rows.min(), rows.max()) == (0, 999)


def test_a_made_up_path_has_the_moves_of_its_rows_for_every_symbol_alike():
    bars = bars_of(500)
    rows = np.array([10, 11, 300, 7])
    path = made_up_path(bars, rows)
    expected = bars.close_px[rows + 1] / bars.close_px[rows]
    np.testing.assert_allclose(np.diff(path.close_px, axis=0) / path.close_px[:-1] + 1.0, expected[1:])
    np.testing.assert_allclose(path.high_px / path.close_px, (bars.high_px / bars.close_px)[rows + 1])
    np.testing.assert_allclose(path.volume * path.close_px, (bars.volume * bars.close_px)[rows + 1])
    assert (np.diff(path.ts_open) == HOUR).all()


def test_a_gap_moves_everything_from_its_bar_on():
    bars = bars_of(10)
    gapped = shifted(bars, 4, np.array([0.7, 1.0, 1.3]))
    np.testing.assert_array_equal(gapped.close_px[:4], bars.close_px[:4])
    np.testing.assert_allclose(gapped.open_px[4:] / bars.open_px[4:], np.tile([0.7, 1.0, 1.3], (6, 1)))
    assert bars.close_px[9, 0] != gapped.close_px[9, 0]


def test_symbols_that_were_not_listed_yet_are_left_out_of_an_old_shock():
    bars = bars_of(24 * 200)
    bars.close_px[: 24 * 150, 2] = np.nan
    assert listed_then(bars, BEGIN + 24 * 120 * HOUR).symbols == NAMES[:2]
    assert len(listed_then(bars, BEGIN + 24 * 400 * HOUR).ts_open) == 0  # no bar is as late
    assert len(known_part(bars, NAMES).ts_open) == 24 * 50


def test_too_little_history_is_refused():
    with pytest.raises(DataError, match=r"100 days in common.*425 whole days are needed"):
        all_trials(bars_of(24 * 100), Plan(jobs=1))


def test_wilson_agrees_with_the_closed_form_at_half_and_never_leaves_the_unit_interval():
    low, high = wilson(50, 100)
    assert (low + high) / 2 == pytest.approx(0.5)
    assert high - low == pytest.approx(2 * 1.96 / math.sqrt(100 + 1.96**2) / 2, rel=1e-6)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0
    assert math.isnan(wilson(0, 0)[0])


@pytest.mark.parametrize(("falls", "beyond", "holds"), [((0.1,) * 200, 0, True), ((0.1,) * 98 + (0.2,) * 2, 0, False),
                                                        ((0.1,) * 100, 5, False)])  # fmt: skip
def test_the_goal_is_met_only_when_both_shares_are_below_it(falls, beyond, holds):
    trials = [("history", "on", trial(fall, beyond)) for fall in falls] + [("history", "off", trial(0.4, 50))]
    found = summary(bars_of(48), trials, [], Plan())
    assert found["holds"] is holds
    assert found["groups"]["history"]["off"]["drawdown"]["share"] == 1.0
    assert report_lines(found)[-1].startswith("Goal met" if holds else "Goal missed")


def test_the_tables_say_what_was_found():
    trials = [(kind, control, trial()) for kind in ("history", "path") for control in ("on", "off")]
    shock = Shock("a shock", BEGIN, 0.4, -0.12, trial(), trial(0.3))
    text = "\n".join(page_lines(summary(bars_of(48), trials, [shock], Plan())))
    assert "| history | on | 0.00 % (0.00 % to 79.35 %) of 1 |" in text
    assert "measured at bar closes, every 3600 s. The engine's default is to decide every 1m" in text
    assert (
        "| path | off | 0.00 % (0.00 % to 79.35 %) of 1 | 0.00 % (0.00 % to 1.04 %) of 365 | 12.0 % | 4.0 % |" in text
    )
    assert "| a shock | 0.40 | -12.0 % | 10.0 % | 3.0 % | 20.0 % | 30.0 % |" in text


def test_a_gap_against_the_whole_book_stays_above_the_floor_with_the_control_on():
    shocks = {shock.name: shock for shock in all_shocks(bars_of(24 * 430, seed=6))}
    against = shocks["30 % against every single position"]
    assert against.gross > 0.3
    assert against.move == pytest.approx(-0.3 * against.gross, abs=0.02)
    assert against.on.drawdown < 0.15
    assert len(rows_of(bars_of(48), slice(0, 5)).ts_open) == 5

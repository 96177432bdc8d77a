"""The data doctor: each fault planted by hand is found where it was planted, and a sound series has none."""

import numpy as np
import pytest
from dataset_builders import HOUR, START, walk, without

from engine.datasets.doctor import coverage, examine
from engine.datasets.findings import Check, Severity
from engine.datasets.funding_doctor import examine_funding
from engine.domain import NS_PER_S


def found(series, **planted):
    return examine(series.symbol, series.ts, series.values, 3600)


def only(findings, check):
    (one,) = [finding for finding in findings if finding.check == check]
    return one


@pytest.mark.parametrize("seed", range(5))
def test_a_sound_series_has_no_finding(seed):
    assert found(walk(2000, seed)) == []


def test_a_storm_is_not_an_outlier():
    series = walk(600)
    rng = np.random.default_rng(1)
    # fifty bars of 4 % moves in a market of 0.5 %: eight times as wild, and nothing is wrong
    moves = np.where((np.arange(600) > 300) & (np.arange(600) < 350), rng.normal(0, 0.04, 600), 0)
    grown = np.exp(np.cumsum(moves))[:, None]
    series.values[:, :4] *= grown
    series.values[:, 0] = np.append(series.values[0, 0], series.values[:-1, 3])
    series.values[:, 1] = series.values[:, [0, 1, 3]].max(axis=1)
    series.values[:, 2] = series.values[:, [0, 2, 3]].min(axis=1)
    assert found(series) == []


def test_gaps_are_listed_with_their_span_and_length():
    findings = found(without(walk(), [50, *range(100, 110)]))
    short, long = sorted(findings, key=lambda f: f.n_rows)
    assert (short.check, short.severity, short.n_rows) == (Check.GAP, Severity.NOTE, 1)
    assert long.severity == Severity.WARNING
    assert (long.first_ts, long.last_ts, long.n_rows) == (START + 100 * HOUR, START + 109 * HOUR, 10)
    assert long.sentence == "10 bars (10.0 h) are missing, from 2020-09-17 17:00:00 to 2020-09-18 02:00:00."
    assert coverage(without(walk(), [50]).ts, 3600) == 299 / 300


def test_many_gaps_are_summed_up_and_none_is_lost():
    findings = found(without(walk(1000), range(1, 999, 5)))
    assert len(findings) == 61
    assert sum(f.n_rows for f in findings) == 200
    assert findings[0].severity == Severity.WARNING  # 140 bars of 1000 together
    assert "And 140 shorter gaps of at most 1 bar, 140 bars together." in [f.sentence for f in findings]


def test_a_spike_that_goes_back_is_told_from_a_jump_that_stays():
    spiked = walk()
    spiked.values[150, 1] = spiked.values[150, 3] = spiked.values[150, 3] * 1.2
    spiked.values[151, 0] = spiked.values[150, 3]
    spiked.values[151, 1] = spiked.values[151, :4].max()
    spike = only(found(spiked), Check.SPIKE)
    assert (spike.first_ts, spike.n_rows, spike.severity) == (START + 150 * HOUR, 1, Severity.WARNING)
    assert "+20" in spike.sentence
    split = walk()
    split.values[150:, :4] /= 10
    jump = only(found(split), Check.JUMP)
    assert (jump.first_ts, jump.severity) == (START + 150 * HOUR, Severity.ERROR)
    assert "-90" in jump.sentence


def test_a_wick_beyond_all_measure_is_found():
    series = walk()
    series.values[42, 2] *= 0.4
    wick = only(found(series), Check.WICK)
    assert (wick.first_ts, wick.n_rows) == (START + 42 * HOUR, 1)
    assert "60." in wick.sentence


def test_clock_jumps_duplicates_and_broken_rows():
    series = walk()
    ts, values = series.ts.copy(), series.values.copy()
    ts[20] += 7 * NS_PER_S  # off the grid
    ts[100] = ts[99]  # the same hour again, with other prices
    values[200, 1] = values[200, 2] / 2  # high below everything
    findings = examine("X", ts, values, 3600)
    assert only(findings, Check.CLOCK).first_ts == ts[20]
    twice = only(findings, Check.DUPLICATE)
    assert (twice.severity, twice.first_ts) == (Severity.ERROR, ts[99])
    broken = only(findings, Check.BROKEN)
    assert broken.sentence.startswith("Row 201 at 2020-09-21 21:00:00 has high below open or close; expected")
    swapped = np.concatenate([series.ts[:100], series.ts[50:]])
    back = examine("X", swapped, np.concatenate([values[:100], values[50:]]), 3600)
    assert "backwards 1 times" in only(back, Check.CLOCK).sentence
    reversed_file = examine("X", series.ts[::-1], series.values[::-1], 3600)
    assert [(f.check, f.severity) for f in reversed_file] == [(Check.CLOCK, Severity.NOTE)]


def test_quiet_outages_and_stuck_prices():
    quiet = walk()
    quiet.values[10:13, 4] = 0
    assert (only(found(quiet), Check.ZERO_VOLUME).n_rows, only(found(quiet), Check.ZERO_VOLUME).severity) == (
        3, Severity.NOTE,
    )  # fmt: skip
    thin = walk()
    thin.values[::3, 4] = 0
    assert only(found(thin), Check.ZERO_VOLUME).severity == Severity.WARNING
    stuck = walk()
    stuck.values[100:110, :4] = stuck.values[99, 3]
    assert only(found(stuck), Check.STALE).first_ts == START + 101 * HOUR  # the first that repeats another
    copied = walk()
    copied.values[60] = copied.values[59]
    assert only(found(copied), Check.COPY).first_ts == START + 60 * HOUR


def test_flat_bars_of_a_thin_market_are_not_stale():
    series = walk(2000)
    rng = np.random.default_rng(0)
    for i in np.flatnonzero(rng.random(1999) < 0.5) + 1:
        series.values[i, :4] = series.values[i - 1, 3]
    assert [f for f in found(series) if f.check == Check.STALE] == []


def test_funding_schedule_gaps_and_units():
    eight, one = np.arange(90) * 8, 90 * 8 + np.arange(200)
    ts = START + np.concatenate([eight, one]) * HOUR + 4_000_000  # four milliseconds late, as venues stamp it
    rates = np.full(len(ts), 1e-4)
    (schedule,) = examine_funding("X", ts, rates)
    assert schedule.check == Check.SCHEDULE
    assert "every 8 h from" in schedule.sentence
    assert "then every 1 h from 2020-10-13" in schedule.sentence
    holes = np.delete(ts, [30, 200, 201])
    gaps = [f for f in examine_funding("X", holes, rates[3:]) if f.check == Check.GAP]
    assert sorted(gap.n_rows for gap in gaps) == [1, 2]
    per_cent = examine_funding("X", ts, rates * 100)
    assert (per_cent[0].check, per_cent[0].severity) == (Check.RATE, Severity.ERROR)
    assert "expected a fraction" in per_cent[0].sentence
    rates[5] = 0.5
    assert only(examine_funding("X", ts, rates), Check.RATE).first_ts // HOUR == ts[5] // HOUR

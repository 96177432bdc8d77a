"""Who counts as the same data: what a person might do to a file in order to start the count of trials anew."""

import numpy as np
import pytest
from research_bars import walk

from engine.domain import NS_PER_DAY, NS_PER_S
from engine.research.identity import same_market, sketch
from engine.research.ledger import Ledger
from engine.research.loading import align, cut, select

BARS = walk(2400)
HOURLY = sketch(BARS)


def rebuilt(bars, symbols=None, shift_ns=0, factor=1.0, noise=0.0):
    rng = np.random.default_rng(9)
    series = []
    for i, symbol in enumerate(symbols or bars.symbols):
        grid = (bars.open_px, bars.high_px, bars.low_px, bars.close_px)
        values = np.column_stack([column[:, i] * factor for column in grid] + [bars.volume[:, i]])
        values[:, :4] *= np.exp(rng.normal(0, noise, len(values)))[:, None]
        series.append((symbol, bars.ts_open + shift_ns, values))
    return align(series)


def longer_bars(bars, by):
    start = int(np.flatnonzero(bars.ts_open % (by * bars.interval_s * NS_PER_S) == 0)[0])
    first = start + by * np.arange((len(bars.ts_open) - start) // by)
    grid = np.stack([bars.open_px[first], bars.high_px[first], bars.low_px[first], bars.close_px[first + by - 1]])
    return bars._replace(
        interval_s=bars.interval_s * by, ts_open=bars.ts_open[first], open_px=grid[0], high_px=grid[1], low_px=grid[2],
        close_px=grid[3], volume=bars.volume[first],
    )  # fmt: skip


DODGES = {
    "renamed": rebuilt(BARS, symbols=("AAAUSDT", "BBBUSDT")),
    "one symbol": select(BARS, ("ETHUSDT",)),
    "first half": cut(BARS, None, int(BARS.ts_open[1300])),
    "another currency": rebuilt(BARS, factor=0.93),
    "shifted by a year": rebuilt(BARS, shift_ns=365 * NS_PER_DAY),
    "another venue": rebuilt(BARS, noise=3e-4),
    "four-hour bars": longer_bars(BARS, 4),
    "three days of minutes": cut(walk(60 * 240, interval_s=60), None, (1_600_002_000 + 3 * 86_400) * NS_PER_S),
}
ORIGINALS = {"three days of minutes": sketch(walk(60 * 240, interval_s=60))}


@pytest.mark.parametrize("name", DODGES)
def test_the_same_moves_are_the_same_data(name):
    assert same_market(ORIGINALS.get(name, HOURLY), sketch(DODGES[name]))
    assert same_market(sketch(DODGES[name]), ORIGINALS.get(name, HOURLY))


def test_other_moves_are_other_data():
    assert not same_market(HOURLY, sketch(walk(2400, seed=1)))
    early, late = cut(BARS, None, int(BARS.ts_open[1200])), cut(BARS, int(BARS.ts_open[1200]), None)
    assert not same_market(sketch(early), sketch(late))  # a later year that was kept apart is a fair test


def test_coins_that_move_together_are_not_the_same_coin():
    rng = np.random.default_rng(4)
    common = rng.normal(0, 0.008, (2400, 1))
    one, other = (walk(2400, seed=seed, symbols=("A",), drift=1.5 * common) for seed in (11, 12))
    daily = [np.diff(np.log(bars.close_px[::24, 0])) for bars in (one, other)]
    assert np.corrcoef(*daily)[0, 1] > 0.6
    assert not same_market(sketch(one), sketch(other))


def test_trials_on_a_copy_count_together_and_are_kept_on_disk(tmp_path):
    ledger = Ledger(tmp_path)
    copy, other = DODGES["renamed"], walk(2400, seed=1)
    for bars in (BARS, copy, other):
        ledger.know(bars)
        ledger.know(bars)
        ledger.record(bars.fingerprint, f"on {bars.symbols[0]}{bars.fingerprint[:4]}", 0.1, np.zeros(100))
    again = Ledger(tmp_path)
    assert len(again.trials(BARS.fingerprint)) == len(again.trials(copy.fingerprint)) == 2
    assert len(again.trials(other.fingerprint)) == 1


def test_a_trial_whose_returns_were_deleted_still_counts(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.record("d" * 64, "one", 0.1, np.zeros(100))
    for path in (tmp_path / "research" / "returns").iterdir():
        path.unlink()
    assert [trial.sharpe for trial in ledger.trials("d" * 64)] == [0.1]

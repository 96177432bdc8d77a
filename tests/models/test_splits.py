"""Folds: each part after the other, apart by the embargo, and no label known too late."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from engine.errors import DataError
from models.forecast import HORIZONS
from models.labels import ts_known_after
from models.panel import made_up_panel
from models.splits import monthly_folds, usable

TS_CLOSE = made_up_panel(1, 24 * 31 * 5, 1).ts_close  # hourly, from 2020-01-01


def test_a_fold_is_train_then_validation_then_its_month() -> None:
    folds = monthly_folds(TS_CLOSE, "2020-03", "2020-05", valid_bars=240, embargo_bars=24)
    assert len(folds) == 3
    january_february = (31 + 29) * 24
    first = folds[0]
    assert first.test == slice(january_february, january_february + 31 * 24)
    assert first.valid == slice(january_february - 24 - 240, january_february - 24)
    assert first.train == slice(0, january_february - 24 - 240 - 24)
    for before, after in itertools.pairwise(folds):
        assert before.test.stop == after.test.start


def test_no_label_of_training_is_known_after_validation_begins() -> None:
    known = ts_known_after(TS_CLOSE, HORIZONS)
    for fold in monthly_folds(TS_CLOSE, "2020-03", "2020-05", valid_bars=240, embargo_bars=0):
        for before, after in ((fold.train, fold.valid), (fold.valid, fold.test)):
            used = known[before][usable(TS_CLOSE, known, before)]
            assert used.max() == TS_CLOSE[before.stop - 1] < TS_CLOSE[after.start]


def test_the_last_bars_of_a_slice_have_no_usable_label() -> None:
    known = ts_known_after(TS_CLOSE, (1, 4))
    np.testing.assert_array_equal(usable(TS_CLOSE, known, slice(10, 20)).sum(axis=0), [9, 6])


def test_a_rolling_window_keeps_its_length() -> None:
    folds = monthly_folds(TS_CLOSE, "2020-03", "2020-05", valid_bars=240, train_bars=500)
    assert [fold.train.stop - fold.train.start for fold in folds] == [500, 500, 500]


def test_one_fit_can_be_judged_on_several_months() -> None:
    folds = monthly_folds(TS_CLOSE, "2020-03", "2020-05", valid_bars=240, months=2)
    assert [fold.test.stop - fold.test.start for fold in folds] == [(31 + 30) * 24, 31 * 24]


def test_months_without_bars_or_history_are_refused() -> None:
    with pytest.raises(DataError, match="no bar lies"):
        monthly_folds(TS_CLOSE, "2019-01", "2019-02", valid_bars=240)
    with pytest.raises(DataError, match="start later"):
        monthly_folds(TS_CLOSE, "2020-01", "2020-02", valid_bars=240)

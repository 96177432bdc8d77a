"""Bars from files: units of time, alignment, and refusals that say what is wrong."""

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import pytest

from engine.domain import NS_PER_S
from engine.errors import DataError
from engine.research.loading import cut, load_bars, load_funding, select

START_S = 1_600_002_000
GOOD = {"open": [10.0, 11.0, 12.0], "high": [12.0, 12.0, 13.0], "low": [9.0, 10.0, 11.0],
        "close": [11.0, 11.5, 12.5], "volume": [1.0, 0.0, 2.0]}  # fmt: skip


def write(path, timestamps, **changes):
    columns = {"timestamp": timestamps, **(GOOD | changes)}
    table = pa.table(columns)
    if path.suffix == ".csv":
        pa_csv.write_csv(table, path)
    else:
        pa_parquet.write_table(table, path)
    return path


def hours(n=3, first=0):
    return [START_S + 3600 * (first + k) for k in range(n)]


@pytest.mark.parametrize("factor", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_integer_timestamps_in_any_unit(tmp_path, factor, suffix):
    bars = load_bars(write(tmp_path / f"btcusdt{suffix}", [ts * factor for ts in hours()]))
    assert bars.symbols == ("BTCUSDT",)
    assert bars.ts_open.tolist() == [ts * NS_PER_S for ts in hours()]
    assert bars.interval_s == 3600
    assert bars.ts_close[0] == (START_S + 3600) * NS_PER_S


@pytest.mark.parametrize(
    "kind", [pa.timestamp("us", tz="UTC"), pa.timestamp("ms"), pa.timestamp("us", tz="Asia/Tokyo")]
)
def test_datetimes_are_utc_whatever_zone_they_are_shown_in(tmp_path, kind):
    factor = 10**6 if kind.unit == "us" else 10**3
    bars = load_bars(write(tmp_path / "A.parquet", pa.array([ts * factor for ts in hours()], kind)))
    assert bars.ts_open[0] == START_S * NS_PER_S


def test_iso_text_with_an_offset(tmp_path):
    texts = ["2020-09-13T15:00:00+02:00", "2020-09-13T16:00:00+02:00", "2020-09-13T17:00:00+02:00"]
    assert load_bars(write(tmp_path / "A.parquet", texts)).ts_open[0] == START_S * NS_PER_S


def test_folder_is_aligned_on_one_clock_with_nan_where_missing(tmp_path):
    write(tmp_path / "AAA.parquet", hours())
    write(tmp_path / "BBB.parquet", hours(first=1))
    bars = load_bars(tmp_path)
    assert bars.symbols == ("AAA", "BBB")
    assert bars.close_px.shape == (4, 2)
    np.testing.assert_array_equal(bars.close_px[:, 0], [11.0, 11.5, 12.5, np.nan])
    np.testing.assert_array_equal(bars.close_px[:, 1], [np.nan, 11.0, 11.5, 12.5])
    assert load_bars(tmp_path, ("BBB",)).symbols == ("BBB",)
    assert select(bars, ("BBB", "AAA")).close_px[0, 1] == 11.0


@pytest.mark.parametrize(
    ("changes", "timestamps", "sentence"),
    [
        ({}, [START_S, START_S, START_S + 3600], "row 2 at 2020-09-13 13:00:00 repeats the timestamp"),
        ({}, [START_S + 3600, START_S, START_S + 7200], "row 2 .* older than the row before it"),
        ({"close": [11.0, float("nan"), 12.5]}, hours(), "row 2 .* holds NaN"),
        ({"low": [9.0, -1.0, 11.0]}, hours(), "row 2 .* price <= 0"),
        ({"high": [10.5, 12.0, 13.0]}, hours(), "row 1 .* high below open or close"),
        ({"low": [10.5, 10.0, 11.0]}, hours(), "row 1 .* low above open or close"),
        ({"volume": [1.0, -1.0, 1.0]}, hours(), "negative volume"),
        ({"close": ["a", "b", "c"]}, hours(), "column close holds something that is not a number"),
        ({}, [START_S, START_S + 7, START_S + 14], "bars are 7 s apart"),
    ],
)
def test_bad_rows_are_refused_with_their_place(tmp_path, changes, timestamps, sentence):
    with pytest.raises(DataError, match=sentence):
        load_bars(write(tmp_path / "A.parquet", timestamps, **changes))


def test_missing_column_names_what_there_is(tmp_path):
    path = tmp_path / "A.csv"
    path.write_text("timestamp,open,high,low,close\n1,2,3,1,2\n")
    with pytest.raises(DataError, match="lacks column 'volume'; it has timestamp, open"):
        load_bars(path)


def test_missing_files_and_symbols(tmp_path):
    with pytest.raises(DataError, match="there is no file or folder"):
        load_bars(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no SYMBOL\.parquet"):
        load_bars(tmp_path)
    write(tmp_path / "AAA.parquet", hours())
    with pytest.raises(DataError, match="no file for BBB; it has AAA"):
        load_bars(tmp_path, ("BBB",))


def test_different_intervals_are_refused(tmp_path):
    write(tmp_path / "AAA.parquet", hours())
    write(tmp_path / "BBB.parquet", [START_S + 60 * k for k in range(3)])
    with pytest.raises(DataError, match="different bar intervals: AAA 3600 s, BBB 60 s"):
        load_bars(tmp_path)


def test_cut_keeps_the_fingerprint_and_refuses_nothing_left(tmp_path):
    bars = load_bars(write(tmp_path / "A.parquet", hours()))
    late = cut(bars, (START_S + 3600) * NS_PER_S, None)
    assert (len(late.ts_open), late.fingerprint) == (2, bars.fingerprint)
    with pytest.raises(DataError, match="fewer than 2 bars"):
        cut(bars, None, START_S * NS_PER_S)


def test_funding_belongs_to_the_first_bar_that_closes_at_or_after_it(tmp_path):
    bars = load_bars(write(tmp_path / "AAA.parquet", hours()))
    (tmp_path / "funding").mkdir()
    settled = [START_S - 7200, START_S + 3600, START_S + 5400]
    pa_parquet.write_table(
        pa.table({"timestamp": settled, "rate": [9e-4, 1e-4, 2e-4]}), tmp_path / "funding" / "AAA.parquet"
    )
    assert load_funding(tmp_path / "funding", bars)[:, 0].tolist() == [1e-4, 2e-4, 0.0]

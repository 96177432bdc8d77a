"""Import: names and times of other programs are understood, bad rows are named or left out, all on record."""

import gzip
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from dataset_builders import START, walk

from engine.datasets import store
from engine.datasets.columns import guess, settled, symbol_of
from engine.datasets.importing import ImportRequest, import_files, preview
from engine.errors import BadRows, DataError

MS = START // 10**6
HOUR_MS = 3_600_000
GOOD = [(MS + i * HOUR_MS, 100 + i, 102 + i, 99 + i, 101 + i, 5.5) for i in range(4)]


def csv(path, rows, header="timestamp,open,high,low,close,volume"):
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(line for line in lines if line) + "\n")
    return path


def request(path, **changes):
    return ImportRequest(path=path, name="d", **changes)


def stored(home, path, **changes):
    manifest = import_files(home, request(path, **changes))
    return manifest, store.load(home, "d")[1]


@pytest.mark.parametrize(
    ("header", "time_of"),
    [
        ("timestamp,open,high,low,close,volume", lambda ms: ms),
        ("Open Time,Open,High,Low,Close,Volume", lambda ms: ms // 1000),
        ("unix,o,h,l,c,Volume BTC", lambda ms: ms * 1000),
        ("date,open,high,low,close,vol", lambda ms: np.datetime64(ms, "ms")),
        ("start_time,open_px,high_px,low_px,close_px,base_volume", lambda ms: f"{np.datetime64(ms, 'ms')}Z"),
    ],
)
def test_names_and_units_of_other_programs(tmp_path, header, time_of):
    rows = [(time_of(ms), *rest) for ms, *rest in GOOD]
    manifest, (series,) = stored(tmp_path, csv(tmp_path / "BTCUSDT-1h.csv", rows, header))
    assert series.symbol == "BTCUSDT"
    assert series.ts.tolist() == [ms * 10**6 for ms, *_ in GOOD]
    assert series.values[3].tolist() == [103, 105, 102, 104, 5.5]
    assert (manifest["interval"], manifest["findings"], manifest["changes"]) == ("1h", [], [])


def test_headerless_klines_zipped_by_month_are_one_series(tmp_path):
    folder = tmp_path / "monthly"
    folder.mkdir()
    klines = [(*row, row[0] + HOUR_MS - 1, 500.0, 10, 1.0, 2.0, 0) for row in GOOD]
    for month, rows in (("2020-09", klines[:2]), ("2020-10", klines[2:])):
        text = "".join(",".join(map(str, row)) + "\n" for row in rows)
        with zipfile.ZipFile(folder / f"BTCUSDT-1h-{month}.zip", "w") as archive:
            archive.writestr(f"BTCUSDT-1h-{month}.csv", text)
    manifest, (series,) = stored(tmp_path, folder)
    assert series.values[:, 3].tolist() == [101, 102, 103, 104]
    assert [file["file"] for file in manifest["source"]["files"]] == [
        "BTCUSDT-1h-2020-09.zip",
        "BTCUSDT-1h-2020-10.zip",
    ]


def test_a_vendors_first_line_semicolons_and_gzip(tmp_path):
    path = tmp_path / "Binance_ETHUSDT_1h.csv.gz"
    rows = "\n".join(";".join(map(str, row)) for row in reversed(GOOD))
    path.write_bytes(gzip.compress(f"https://vendor.example/\nunix;open;high;low;close;volume\n{rows}\n".encode()))
    manifest, (series,) = stored(tmp_path, path)
    assert series.symbol == "ETHUSDT"
    assert series.values[0, 0] == 100
    assert manifest["changes"] == ["ETHUSDT: rows were newest first and have been sorted by time"]


def test_bad_rows_are_named_by_line_or_left_out_on_request(tmp_path):
    rows = [list(row) for row in (*GOOD, *[(MS + (4 + i) * HOUR_MS, 100, 102, 99, 101, 5) for i in range(12)])]
    rows[1][2] = 1.0  # high below open
    rows[3][4] = "n/a"
    rows[5][0] = "soon"
    path = csv(tmp_path / "BTCUSDT.csv", rows)
    with pytest.raises(BadRows) as refusal:
        import_files(tmp_path, request(path))
    assert refusal.value.count == 3
    assert [row["row"] for row in refusal.value.rows] == [3, 5, 7]
    assert str(refusal.value).startswith(
        "BTCUSDT.csv row 3: found the bar of 2020-09-13 14:00:00 has high below open or close; expected high to be"
    )
    assert refusal.value.rows[1] == {"file": "BTCUSDT.csv", "row": 5, "found": "close 'n/a'", "expected": "a number"}
    assert refusal.value.rows[2]["found"] == "timestamp 'soon'"
    assert store.manifests(tmp_path) == []
    manifest, (series,) = stored(tmp_path, path, leave_out_bad=True)
    assert len(series.ts) == 13
    assert manifest["changes"][0].startswith("3 rows of BTCUSDT.csv left out, such as: BTCUSDT.csv row 3")
    assert sum(f["count"] for f in manifest["findings"] if f["check"] == "gap") == 3


def test_times_in_an_impossible_unit_stray_bars_and_doubled_times(tmp_path):
    early = csv(tmp_path / "A.csv", [(ms // 10**5, *rest) for ms, *rest in GOOD])
    with pytest.raises(BadRows, match="a time after 2009: is the unit another one"):
        import_files(tmp_path, request(early))
    more = [(MS + (4 + i) * HOUR_MS, 1, 2, 1, 2, 1) for i in range(3)]
    stray = csv(tmp_path / "B.csv", [*GOOD, *more, (MS + 7 * HOUR_MS + 60_000, 1, 2, 1, 2, 1)])
    with pytest.raises(BadRows, match="expected bars on the 1h grid of the others"):
        import_files(tmp_path, request(stray))
    twice = csv(tmp_path / "C.csv", [*GOOD, (GOOD[3][0], 1, 2, 1, 2, 1)])
    with pytest.raises(BadRows, match="2020-09-13 16:00:00 twice, with different values"):
        import_files(tmp_path, request(twice))
    manifest, (series,) = stored(tmp_path, twice, leave_out_bad=True)
    assert series.values[3, 0] == 103
    assert "1 of them with other values than the first" in manifest["changes"][0]


def test_a_preview_stores_nothing_and_says_what_is_missing(tmp_path):
    path = csv(tmp_path / "SOL_USDT.csv", GOOD, "when,open,high,low,close,volume")
    shown = preview(path)
    assert shown["files"][0]["symbol"] == "SOLUSDT"
    assert "no column looks like 'timestamp'; the file has when, open" in shown["trouble"]
    chosen = preview(path, columns={"timestamp": "when"})
    assert chosen["trouble"] == ""
    assert chosen["parsed"][0] == {"timestamp": "2020-09-13 13:00:00", "open": 100.0, "high": 102.0, "low": 99.0,
                                   "close": 101.0, "volume": 5.5}  # fmt: skip
    assert store.manifests(tmp_path) == []


def test_funding_files(tmp_path):
    table = pa.table({"calc_time": [MS + i * 8 * HOUR_MS + 3 for i in range(6)], "funding_interval_hours": [8] * 6,
                      "last_funding_rate": [1e-4] * 6})  # fmt: skip
    pa_parquet.write_table(table, tmp_path / "BTCUSDT.parquet")
    manifest, (series,) = stored(tmp_path, tmp_path / "BTCUSDT.parquet", kind="funding")
    assert series.ts[1] == START + 8 * HOUR_MS * 10**6  # on the minute
    assert manifest["findings"][0]["sentence"] == "Settles every 8 h from 2020-09-13 13:00:00."


def test_refusals_say_what_to_do(tmp_path):
    with pytest.raises(DataError, match="did you mean 'timestamp'"):
        settled(["timestamp", "open"], "candles", {"timestamp": "timestmp"})
    with pytest.raises(DataError, match="'size' is not a column of candles"):
        settled(["timestamp"], "candles", {"size": "x"})
    with pytest.raises(DataError, match="has no header and 3 columns"):
        preview(csv(tmp_path / "x.csv", [(1, 2, 3)], ""))
    (tmp_path / "y.csv").write_text("")
    with pytest.raises(DataError, match=r"y\.csv is empty"):
        preview(tmp_path / "y.csv")
    (tmp_path / "z.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=r"z\.parquet cannot be read"):
        preview(tmp_path / "z.parquet")
    five = csv(tmp_path / "AAA.csv", [(MS + i * 300_000, *row[1:]) for i, row in enumerate(GOOD)])
    csv(tmp_path / "BBB.csv", GOOD)
    for name in ("x.csv", "y.csv", "z.parquet"):
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match="different intervals: AAA 5m, BBB 1h"):
        import_files(tmp_path, request(five.parent))


def test_symbols_from_file_names():
    names = {"BTCUSDT": "BTCUSDT", "btcusdt-1h-2024-01": "BTCUSDT", "BTC_USDT-1h-futures": "BTCUSDT",
             "kraken_spot_BTCUSD_5m": "BTCUSD", "ETH-USDC": "ETHUSDC", "hyperliquid_BTC": "HYPERLIQUID_BTC",
             "1000PEPEUSDT_1m": "1000PEPEUSDT", "HYPE": "HYPE"}  # fmt: skip
    assert {name: symbol_of(name) for name in names} == names
    assert guess(["date", "unix", "Volume USDT", "Volume BTC"], "candles")["timestamp"] == "unix"


def test_what_is_stored_is_what_was_read(tmp_path):
    series = walk(50)
    columns = dict(zip(("open", "high", "low", "close", "volume"), series.values.T, strict=True))
    pa_parquet.write_table(pa.table({"timestamp": series.ts // 10**6, **columns}), tmp_path / "BTCUSDT.parquet")
    np.testing.assert_array_equal(stored(tmp_path, tmp_path / "BTCUSDT.parquet")[1][0].values, series.values)

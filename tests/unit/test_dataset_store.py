"""The store of data sets: whole or absent, never written again, found by name, and caught when changed."""

import json
from pathlib import Path

import numpy as np
import pytest

from engine.datasets import store
from engine.datasets.store import Draft, Series
from engine.domain import NS_PER_S
from engine.errors import CommandRefused, DataError
from engine.research.loading import load_bars, load_funding
from engine.runtime.jobs import Jobs
from engine.runtime.run_requests import BacktestRequest
from storage.database import Database

HOUR = 3600 * NS_PER_S
START = 1_600_002_000 * NS_PER_S


def candles(symbol="BTCUSDT", hours=(0, 1, 2, 4)):
    ts = START + np.array(hours, np.int64) * HOUR
    px = 100.0 + np.array(hours, float)
    return Series(symbol, ts, np.column_stack([px, px + 2, px - 2, px + 1, np.ones(len(ts))]))


def draft(name="spot", *series, **changes):
    base = Draft(name, "candles", 3600, series or (candles(),), {"kind": "import", "path": "x.csv"}, [])
    return base._replace(**changes)


def test_a_written_data_set_comes_back_as_it_was(tmp_path):
    manifest = store.write(tmp_path, draft("spot", candles(), candles("ETHUSDT", (1, 2))))
    assert store.reference(manifest) == "spot@1"
    entry = manifest["symbols"]["BTCUSDT"]
    # four bars over five hours
    assert (entry["rows"], entry["expected_rows"], manifest["rows"]) == (4, 5, 6)
    assert entry["first_ts_ms"] == START // 10**6
    found, series = store.load(tmp_path, "spot")
    assert found == manifest
    assert [s.symbol for s in series] == ["BTCUSDT", "ETHUSDT"]
    np.testing.assert_array_equal(series[0].values, candles().values)
    np.testing.assert_array_equal(series[0].ts, candles().ts)


def test_writing_again_makes_a_version_and_leaves_the_old_one(tmp_path):
    first = store.write(tmp_path, draft())
    second = store.write(tmp_path, draft("spot", candles(hours=(0, 1))))
    assert (first["version"], second["version"]) == (1, 2)
    assert store.manifest_of(tmp_path, "spot")["version"] == 2
    assert store.manifest_of(tmp_path, "spot@1")["rows"] == 4
    assert [m["version"] for m in store.manifests(tmp_path)] == [2, 1]


def test_a_changed_file_is_not_read(tmp_path):
    manifest = store.write(tmp_path, draft())
    path = tmp_path / "datasets/spot/v1/BTCUSDT.parquet"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(
        DataError,
        match="changed after it was written: found .* expected " + manifest["symbols"]["BTCUSDT"]["sha256"][:12],
    ):
        store.load(tmp_path, "spot")


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "file_sha256", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.write(tmp_path, draft())
    assert list((tmp_path / "datasets/spot").iterdir()) == []
    assert store.manifests(tmp_path) == []


def test_a_deleted_version_leaves_its_number_behind(tmp_path):
    store.write(tmp_path, draft())
    store.write(tmp_path, draft())
    store.remove(tmp_path, "spot@2")
    assert store.manifest_of(tmp_path, "spot")["version"] == 1
    assert store.write(tmp_path, draft())["version"] == 3
    with pytest.raises(DataError, match="has no version '2'; it has 1, 3"):
        store.folder_of(tmp_path, "spot@2")
    with pytest.raises(DataError, match="say which version"):
        store.remove(tmp_path, "spot")


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", "x" * 65])
def test_a_name_that_could_leave_the_folder_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="cannot name a data set"):
        store.write(tmp_path, draft(name))


def test_repairs_are_listed_beside_the_files(tmp_path):
    repairs = [{"symbol": "BTCUSDT", "ts_ms": 1, "action": "filled"}]
    manifest = store.write(tmp_path, draft(repairs=repairs))
    assert manifest["repaired_rows"] == 1
    assert json.loads((tmp_path / "datasets/spot/v1/repairs.json").read_text()) == repairs


def test_data_is_a_path_first_and_a_name_then(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store.write(tmp_path, draft())
    assert store.located(tmp_path, "spot") == tmp_path / "datasets/spot/v1"
    assert store.located(tmp_path, "nowhere").name == "nowhere"
    (tmp_path / "spot").mkdir()
    assert store.located(tmp_path, "spot").name == "spot"
    with pytest.raises(DataError, match="there is no data set 'perp'; there are spot"):
        store.folder_of(tmp_path, "perp")


async def test_a_backtest_is_given_a_data_set_by_name(tmp_path):
    store.write(tmp_path, draft())
    rate = Series("BTCUSDT", candles().ts, np.full((4, 1), 1e-4))
    store.write(tmp_path, Draft("rates", "funding", 0, [rate], {"kind": "import"}, []))
    record = Database(tmp_path / "paper.duckdb")
    try:
        jobs = Jobs(record, tmp_path / "runs")
        request = BacktestRequest(source="dataset", dataset="spot@1", funding="rates")
        inputs = jobs._inputs("bt-1", request)
        assert inputs == {name: str(tmp_path / "datasets" / folder / "v1")
                          for name, folder in (("path", "spot"), ("funding", "rates"))}  # fmt: skip
        bars = load_bars(Path(inputs["path"]))
        assert load_funding(Path(inputs["funding"]), bars)[0, 0] == 1e-4
        with pytest.raises(CommandRefused, match="there is no data set 'perp'; there are rates, spot"):
            await jobs.start("backtest", {"source": "dataset", "dataset": "perp"})
        with pytest.raises(CommandRefused, match="no data set or folder of funding rates 'no/where'"):
            await jobs.start("backtest", {"source": "dataset", "dataset": "spot", "funding": "no/where"})
    finally:
        record.close()

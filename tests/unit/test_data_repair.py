"""Repair from another source: only where both agree at the edges, each bar listed; and provenance of what is used."""

import json

import numpy as np
import pytest
from dataset_builders import HOUR, START, draft, walk, without

from engine.datasets import store
from engine.datasets.doctor import examine
from engine.datasets.provenance import provenance
from engine.datasets.repair import repair
from engine.datasets.repairing import RepairRequest, repair_dataset
from engine.datasets.store import Series
from engine.errors import DataError
from engine.research.loading import load_bars
from engine.research.origin import origin_of


def findings_of(series):
    return examine(series.symbol, series.ts, series.values, 3600)


def other_venue(scale=1.0005):
    series = walk()
    series.values[:, :4] *= scale
    return series


def test_a_gap_is_filled_with_the_other_sources_bars():
    ours = without(walk(), range(100, 104))
    outcome = repair(ours, other_venue(), findings_of(ours), 3600)
    assert len(outcome.series.ts) == 300
    np.testing.assert_array_equal(outcome.series.values[100:104], other_venue().values[100:104])
    np.testing.assert_array_equal(outcome.series.values[99], walk().values[99])
    assert [row["action"] for row in outcome.repairs] == ["filled"] * 4
    assert outcome.repairs[0]["ts_ms"] == (START + 100 * HOUR) // 10**6
    assert outcome.repairs[0]["old"] is None
    assert outcome.repairs[0]["edge_difference"] == pytest.approx(0.0005)
    assert outcome.refused == []


def test_sources_that_disagree_or_do_not_overlap_repair_nothing():
    ours = without(walk(), range(100, 104))
    outcome = repair(ours, other_venue(1.01), findings_of(ours), 3600)
    assert (outcome.repairs, outcome.series) == ([], ours)
    assert "the sources differ by 1.00% before it; 0.20% is the limit" in outcome.refused[0]
    theirs = other_venue()
    late = Series("BTCUSDT", theirs.ts[98:], theirs.values[98:])
    assert "share 2 bars of the 12 before it; 3 are needed" in repair(ours, late, findings_of(ours), 3600).refused[0]
    same_hole = without(other_venue(), range(100, 104))
    assert "has no bars there" in repair(ours, same_hole, findings_of(ours), 3600).refused[0]


def test_a_spike_is_replaced_unless_the_other_source_saw_it_too():
    ours, theirs = walk(), other_venue()
    for series in (ours, theirs):
        series.values[150, [1, 3]] *= 1.2
        series.values[151, :2] = series.values[150, 3]
    seen_by_both = repair(ours, theirs, findings_of(ours), 3600)
    assert seen_by_both.repairs == []
    assert "the other source tells the same prices, so they stay" in seen_by_both.refused[0]
    alone = repair(ours, other_venue(), findings_of(ours), 3600)
    assert [row["ts_ms"] for row in alone.repairs] == [(START + 150 * HOUR) // 10**6]
    assert alone.repairs[0]["old"] == ours.values[150].tolist()
    assert alone.repairs[0]["new"] == other_venue().values[150].tolist()


def test_a_repair_is_a_new_version_with_every_bar_on_record(tmp_path):
    ours = without(walk(), [60, *range(100, 104)])
    store.write(tmp_path, draft("spot", ours, findings=findings_of(ours)))
    store.write(tmp_path, draft("perp", other_venue()))
    answer = repair_dataset(tmp_path, RepairRequest(dataset="spot", source="perp"))
    manifest = answer["manifest"]
    assert (store.reference(manifest), answer["repaired"], manifest["repaired_rows"]) == ("spot@2", 5, 5)
    assert manifest["source"]["of"] == "spot@1"
    assert manifest["source"]["from_sha256"] == store.manifest_of(tmp_path, "perp")["sha256"]
    assert manifest["changes"] == [
        "BTCUSDT: 5 bars filled and 0 replaced from perp@1, which differs by at most 0.050% at the edges"
    ]
    assert manifest["findings"] == []
    listed = json.loads((tmp_path / "datasets/spot/v2/repairs.json").read_text())
    assert len(listed) == 5
    np.testing.assert_array_equal(store.load(tmp_path, "spot@1")[1][0].values, ours.values)
    again = repair_dataset(tmp_path, RepairRequest(dataset="spot", source="perp"))
    assert again == {"manifest": None, "repaired": 0, "refused": []}


def test_repairs_that_make_no_sense_are_refused(tmp_path):
    store.write(tmp_path, draft("spot", walk()))
    store.write(tmp_path, draft("daily", walk(), interval_s=86400))
    rate = Series("BTCUSDT", walk().ts, np.full((300, 1), 1e-4))
    store.write(tmp_path, draft("rates", rate, kind="funding", interval_s=0))
    for source, sentence in (("daily", "expected the same interval"), ("rates", "is not made up"),
                             ("spot", "from itself")):  # fmt: skip
        with pytest.raises(DataError, match=sentence):
            repair_dataset(tmp_path, RepairRequest(dataset="spot", source=source))
    with pytest.raises(DataError, match="'luck' cannot be repaired; expected of gap"):
        repair_dataset(tmp_path, RepairRequest(dataset="spot", source="daily", checks=("luck",)))


def test_provenance_of_a_stored_data_set_and_of_a_plain_file(tmp_path):
    ours = without(walk(), range(100, 104))
    manifest = store.write(tmp_path, draft("spot", ours, findings=findings_of(ours)))
    folder = store.folder_of(tmp_path, "spot")
    block = provenance(folder, [ours], 3600)["BTCUSDT"]
    assert block["sha256"] == manifest["symbols"]["BTCUSDT"]["sha256"]
    assert (block["dataset"], block["rows"], block["repaired_rows"]) == ("spot@1", 296, 0)
    assert block["problems"] == ["4 bars (4.0 h) are missing, from 2020-09-17 17:00:00 to 2020-09-17 20:00:00."]
    plain = tmp_path / "BTCUSDT.parquet"
    plain.write_bytes((folder / "BTCUSDT.parquet").read_bytes())
    outside = provenance(plain, [ours], 3600)["BTCUSDT"]
    assert outside["problems"] == block["problems"]
    assert "dataset" not in outside
    (folder / "BTCUSDT.parquet").chmod(0o644)
    (folder / "BTCUSDT.parquet").write_bytes(b"other")
    with pytest.raises(DataError, match="not the file of data set spot@1"):
        provenance(folder, [ours], 3600)


def test_a_backtests_result_says_where_its_bars_and_rates_are_from(tmp_path):
    ours = without(walk(), range(100, 104))
    store.write(tmp_path, draft("spot", ours, findings=findings_of(ours)))
    rate = Series("BTCUSDT", ours.ts[::8], np.full((len(ours.ts[::8]), 1), 1e-4))
    store.write(tmp_path, draft("rates", rate, kind="funding", interval_s=0))
    folder, rates = store.folder_of(tmp_path, "spot"), store.folder_of(tmp_path, "rates")
    bars = load_bars(folder)
    block = origin_of(folder, rates, bars)["BTCUSDT"]
    assert (block["dataset"], block["rows"], block["first_ts_ms"]) == ("spot@1", 296, START // 10**6)
    expected = store.manifest_of(tmp_path, "rates")["symbols"]["BTCUSDT"]["sha256"]
    assert block["funding"] == {"path": str(rates / "BTCUSDT.parquet"), "sha256": expected}
    in_memory = origin_of(None, None, bars)["BTCUSDT"]
    assert (in_memory["path"], in_memory["sha256"], in_memory["rows"]) == ("in memory", bars.fingerprint, 296)

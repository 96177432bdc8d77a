"""The Data page: what is chosen is shown in full; import, download, repair and deletion leave once a click."""

from __future__ import annotations

import pytest
from page_engine import PageEngine, page, texts

from app import data_sets


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROLABE_HOME", str(tmp_path))
    running = PageEngine(tmp_path).start()
    yield running
    running.stop()


def sent(engine, name):
    return [body for action, body in engine.calls if action == name]


def press(script, key):
    next(button for button in script.button if button.key == key).click()
    return script.run()


def typed(script, key, value):
    next(box for box in script.text_input if box.key == key).set_value(value)
    return script.run()


def test_a_data_set_of_the_link_is_shown_with_its_origin(engine):
    script = page("data", dataset="rates@1").run()
    assert not script.exception
    said = texts(script)
    assert "rates@1 · 1 note" in said
    assert "Downloaded from Binance USDT-M: BTCUSDT (BTC/USDT:USDT)." in said
    assert "a missing rate is never made up" in said


def test_findings_are_filtered_by_severity_worst_first(engine):
    manifest = engine.manifests["btc-hours@2"]
    rows = data_sets.finding_rows(manifest, [], [])
    assert list(rows["severity"]) == ["▼ error", "! warning", "! warning", "! warning"]
    assert list(data_sets.finding_rows(manifest, ["BTCUSDT"], ["error"]).columns) == []
    assert rows["first_ts"].iloc[1] == (1_577_836_800 + 4000 * 3600) * 10**9


def test_coverage_draws_each_hole_where_it_is_and_wide_enough_to_be_seen(engine):
    manifest = engine.manifests["btc-hours@2"]
    figure = data_sets.coverage_figure(manifest)
    bars, warnings, errors = figure.data
    assert list(bars.y) == ["BTCUSDT", "ETHUSDT"]
    assert (warnings.name, list(warnings.y)) == ("warning", ["BTCUSDT"] * 3)
    assert (errors.name, list(errors.y)) == ("error", ["ETHUSDT"])
    width = (manifest["last_ts_ms"] - manifest["first_ts_ms"]) * data_sets.LEAST_SHARE
    assert min(warnings.x) == pytest.approx(width)
    middle = warnings.base[1].timestamp() * 1e3 + warnings.x[1] / 2
    assert middle == pytest.approx((1_577_836_800 + 9016 * 3600) * 1e3, abs=1)
    assert warnings.customdata[1] == "BTCUSDT gap<br>2021-01-10 00:00 to 2021-01-11 08:00 UTC"


def test_a_file_is_previewed_mapped_and_imported_once(engine):
    script = page("data").run()
    next(group for group in script.segmented_control if group.key == "data.import_way").set_value("Path")
    script.run()
    typed(script, "data.import_path", "/tmp/nothing.csv")
    assert "there is no file or folder /tmp/nothing.csv" in texts(script)
    typed(script, "data.import_path", "/data/BTCUSDT.csv")
    assert "no column looks like 'timestamp'" in texts(script)
    assert "BTCUSDT.csv, 0.1 MB: BTCUSDT" in texts(script)
    next(box for box in script.selectbox if box.key == "data.column.timestamp").set_value("when")
    script.run()
    assert "no column looks like" not in texts(script)
    press(script, "data.import")
    (body,) = sent(engine, "data.start")
    assert body["kind"] == "import"
    assert body["config"]["columns"]["timestamp"] == "when"
    assert (body["config"]["name"], body["config"]["symbol"]) == ("BTCUSDT", "BTCUSDT")
    script.run()
    assert len(sent(engine, "data.start")) == 1  # a rerun starts nothing


def test_a_download_shows_progress_is_cancelled_and_its_end_is_told(engine):
    script = page("data").run()
    typed(script, "data.download_symbols", "btcusdt ethusdt")
    press(script, "data.download")
    (body,) = sent(engine, "data.start")
    assert body["config"]["symbols"] == ["BTCUSDT", "ETHUSDT"]
    assert (body["config"]["venue"], body["config"]["base_url"]) == ("aster", None)
    assert next(button for button in script.button if button.key == "data.download").disabled
    press(script, "data.cancel.download-1")
    script.run()
    assert sent(engine, "data.cancel") == [{"run_id": "download-1"}]
    assert "The download was cancelled." in texts(script)
    assert not next(button for button in script.button if button.key == "data.download").disabled


def test_the_practice_exchange_can_be_downloaded_from(engine):
    script = page("data").run()
    next(box for box in script.radio if box.key == "data.server").set_value(data_sets.PRACTICE)
    script.run()
    press(script, "data.download")
    assert sent(engine, "data.start")[0]["config"]["base_url"] == "http://127.0.0.1:1"


def test_a_broken_off_download_is_resumed_as_it_was_asked_or_discarded(engine):
    script = page("data").run()
    assert "bybit-1h**: bybit 1h of BTCUSDT from 2021-01-01; 12,000 rows on disk" in texts(script)
    press(script, "data.resume.ab12")
    assert sent(engine, "data.start")[0]["config"] == engine.unfinished_rows[0]["request"]
    engine.finish_data_run("download-1")
    script.run()
    assert "btc-hours@2 is stored: 70,000 rows, 4 findings." in texts(script)
    press(script, "data.discard.ab12")
    assert "12,000 rows on disk" not in texts(script)


def test_bad_rows_of_a_refused_import_are_listed(engine):
    script = page("data").run()
    press(script, "data.download")
    rows = [{"file": "a.csv", "row": 3, "found": "close 'n/a'", "expected": "a number"}]
    engine.finish_data_run("download-1", status="failed", message="a.csv row 3: found close 'n/a'",
                           result={"bad_rows": rows})  # fmt: skip
    script.run()
    assert "a.csv row 3: found close 'n/a'" in texts(script)
    assert any(list(table.value.columns) == ["file", "row", "found", "expected"] for table in script.dataframe)


def test_a_repair_is_asked_from_another_data_set(engine):
    script = page("data", dataset="btc-hours@2").run()
    source = next(box for box in script.selectbox if box.key == "data.repair_source")
    assert source.options == ["perp@1"]
    press(script, "data.repair")
    (body,) = sent(engine, "data.start")
    assert body["config"] == {
        "dataset": "btc-hours@2",
        "source": "perp@1",
        "checks": ["gap", "spike"],
        "tolerance": 0.002,
    }
    engine.finish_data_run("repair-1", result={"dataset": None, "rows": 0, "findings": 0, "changes": [],
                                               "refused": ["BTCUSDT gap: no bars there"], "repaired": 0})  # fmt: skip
    script.run()
    said = texts(script)
    assert "Nothing could be repaired" in said
    assert "BTCUSDT gap: no bars there" in said


def test_a_data_set_is_deleted_by_its_button_alone(engine):
    script = page("data", dataset="perp@1").run()
    press(script, "data.delete")
    assert sent(engine, "dataset.delete")[0]["dataset"] == "perp@1"
    assert "perp@1 is deleted." in texts(script)
    assert "btc-hours@2 · 1 error, 3 warnings" in texts(script)


def test_names_and_symbols_that_people_type():
    assert data_sets.suggested_name("/x/BTCUSDT-1h 2024.csv.gz") == "BTCUSDT-1h-2024"
    assert data_sets.suggested_name("~/candles/") == "candles"
    assert data_sets.split_symbols("btcusdt, ethusdt;SOLUSDT") == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]

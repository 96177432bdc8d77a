"""Data sets at the terminal and through the engine: import, list, examine, repair; work in a process of its own."""

import asyncio
import json
import multiprocessing as mp
import os
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from dataset_builders import draft, walk, without
from job_builders import NO_PROCESSES, full
from typer.testing import CliRunner

from engine.__main__ import app
from engine.datasets import store
from engine.errors import BadRows, CommandRefused
from engine.runtime.data_desk import DataDesk
from engine.runtime.data_jobs import _work, checked
from storage.database import Database

COLUMNS = ("open", "high", "low", "close", "volume")


def parquet(path, series, **changes):
    columns = dict(zip(COLUMNS, series.values.T.copy(), strict=True)) | changes
    pa_parquet.write_table(pa.table({"timestamp": series.ts // 10**6, **columns}), path)
    return path


def run(home, *words):
    return CliRunner().invoke(app, [*map(str, words), "--data-dir", str(home), "--json"])


def test_from_files_to_a_repaired_data_set(tmp_path):
    holey = parquet(tmp_path / "BTCUSDT.parquet", without(walk(), range(100, 104)))
    imported = run(tmp_path, "import", holey, "--name", "spot")
    assert json.loads(imported.stdout)["dataset"] == "spot@1"
    store.write(tmp_path, draft("perp", walk()))
    listed = json.loads(run(tmp_path, "data", "list").stdout)["datasets"]
    assert [(row["dataset"], row["n_warnings"]) for row in listed] == [("perp@1", 0), ("spot@1", 1)]
    assert listed[1]["coverage"] == 296 / 300
    examined = run(tmp_path, "data", "doctor", "spot")
    assert (examined.exit_code, json.loads(examined.stdout)["findings"][0]["count"]) == (0, 4)
    repaired = json.loads(run(tmp_path, "data", "repair", "spot", "perp").stdout)
    assert (repaired["dataset"], repaired["repaired"]) == ("spot@2", 4)


def test_files_are_examined_as_they_are(tmp_path):
    series = walk()
    series.values[7, 1] = 1.0
    path = parquet(tmp_path / "BTCUSDT.parquet", series)
    examined = run(tmp_path, "data", "doctor", path)
    assert examined.exit_code == 1
    assert json.loads(examined.stdout)["findings"][0]["sentence"].startswith("Row 8 at 2020-09-13 20:00:00 has high")
    refused = run(tmp_path, "import", path)
    assert isinstance(refused.exception, BadRows)
    assert json.loads(refused.stdout)["bad_rows"][0]["row"] == 8
    left_out = json.loads(run(tmp_path, "import", path, "--leave-out-bad").stdout)
    assert (left_out["dataset"], left_out["rows"]) == ("BTCUSDT@1", 299)


def test_columns_are_mapped_by_hand(tmp_path):
    table = pa_parquet.read_table(parquet(tmp_path / "BTCUSDT.parquet", walk()))
    renamed = table.rename_columns(["when", *COLUMNS])
    pa_parquet.write_table(renamed, tmp_path / "ETHUSDT.parquet")
    assert json.loads(run(tmp_path, "import", tmp_path / "ETHUSDT.parquet", "--map", "timestamp=when").stdout)["rows"]
    assert run(tmp_path, "import", tmp_path / "ETHUSDT.parquet", "--map", "timestamp").exit_code == 2


async def finished(desk, run_id):
    while run_id in desk.jobs.active():
        await asyncio.sleep(0.05)
    return await desk.questions["data.status"]({"run_id": run_id})


async def test_the_engine_imports_in_a_process_of_its_own(tmp_path):
    upload = tmp_path / "uploads" / "BTCUSDT.parquet"
    upload.parent.mkdir()
    parquet(upload, walk())
    bad = walk()
    bad.values[3, 4] = np.nan
    parquet(tmp_path / "ETHUSDT.parquet", bad)
    record = Database(tmp_path / "paper.duckdb")
    desk = DataDesk(record)
    try:
        starts = [
            await desk.orders["data.start"]({"kind": "import", "config": {"path": str(path), "name": "spot"}})
            for path in (upload, tmp_path / "ETHUSDT.parquet")
        ]
        with pytest.raises(CommandRefused, match="2 imports, repairs or downloads are going on"):
            await desk.orders["data.start"]({"kind": "import", "config": {"path": "x", "name": "y"}})
        good, refused = [await finished(desk, start["run_id"]) for start in starts]
        assert (good["status"], good["result"]["dataset"], good["progress"]) == ("done", "spot@1", 1.0)
        assert not upload.exists()
        assert (refused["status"], refused["result"]["bad_rows"][0]["row"]) == ("failed", 4)
        assert "expected a number" in refused["message"]
        (row,) = (await desk.questions["datasets"]({}))["datasets"]
        assert (row["dataset"], row["rows"], row["n_errors"]) == ("spot@1", 300, 0)
        kinds = {row["kind"] for row in record.rows("SELECT * FROM runs")}
        assert kinds == {"import"}
    finally:
        desk.jobs.close()
        record.close()


@pytest.mark.parametrize("kind", ["import", "repair"])
def test_cancelled_work_stops_before_it_stores_anything(tmp_path, kind):
    path = parquet(tmp_path / "BTCUSDT.parquet", walk())
    for name, series in (("spot", without(walk(), range(100, 104))), ("perp", walk())):
        store.write(tmp_path, draft(name, series))
    asked = {"import": {"path": str(path), "name": "spot"}, "repair": {"dataset": "spot", "source": "perp"}}[kind]
    receiver, sender = mp.Pipe(duplex=False)
    cancelled = mp.Event()
    cancelled.set()
    _work(kind, str(tmp_path), checked(kind, asked).model_dump_json(), sender, cancelled)
    assert receiver.recv() == ("cancelled", {"error": "cancelled; nothing was stored"})
    assert [store.reference(manifest) for manifest in store.manifests(tmp_path)] == ["perp@1", "spot@1"]


@pytest.mark.parametrize(("is_cancelled", "is_closing", "status", "message"), [
    (True, False, "cancelled", "cancelled before it was finished"),
    (True, True, "failed", "the engine stopped"),
    (False, False, "failed", "the process ended without a result"),
])  # fmt: skip
def test_work_that_was_ended_says_why_and_what_it_had_begun_to_write_is_removed(
    tmp_path, is_cancelled, is_closing, status, message
):
    record = Database(tmp_path / "paper.duckdb")
    try:
        desk = DataDesk(record)
        began, others = (tmp_path / "datasets" / "spot" / f".{pid}-0a.part" for pid in (4711, 4712))
        for part in (began, others):
            part.mkdir(parents=True)
        receiver, sender = mp.Pipe(duplex=False)
        cancelled = mp.Event()
        if is_cancelled:
            cancelled.set()
        sender.close()
        row = {"run_id": "import-1", "kind": "import", "status": "running", "progress": 0.0, "config": "{}"}
        desk.jobs._rows["import-1"], desk.jobs._is_closing = row | {"message": ""}, is_closing
        process = SimpleNamespace(pid=4711, join=lambda: None)
        desk.jobs._watch("import-1", row, process, receiver, cancelled)
        ended = desk.jobs.status("import-1")
        assert ended["status"] == status
        assert message in ended["message"]
        assert (began.exists(), others.exists()) == (False, True)
    finally:
        record.close()


async def test_work_that_cannot_begin_leaves_nothing_going_on(tmp_path, monkeypatch):
    record = Database(tmp_path / "paper.duckdb")
    try:
        desk = DataDesk(record)
        monkeypatch.setattr(desk.jobs, "_context", NO_PROCESSES)
        asked = {"kind": "import", "config": {"path": str(tmp_path / "x.csv"), "name": "spot"}}
        with monkeypatch.context() as patch:
            patch.setattr(record, "append_durable", full)
            with pytest.raises(CommandRefused, match=r"Nothing was started.*No space left on device"):
                await desk.orders["data.start"](asked)
        for _ in range(3):
            with pytest.raises(CommandRefused, match="its process could not be started"):
                await desk.orders["data.start"](asked)
        assert desk.jobs.active() == []
        record.flush()
        assert {row["status"] for row in record.rows("SELECT status FROM runs")} == {"failed"}
    finally:
        record.close()


def test_a_start_removes_what_an_earlier_engine_left_half_done(tmp_path):
    record = Database(tmp_path / "paper.duckdb")
    try:
        manifest = store.write(tmp_path, draft("spot", walk()))
        folder, uploads = tmp_path / "datasets" / "spot", tmp_path / "uploads"
        uploads.mkdir()
        old, new = folder / ".12-ab.part", folder / ".13-cd.part"
        shown, forgotten = uploads / "shown.csv", uploads / "forgotten.csv"
        for part in (old, new):
            part.mkdir()
            (part / "BTCUSDT.parquet").write_bytes(b"PAR1")
        for upload in (shown, forgotten):
            upload.write_text("timestamp")
        for path in (old / "BTCUSDT.parquet", old, forgotten):
            os.utime(path, (1e9, 1e9))
        DataDesk(record)
        assert [path.exists() for path in (old, new, shown, forgotten)] == [False, True, True, False]
        assert store.manifest_of(tmp_path, "spot") == manifest
    finally:
        record.close()


async def test_requests_that_cannot_work_are_refused(tmp_path):
    record = Database(tmp_path / "paper.duckdb")
    desk = DataDesk(record)
    try:
        for kind, config, sentence in (
            ("mine", {}, "no kind of work 'mine'"),
            ("import", {"path": "x"}, "name: Field required"),
            ("download", {"venue": "okx", "symbols": [" "], "start": "2024-01-01", "name": "a"}, "name at least one"),
            ("download", {"venue": "okx", "symbols": ["A"], "start": "soon", "name": "a"}, "start: "),
            ("download", {"venue": "okx", "symbols": ["A"], "start": "2024-01-01", "name": "../a"}, "cannot name"),
        ):
            with pytest.raises(CommandRefused, match=sentence):
                await desk.orders["data.start"]({"kind": kind, "config": config})
        with pytest.raises(CommandRefused, match="there is no file or folder"):
            await desk.questions["dataset.preview"]({"path": str(tmp_path / "none.csv")})
        with pytest.raises(CommandRefused, match="there is no data set 'none'"):
            await desk.questions["dataset"]({"dataset": "none"})
        store.write(tmp_path, draft("spot", walk()))
        assert await desk.orders["dataset.delete"]({"dataset": "spot@1"}) == {"deleted": "spot@1"}
        assert (await desk.questions["datasets"]({}))["datasets"] == []
    finally:
        record.close()

"""The page's questions about trained models, and a training as a run of the engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine.errors import CommandRefused
from engine.runtime.jobs import Jobs
from engine.runtime.model_desk import ModelDesk, curves_of
from engine.runtime.run_requests import checked_request
from models.book import ModelBook
from models.panel import made_up_panel
from models.train import TrainRequest, load_learnable
from storage.database import Database

HOUR = 3_600 * 10**9
REASON = "it was better on every day of March"


@pytest.fixture
def desk(tmp_path: Path):
    """A desk on a record with hourly candles of two symbols, of which one has too few."""
    store = Database(tmp_path / "paper.duckdb")
    panel = made_up_panel(3, 4_000, 2, memory=0.3)
    rows = [
        {"symbol": symbol, "interval": "1h", "ts_open": int(ts) - HOUR, "open_px": panel.open_px[t, i],
         "high_px": panel.high_px[t, i], "low_px": panel.low_px[t, i], "close_px": panel.close_px[t, i],
         "volume": panel.volume[t, i]}
        for i, symbol in enumerate(panel.symbols) for t, ts in enumerate(panel.ts_close) if i == 0 or t < 50
    ]  # fmt: skip
    store.append("bars", rows)
    store.flush()
    loop = SimpleNamespace(clock=SimpleNamespace(now=lambda: int(panel.ts_close[-1])),
                           config=SimpleNamespace(symbols=panel.symbols))  # fmt: skip
    jobs = Jobs(store, tmp_path / "runs", workers={"train": "models.train:run"})
    found = ModelDesk(SimpleNamespace(store=store, loop=loop), jobs, ModelBook(tmp_path))
    found.jobs, found.store = jobs, store
    yield found
    jobs.close()
    store.close()


async def ended(desk: ModelDesk) -> dict:
    while (training := (await desk.questions["models"]({}))["training"])["status"] == "running":
        await asyncio.sleep(0.1)
    return training


async def test_first_a_training_is_offered_then_it_runs_and_its_set_is_in_force(desk) -> None:
    before = await desk.questions["models"]({})
    assert (before["models"], before["training"]) == ([], None)
    assert before["offer"]["symbols"] == 1
    assert before["offer"]["minutes"] > 1.0
    config = {"source": "history", "symbols": ["MADE0USDT"], "models": ["linear"], "reason": "a first try"}
    await desk.jobs.start("train", config)
    with pytest.raises(CommandRefused, match="going on already"):
        await desk.orders["models.train"]({})
    training = await ended(desk)
    assert (training["status"], training["progress"], training["reason"]) == ("done", 1.0, "a first try"), training
    after = await desk.questions["models"]({})
    assert after["offer"] is None
    rows = {row["name"]: row for row in after["models"]}
    assert list(rows) == ["base-rate", "linear", "ensemble"]
    assert rows["linear"]["role"] == "champion"
    assert max(rows["linear"]["weight"]) > 0.1
    assert rows["linear"]["figures"]["accuracy"][0]["low"] > 0.5
    assert "better than the base rate" in rows["linear"]["why_weight"]
    assert after["why"].startswith("Forecasters: not judged yet: ")  # a month of judged days is no trading record
    traded = rows["ensemble"]["traded"]
    assert (traded["share"], traded["excess"], rows["ensemble"]["sharpe"], after["trend_sharpe"]) == (0.0, *[None] * 3)
    for action, body, sentence in (
        ("models.promote", {"version": "nobody", "reason": REASON}, "no manifest"),
        ("models.promote", {"version": rows["linear"]["version"], "reason": "x"}, "at least 20 characters"),
        ("models.promote", {"version": rows["linear"]["version"], "reason": REASON}, "in force already"),
        ("models.rollback", {"reason": REASON}, "nothing to roll back to"),
        ("models.retire", {"name": "nobody", "reason": REASON}, "no set and no learner 'nobody'"),
        ("models.retire", {"name": "linear", "reason": "x"}, "at least 20 characters"),
    ):
        with pytest.raises(CommandRefused, match=sentence):
            await desk.orders[action](body)
    await desk.orders["models.retire"]({"name": rows["linear"]["version"], "reason": REASON})
    bare = await desk.questions["models"]({})
    assert (bare["models"], bare["why"]) == ([], "No set of models is in force: the last one was retired.")
    assert bare["offer"] is not None
    assert [row["action"] for row in bare["changes"]] == ["retire", "enter"]


async def test_a_training_takes_the_rates_that_the_engine_recorded(desk) -> None:
    bars = desk.store.rows("SELECT ts_open FROM bars WHERE symbol = 'MADE0USDT' ORDER BY ts_open")
    request = checked_request("train", {"source": "history", "interval": "1h", "symbols": ["MADE0USDT"]})
    assert desk.jobs._inputs("train-0", request)["funding"] is None
    settled = [row["ts_open"] + HOUR for row in bars if (row["ts_open"] + HOUR) % (8 * HOUR) == 0]
    rates = [{"symbol": "MADE0USDT", "ts_funding": ts, "rate": 1e-4} for ts in settled]
    desk.store.append("funding", rates)
    desk.store.flush()
    for n, (kept, known) in enumerate((([], 1.0), (settled[: len(settled) * 2 // 3], 0.0)), start=1):
        if kept:  # most of the record is gone: too little to learn from
            desk.store.append("funding", [{"symbol": "MADE0USDT", "ts_funding": ts, "rate": None} for ts in kept])
            desk.store.flush()
        inputs = desk.jobs._inputs(f"train-{n}", request)
        wanted = TrainRequest(Path(inputs["path"]), (), ("MADE0USDT",), funding=Path(inputs["funding"]))
        funding = load_learnable(wanted).panel.funding[24:]
        assert np.isfinite(funding).mean() == known
        if known:
            assert np.unique(funding).tolist() == [1e-4]


async def test_a_training_that_is_cancelled_leaves_nothing(desk, tmp_path) -> None:
    run_id = (await desk.orders["models.train"]({"reason": "the page"}))["run_id"]
    await desk.orders["models.cancel"]({"run_id": run_id})
    assert (await ended(desk))["status"] in ("cancelled", "failed")
    assert not (tmp_path / "models").exists()


async def test_too_few_candles_are_said(desk) -> None:
    desk._engine.loop.config.symbols = ("MADE1USDT",)
    assert (await desk.questions["models"]({}))["offer"] is None
    with pytest.raises(CommandRefused, match="too few hourly candles"):
        await desk.orders["models.train"]({})


def test_curves_are_by_learner_and_seed() -> None:
    notes = [
        {"name": "lstm", "seed": 0, "share": 0.1, "step": 1, "train": None, "valid": None},
        {"name": "lstm", "seed": 0, "share": 0.2, "step": 2, "train": 1.0, "valid": 1.1},
        {"name": "linear", "seed": 0, "share": 0.3, "step": 1, "train": 0.9, "valid": None},
    ]
    first, second = curves_of(notes)
    assert first == {"name": "lstm", "seed": 0, "points": [[2, 1.0, 1.1]]}
    assert second == {"name": "linear", "seed": 0, "points": [[1, 0.9, None]]}

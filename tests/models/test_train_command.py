"""The commands ``train`` and ``models``, on files as a person has them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from engine.__main__ import app
from models.panel import made_up_panel


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [str(part) for part in arguments])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def candles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("candles")
    panel = made_up_panel(3, 4_000, 2, memory=0.3)
    for i, symbol in enumerate(panel.symbols):
        opens = pa.array((panel.ts_close - 3_600 * 10**9) // 10**6).cast(pa.timestamp("ms", tz="UTC"))
        columns = {name: getattr(panel, f"{name}_px")[:, i] for name in ("open", "high", "low", "close")}
        pq.write_table(
            pa.table({"timestamp": opens, **columns, "volume": panel.volume[:, i]}), folder / f"{symbol}.parquet"
        )
    return folder


@pytest.fixture(scope="module")
def trained(candles, tmp_path_factory):
    """Return the data folder and what the first training said."""
    home = tmp_path_factory.mktemp("home")
    told = run("train", "--data", candles, "--models", "linear,persistence", "--data-dir", home, "--json")
    return home, json.loads(told.stdout)


def test_the_first_set_is_in_force_and_weighs_what_it_has_shown(trained):
    home, answer = trained
    assert answer["role"] == "champion"
    assert answer["weights"]["linear"] > 0.1  # returns of this market remember three tenths of the last
    [row] = json.loads(run("models", "list", "--data-dir", home, "--json").stdout)["sets"]
    assert (row["version"], row["weights"]) == (answer["version"], answer["weights"])
    shown = json.loads(run("models", "show", answer["version"], "--data-dir", home, "--json").stdout)
    assert [model["name"] for model in shown["models"]] == ["base-rate", "linear", "persistence", "ensemble"]
    assert answer["version"] in run("models", "list", "--data-dir", home).output
    told = run("models", "show", answer["version"], "--data-dir", home).output
    assert "which no member had learned from" in " ".join(told.split())


def test_every_figure_of_every_model_is_written_beside_the_manifest_and_kept_in_it(trained):
    home, answer = trained
    text = Path(answer["written"])
    assert text.parent == home / "models" / "ensemble" / answer["version"]
    assert json.loads(text.with_name("evidence.json").read_text()) == answer["evidence"]
    parts = {part.split("\n")[0]: part for part in text.read_text().split("\n\n")}
    for title in ("Net of costs", "Right direction", "Right direction, the most confident 20 %",
                  "Log-loss, base rate's minus the model's, thousandths of a nat", "Information coefficient",
                  "Share of outcomes inside the intervals, mean over horizons"):  # fmt: skip
        assert all(name in parts[title] for name in ("base-rate", "linear", "persistence", "ensemble")), title
    assert "trend, the bar" in parts["Net of costs"]
    assert "with 3 seeds where something is random" in text.read_text()
    rows = {row["name"]: row for row in answer["evidence"]["models"]}
    assert np.mean(rows["linear"]["weight"]["latest"]) == pytest.approx(answer["weights"]["linear"])
    kept = next(model["metrics"] for model in answer["models"] if model["name"] == "linear")
    figure = rows["linear"]["figures"]["accuracy"][0]
    assert (kept["accuracy_1"]["mean"], kept["accuracy_1"]["low"]) == (figure["value"], figure["low"])
    assert kept["net_sharpe"]["mean"] == rows["linear"]["trading"]["sharpe"]["value"]
    assert {"accuracy_at_20_1", "log_loss_gain_24", "ic_4", "issued_95_8"} <= set(kept)


def test_a_person_reads_every_table_and_where_it_is_kept(candles, tmp_path):
    told = run("train", "--data", candles, "--models", "persistence", "--seeds", "1", "--data-dir", tmp_path).output
    words = " ".join(told.split())
    assert "1 seeds where something is random: about 1 min of one core" in words
    assert "Information coefficient" in words
    assert "evidence.txt, and as JSON beside it." in words
    assert "is champion. Share of a decision: 0 %." in words


def test_a_learner_and_a_set_are_retired_and_allowed_again(trained):
    home, answer = trained
    options = ("--reason", "never right", "--data-dir", home)
    told = run("models", "retire", "linear", *options).output
    assert "Learner linear is retired" in told
    assert f"In force: {answer['version']}." in " ".join(told.split())
    gone = run("models", "retire", answer["version"], *options).output
    assert "No set is in force" in " ".join(gone.split())
    assert "retired already" in run("models", "retire", "linear", *options, code=3).output
    assert "no set and no learner" in " ".join(run("models", "retire", "oracle", *options, code=3).output.split())
    assert "cannot be retired" in " ".join(run("models", "retire", "base-rate", *options, code=3).output.split())
    for name in ("linear", answer["version"]):
        assert "allowed again" in run("models", "retire", name, "--undo", *options).output
    run("models", "promote", answer["version"], *options)


def test_what_cannot_be_done_is_refused_with_a_sentence(trained, candles, tmp_path):
    home, answer = trained
    for arguments, sentence in (
        (("models", "promote", answer["version"], "--reason", "x", "--data-dir", home), "in force already"),
        (("models", "promote", "nobody", "--reason", "x", "--data-dir", home), "no manifest"),
        (("models", "rollback", "--reason", "x", "--data-dir", home), "nothing to roll back to"),
        (("train", "--data", tmp_path / "nowhere", "--data-dir", home), "no file, folder or stored data set"),
        (("train", "--data", candles, "--models", "oracle", "--data-dir", home), "no model 'oracle'"),
        (("train", "--data", candles, "--models", "linear", "--end", "soon", "--data-dir", home), "not a day"),
        (("train", "--data", candles, "--models", "linear", "--end", "2020-02-01", "--data-dir", home), "too few"),
    ):  # fmt: skip
        assert sentence in " ".join(run(*arguments, code=3).output.split()), arguments
    assert "No model has been trained yet" in run("models", "list", "--data-dir", tmp_path).output

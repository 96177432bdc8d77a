"""What is stored comes back the same; what was changed, moved, aged or pickled does not come back at all."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from learnables import N_FEATURES, always, made_up

from engine.errors import ModelError
from models.baselines import BaseRate, Linear
from models.lstm import LSTMConfig, LstmForecaster
from models.registry import (
    MANIFEST,
    TENSORS,
    Training,
    code_version,
    hash_of_panel,
    list_models,
    load_model,
    read_manifest,
    save_model,
)
from models.training import TrainingConfig

DAY = 86_400_000_000_000
NOW = 20_000 * DAY
RECORD = Training(
    name="steady", version="v1", kind="base-rate", interval="1h", symbols=("S0USDT",), ts_first=1, ts_last=NOW - DAY,
    data_hash="d", features_hash="f" * 64, seed=7, metrics={"log_loss": {"mean": 0.69, "spread": 0.01, "n": 3}},
    intended_use="Tests.", known_failures="All but tests.", ts_trained=NOW, ts_expires=NOW + 30 * DAY,
)  # fmt: skip


def fitted_base() -> BaseRate:
    model = BaseRate()
    model.fit(made_up(400), slice(0, 300), slice(0, 0), 0, always)
    return model


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    save_model(tmp_path, fitted_base(), RECORD)
    return tmp_path / "models" / "steady" / "v1"


def load(folder: Path, **changed):
    asked = {"features_hash": RECORD.features_hash, "ts_now": NOW + DAY} | changed
    return load_model(folder.parents[2], folder.parent.name, folder.name, **asked)


def edit(folder: Path, **changed) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def test_a_stored_model_comes_back_with_its_manifest(stored: Path) -> None:
    model, manifest = load(stored)
    np.testing.assert_array_equal(model.quantile, fitted_base().quantile)
    assert (manifest.symbols, manifest.metrics, manifest.seed) == (RECORD.symbols, RECORD.metrics, 7)
    assert manifest.code == code_version()
    assert manifest.libraries["numpy"] == np.__version__
    assert manifest.tensors_sha256 == hashlib.sha256((stored / TENSORS).read_bytes()).hexdigest()
    assert sorted(path.name for path in stored.parent.iterdir()) == ["v1"]  # nothing half written is left


def test_a_network_comes_back_and_says_the_same(tmp_path: Path) -> None:
    data = made_up(400)
    config, budget = LSTMConfig(N_FEATURES, 8, 1), TrainingConfig(32, 8, 8, 2, 1)
    model = LstmForecaster(config, budget)
    model.fit(data, slice(0, 300), slice(0, 0), 1, always)
    save_model(tmp_path, model, replace(RECORD, kind="lstm"))
    other = load(tmp_path / "models" / "steady" / "v1").model
    assert (other.config, other.training) == (config, budget)
    rows = slice(320, 340)
    np.testing.assert_array_equal(other.predict(data, rows).quantile, model.predict(data, rows).quantile)


def test_a_version_is_written_once_and_nothing_unusable_is_written(tmp_path: Path, stored: Path) -> None:
    with pytest.raises(ModelError, match="written once"):
        save_model(tmp_path, fitted_base(), RECORD)
    with pytest.raises(ModelError, match="tensor quantile holds NaN"):
        save_model(tmp_path, BaseRate(), replace(RECORD, version="v2"))
    with pytest.raises(ModelError, match="not plain JSON"):
        save_model(tmp_path, fitted_base(), replace(RECORD, version="v2", metrics={"x": {"mean": float("nan")}}))
    assert [one.version for one in list_models(tmp_path)] == ["v1"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", ".hidden", "a\\b", "a" * 101])
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="is not a name of a model"):
        save_model(tmp_path, fitted_base(), replace(RECORD, version=name))
    with pytest.raises(ModelError, match="is not a name of a model"):
        load_model(tmp_path, name, "v1", "", 0)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def full(path: Path, target: Path) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(ModelError, match="No space left"):
        save_model(tmp_path, fitted_base(), RECORD)
    assert list((tmp_path / "models" / "steady").iterdir()) == []


def test_without_manifest_it_does_not_load(stored: Path) -> None:
    (stored / MANIFEST).unlink()
    with pytest.raises(ModelError, match="has no manifest"):
        load(stored)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"surprise": 1}, r"unknown keys \['surprise'\]"),
        ({"seed": "7"}, "says seed = '7'; expected int"),
        ({"name": "other"}, "holds the manifest of other v1"),
        ({"kind": "os.system"}, "there is no model 'os.system'"),
        ({"tensors_sha256": "0" * 64}, "are not those of its manifest"),
    ],
)
def test_a_changed_manifest_is_refused(stored: Path, changed: dict, said: str) -> None:
    edit(stored, **changed)
    with pytest.raises(Exception, match=said):
        load(stored)


def test_a_missing_key_is_refused(stored: Path) -> None:
    kept = json.loads((stored / MANIFEST).read_text())
    del kept["ts_expires"]
    (stored / MANIFEST).write_text(json.dumps(kept))
    with pytest.raises(ModelError, match=r"missing keys \['ts_expires'\]"):
        load(stored)


def test_changed_tensors_other_features_and_age_are_refused(stored: Path) -> None:
    with pytest.raises(ModelError, match="learned on other features"):
        load(stored, features_hash="e" * 64)
    with pytest.raises(ModelError, match=r"expired 2\.0 days ago"):
        load(stored, ts_now=RECORD.ts_expires + 2 * DAY)
    assert load(stored, ts_now=RECORD.ts_expires + 2 * DAY, allow_expired=True).manifest.version == "v1"
    content = bytearray((stored / TENSORS).read_bytes())
    content[-1] ^= 1
    (stored / TENSORS).write_bytes(content)
    with pytest.raises(ModelError, match="changed or damaged"):
        load(stored)
    (stored / TENSORS).unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load(stored)


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_is_refused_and_not_run_even_with_the_right_hash(stored: Path, tmp_path: Path) -> None:
    trap = pickle.dumps(Trap(str(tmp_path / "sprung")))
    (stored / TENSORS).write_bytes(trap)
    edit(stored, tensors_sha256=hashlib.sha256(trap).hexdigest())
    with pytest.raises(ModelError, match="not a safetensors file"):
        load(stored)
    assert not (tmp_path / "sprung").exists()
    pickle.loads(trap)  # the trap does work, for those who spring it
    assert (tmp_path / "sprung").exists()


def test_listing_shows_the_broken_ones_with_their_reason(stored: Path, tmp_path: Path) -> None:
    save_model(tmp_path, fitted_base(), replace(RECORD, version="v2", ts_trained=NOW + DAY))
    (tmp_path / "models" / "steady" / "v0").mkdir()
    (tmp_path / "models" / "steady" / ".v3.1.partial").mkdir()
    broken, first, second = list_models(tmp_path)
    assert broken.manifest is None
    assert "has no manifest" in broken.problem
    assert (first.version, second.version) == ("v1", "v2")
    assert first.manifest == read_manifest(tmp_path, "steady", "v1")
    assert list_models(tmp_path / "nowhere") == []


def test_the_hash_of_a_panel_is_of_the_bars_asked_for() -> None:
    panel = made_up(50).panel
    later = panel._replace(close_px=panel.close_px.copy())
    later.close_px[40] += 1e-9
    assert hash_of_panel(panel, slice(0, 40)) == hash_of_panel(later, slice(0, 40))
    assert hash_of_panel(panel, slice(0, 41)) != hash_of_panel(later, slice(0, 41))


def test_the_registry_does_not_import_what_learns() -> None:
    code = "import sys, models.registry; print({'torch', 'sklearn', 'stable_baselines3'} & set(sys.modules))"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert asked.stdout.strip() == "set()"


def test_linear_is_kept_too(tmp_path: Path) -> None:
    data, model = made_up(600, drift=0.3), Linear()
    model.fit(data, slice(0, 400), slice(424, 500), 0, always)
    save_model(tmp_path, model, replace(RECORD, kind="linear"))
    other = load(tmp_path / "models" / "steady" / "v1").model
    np.testing.assert_allclose(
        other.predict(data, slice(500, 600)).prob_up, model.predict(data, slice(500, 600)).prob_up
    )

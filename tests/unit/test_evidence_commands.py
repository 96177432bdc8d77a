"""What the evidence commands are told at a terminal, and what they do when there is nothing."""

from __future__ import annotations

import pytest

from engine.errors import WorkstationError
from engine.evidence_commands import _config, _measured_offline
from storage.database import Database


def test_a_certificate_is_of_the_stored_settings_unless_told_otherwise(tmp_path):
    store = Database(tmp_path / "paper.duckdb")
    store.remember("config", {"strategy": "ema-cross", "ema_slow": 60, "symbols": ["ETHUSDT"]}).result(10)
    store.close()
    config = _config(tmp_path, None, {}, None)
    assert (config.strategy, config.ema_slow, config.symbols) == ("ema-cross", 60, ("ETHUSDT",))
    config = _config(tmp_path, "mine.py", {"n": "48", "share": "0.2", "allow_short": "false"}, "btcusdt,solusdt")
    assert (config.strategy, config.strategy_params) == ("mine.py", {"n": 48, "share": 0.2})
    assert (config.allow_short, config.symbols) == (False, ("BTCUSDT", "SOLUSDT"))
    config = _config(tmp_path, "trend", {"horizons": "6,24"}, None)
    assert config.trend_horizons_hours == (6.0, 24.0)


def test_no_record_is_a_sentence(tmp_path):
    with pytest.raises(WorkstationError, match="There is no record"):
        _measured_offline(tmp_path, None)

"""Settings: what is refused, with which sentence, and what the core gets."""

import numpy as np
import pytest
from pydantic import ValidationError

from engine.domain import Sleeve
from engine.settings import Environment, SystemConfig, field_descriptions


def test_names_that_users_know_exist_with_safe_defaults():
    config = SystemConfig()
    assert (config.initial_balance, config.max_daily_loss, config.max_total_drawdown) == (10_000.0, 0.05, 0.15)
    assert config.target_annual_return == 2.0
    switches = {name: getattr(config, name) for name in SystemConfig.model_fields if name.startswith("use_")}
    assert len(switches) >= 5
    assert all(switches.values())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"max_daily_loss": 0.0}, "greater than 0"),
        ({"max_daily_loss": 0.6}, "less than or equal to 0.5"),
        ({"max_total_drawdown": 1.0}, "less than or equal to 0.9"),
        ({"max_leverage": 0.5}, "greater than or equal to 1"),
        ({"decision_interval": "7m"}, "'7m' is not one of 1m, 3m"),
        ({"symbols": ()}, "at least 1 item"),
        ({"symbols": ("BTC/USDT",)}, "'BTC/USDT' is not of the form BTCUSDT"),
        ({"symbols": ("btcusdt", "BTCUSDT ")}, "same symbol twice"),
        ({"ema_fast": 100, "ema_slow": 100}, "ema_fast 100 must be below ema_slow 100"),
        ({"max_symbol_weight": 3.0, "max_gross_weight": 2.0}, "is above max_gross_weight"),
        ({"trend_horizons_hours": (4.0, -1.0)}, "must all be positive"),
        ({"strategy": "tend"}, "did you mean 'trend'"),
        ({"max_dayly_loss": 0.01}, "Extra inputs are not permitted"),
        ({"initial_balance": float("nan")}, "should be a finite number"),
        ({"volatility_horizon_hours": float("inf")}, "should be a finite number"),
        ({"trend_horizons_hours": (4.0, float("inf"))}, "should be a finite number"),
    ],
)
def test_bad_value_is_refused_with_a_sentence(changes, sentence):
    with pytest.raises(ValidationError, match=sentence.replace("(", r"\(")):
        SystemConfig.model_validate(changes)


def test_assignment_is_validated_too():
    config = SystemConfig()
    with pytest.raises(ValidationError):
        config.max_daily_loss = 2.0
    assert config.max_daily_loss == 0.05


def test_symbols_are_cleaned():
    assert SystemConfig(symbols=(" btcusdt", "EthUsdt")).symbols == ("BTCUSDT", "ETHUSDT")


def test_settings_survive_json():
    config = SystemConfig(symbols=("BTCUSDT",), maker_wait_s=7.5, use_maker_orders=False)
    assert SystemConfig.model_validate(config.model_dump(mode="json")) == config


def test_params_are_in_bars_of_the_decision_interval():
    config = SystemConfig(
        decision_interval="15m", trend_horizons_hours=(2.0, 8.0), volatility_horizon_hours=24.0, max_price_age_s=9.0
    )
    params = config.params()
    assert params.bars_per_year == 365 * 96
    np.testing.assert_array_equal(params.trend_horizon_bars, [8.0, 32.0])
    assert (params.vol_horizon_bars, params.max_age_s, params.gate) == (96.0, 9.0, True)
    assert config.interval_s == 900


def test_horizon_shorter_than_a_bar_is_one_bar():
    params = SystemConfig(decision_interval="1d", trend_horizons_hours=(4.0,), volatility_horizon_hours=4.0).params()
    np.testing.assert_array_equal(params.trend_horizon_bars, [1.0])
    assert params.vol_horizon_bars == 2.0


@pytest.mark.parametrize(("strategy", "sleeve"), [("trend", Sleeve.TREND), ("ema-cross", Sleeve.EMA_CROSS)])
def test_strategy_names_its_sleeve(strategy, sleeve):
    assert SystemConfig(strategy=strategy).params().sleeve == sleeve


def test_switched_off_gate_is_out_of_reach():
    params = SystemConfig(use_gate_daily_loss=False, use_gate_drawdown=False).params()
    assert (params.max_daily_loss, params.max_drawdown) == (1e9, 1e9)
    assert SystemConfig().params().max_daily_loss == 0.05


def test_every_field_tells_a_form_what_it_is():
    fields = field_descriptions()
    assert set(fields) == set(SystemConfig.model_fields)
    assert all(len(str(field["description"])) > 10 for field in fields.values())
    loss = fields["max_daily_loss"]
    assert (loss["default"], loss["minimum"], loss["maximum"], loss["type"]) == (0.05, 0, 0.5, "number")
    assert fields["strategy"]["choices"] == ["trend", "ema-cross", "portfolio"]
    assert "1m" in fields["decision_interval"]["choices"]


def test_secrets_in_the_environment_are_not_shown(monkeypatch):
    monkeypatch.setenv("ASTER_PRIVATE_KEY", "0x" + "ab" * 32)
    environment = Environment()
    assert environment.aster_private_key.get_secret_value() == "0x" + "ab" * 32
    assert "abab" not in repr(environment)
    assert "abab" not in environment.model_dump_json()

"""Explanations add up, are exact where the forecaster is linear, see only the past, and say their doubt."""

from __future__ import annotations

import json

import numpy as np
import pytest
from learnables import always, made_up

from engine.errors import DataError, ModelError
from models.answers import LOOK_BACK, drift_rows, explanation, model_answer
from models.baselines import Linear
from models.explain import (
    TOPICS,
    Drivers,
    Topic,
    attention_over_time,
    columns_of,
    drivers,
    nearest_cases,
    typical_bar,
)
from models.features import NAMES
from models.forecast import HORIZONS, MEDIAN, Prediction
from models.shift import shift_of
from models.summary import Facts, Record, summary_of

FLAT = Facts("BTCUSDT", "24 hours", 0.52, 0.001, -0.03, 0.033, base_up=0.515)


def wide(drift: float = 0.3):
    """Fifty inputs of which the fourth leans the returns."""
    data = made_up(n_bars=700, n_symbols=2, drift=drift)
    features = np.random.default_rng(2).standard_normal((700, 2, len(NAMES))).astype(np.float32)
    features[..., 3] = data.features[..., 0]
    features[:20] = np.nan
    return data._replace(features=features)


class Product:
    """A forecaster that is not linear: probability moves by the product of two inputs."""

    name = "product"

    def predict(self, data, rows):
        newest = data.features[rows].astype(float)
        prob = 0.5 + 0.1 * newest[..., 0] * newest[..., 1]
        quantile = np.repeat(prob[..., None, None] * np.ones((len(HORIZONS), 1)), 9, axis=-1)
        return Prediction(quantile, np.repeat(prob[..., None], len(HORIZONS), axis=-1))


def test_every_input_belongs_to_one_topic():
    assert sorted(np.concatenate(columns_of())) == list(range(len(NAMES)))
    with pytest.raises(ModelError, match="ret_2"):
        columns_of((Topic("no such", ("ret_2",)),))


def test_shares_add_up_and_are_exact_for_a_line():
    data = wide()
    model = Linear()
    model.fit(data, slice(0, 500), slice(524, 690), 0, always)
    typical, newest = typical_bar(data.features[:500]), data.features[-1:, 0]
    found = drivers(model, newest, typical, 4)
    said = model.rows(newest)
    h = HORIZONS.index(4)
    assert found.said_median == pytest.approx(said[0][0, h, MEDIAN], abs=1e-6)
    assert found.typical_prob + found.prob.sum() == pytest.approx(said[1][0, h], abs=1e-6)
    # a line: what an input adds is its slope times its distance from typical, in whatever order
    for topic, columns in zip(TOPICS, columns_of(), strict=True):
        only = np.where(np.isin(np.arange(50), columns), newest, typical).astype(np.float32)
        alone = model.rows(only)[0][0, h, MEDIAN] - found.typical_median
        assert found.median[found.names.index(topic.name)] == pytest.approx(alone, abs=1e-5)
    assert found.names[int(np.abs(found.median).argmax())] == "Return of 24 bars"  # holds the planted input


def test_two_inputs_that_work_together_share_what_they_add():
    topics = (Topic("one", ("ret_1",)), Topic("two", ("ret_4",)), Topic("idle", ("ret_8",)))
    features = np.ones((1, len(NAMES)), dtype=np.float32)
    found = drivers(Product(), features, np.zeros(len(NAMES)), 1, topics)
    # 0.1 x 1 x 1, half each: whichever comes second brings it, and every order comes with its reverse
    np.testing.assert_allclose(found.prob, [0.05, 0.05, 0.0], atol=1e-9)
    assert (found.typical_prob, found.said_prob) == (0.5, pytest.approx(0.6))


def test_nearest_past_bar_is_found_with_what_came_after_it_and_nothing_later():
    data = wide()
    data.features[300, 1] = data.features[-1, 0]  # a double, in another symbol
    data.features[-5, 0] = data.features[-1, 0]  # a later one, whose outcome is not known
    found = nearest_cases(data, 0)
    assert (found.row[0], found.column[0]) == (300, 1)
    assert found.distance[0] == pytest.approx(0.0, abs=1e-6) and found.distance[1] > 0.3 * found.ordinary  # noqa: PT018
    close = data.panel.close_px
    assert found.path[0, 24] == pytest.approx(np.log(close[324, 1] / close[300, 1]) / 0.01)
    assert found.row.max() <= 699 - 24
    assert np.diff(np.sort(found.row)).min() >= 24
    with pytest.raises(DataError, match="no outcome over 24 bars"):
        nearest_cases(data._replace(features=data.features[:20]), 0)


def test_a_network_with_attention_says_where_it_looked():
    import torch

    from models.lstm import LSTMConfig, LstmNetwork

    network = LstmNetwork(LSTMConfig(input_size=50, hidden_size=4, num_layers=1, window=8)).eval()

    class Fitted:
        class _scaler:
            @staticmethod
            def inputs(features):
                return features, None

    Fitted.network = network
    looked = attention_over_time(Fitted, np.random.default_rng(0).standard_normal((20, 50)).astype(np.float32))
    assert looked.sum() == pytest.approx(1.0, abs=1e-5)
    assert (looked[:12] == 0).all() and (looked[12:] > 0).all()  # noqa: PT018
    assert attention_over_time(Linear(), np.zeros((20, 50))) is None
    assert torch.is_grad_enabled()


def test_summary_tells_the_doubt_next_to_the_claim():
    said = " ".join(summary_of(FLAT._replace(
        covered=Record(0.71, 0.68, 0.74, 900, 40), direction=Record(0.508, 0.49, 0.526, 2400, 40), model_share=0.0,
        prob_spread=0.03, cases=(11, 20), regime=("calm", 0.6),
    )))  # fmt: skip
    for words in (
        "no more than how often it rose before (51.5 %)", "includes zero", "held what came (stated: 80 %): too narrow",
        "not told apart from a coin", "more than they differ from one half together", "(between 34 % and 74 %)",
        "tells nothing either way", "so it is not settled", "count 0 % of the decision",
    ):  # fmt: skip
        assert words in said, words


def test_summary_claims_what_the_numbers_show_and_names_what_is_unknown():
    drove = Drivers(("Funding rate", "Traded volume"), np.array([0.02, -0.001]), np.array([0.001, 0.002]),
                    np.zeros(2), 0.5, 0.0, 0.52, 0.0)  # fmt: skip
    said = " ".join(summary_of(FLAT._replace(
        prob_up=0.56, low=0.002, direction=Record(0.56, 0.53, 0.59, 2400, 40), drivers=drove, model_share=0.25,
    )))  # fmt: skip
    assert "4.5 points above how often it rose before" in said
    assert "leaves zero out; one outcome in five lies outside" in said
    assert "better than a coin, before costs" in said
    assert "What spoke for a rise: funding rate (+2.0 points)." in said  # the other is within its uncertainty
    assert "How often such intervals held is unknown." in said
    young = Record(0.9, 0.2, 1.0, 1440, 1)  # many outcomes, of one day
    early = " ".join(summary_of(FLAT._replace(covered=young, direction=young, model_share=0.2, is_sleeve=True)))
    assert "Too few such intervals have been judged (1\u202f440 on 1 day) to say if they hold." in early
    assert "Too few forecasts have been judged (1\u202f440 on 1 day) to say if they are right." in early
    assert "The portfolio takes 20 % of the models' wishes" in early
    assert "count 25 % of the decision" in said
    assert "unknown" in summary_of(FLAT)[-1]
    assert summary_of(FLAT._replace(prob_up=float("nan"))) == ["No model has a forecast for BTCUSDT over 24 hours now."]


def test_answer_for_the_screen_is_plain_and_whole():
    data = wide()
    model = Linear()
    model.fit(data, slice(0, 500), slice(524, 690), 0, always)
    answer = explanation(model, data, 0, 4, FLAT)
    assert json.loads(json.dumps(answer)) == answer
    moved = sum(row["points"] for row in answer["drivers"])
    assert answer["typical_prob"] + moved == pytest.approx(answer["said_prob"], abs=1e-6)
    assert answer["attention"] is None
    assert len(answer["cases"]) == 20 and len(answer["cases"][0]["path"]) == 25  # noqa: PT018
    assert any("most similar past bars" in sentence for sentence in answer["summary"])


def test_an_input_that_moved_is_told_from_one_that_always_moves():
    rng = np.random.default_rng(4)
    trained = rng.standard_normal((1200, 2, len(NAMES)))
    trained[..., 1] = np.repeat(rng.standard_normal(12), 100)[:, None]  # slow: every stretch is unlike the whole
    trained[..., 2] = np.nan
    recent = rng.standard_normal((100, 2, len(NAMES)))
    recent[..., 0] += 2.0
    recent[..., 1] = 0.1
    recent[..., 2] = np.nan
    rows = {row["feature"]: row for row in drift_rows(shift_of(trained, recent))}
    assert rows[NAMES[0]]["verdict"] == "unlike"
    assert rows[NAMES[1]]["verdict"] != "unlike" and rows[NAMES[1]]["psi"] > 0.25  # noqa: PT018
    assert NAMES[2] not in rows
    others = [rows[name]["verdict"] for name in NAMES[3:]]
    assert others.count("steady") > 0.8 * len(others)
    with pytest.raises(DataError, match="compare fewer bars"):
        shift_of(trained[:300], recent)


def test_why_a_model_counts_follows_its_record():
    skill = [{"value": 0.004, "low": 0.001, "high": 0.007}] + [{"value": -0.001, "low": -0.003, "high": 0.001}] * 5
    row = {"name": "linear", "said": "a line", "figures": {"skill": skill}, "weight": {"latest": [0.3, 0, 0, 0, 0, 0]}}
    lead = "better than the base rate by 0.40 % at best, beyond doubt at 1 of 6 horizons: "
    assert model_answer(row)["why_weight"] == lead + "which way and how far prices move, together"
    for low, words in (
        (-0.001, "knows how far prices move, and not surely which way"),
        (0.001, "which way prices go at 6"),
    ):
        figures = {"skill": skill, "log_loss_gain": [{"value": 0.002, "low": low, "high": 0.005}] * 6}
        assert words in model_answer(row | {"figures": figures})["why_weight"]
    without = row | {"weight": {"latest": [0.0] * 6}, "figures": {"skill": skill[1:]}}
    assert model_answer(without)["why_weight"].startswith("no skill")
    failed = {"name": "sac", "said": "an agent", "failed": "seed 0: no memory", "weight": {"latest": [0.0] * 6}}
    assert model_answer(failed)["why_weight"] == "not judged: its training failed"
    assert model_answer({"name": "x", "said": ""})["why_weight"] == "not judged yet"


def test_a_long_memory_is_explained_from_its_newest_bars():
    class Remembers(Product):
        warm_up_bars = 256

        def predict(self, data, rows):
            self.n_bars = len(data.features)
            return super().predict(data, rows)

    model = Remembers()
    explanation(model, wide(), 0, 4, FLAT)
    assert model.n_bars == LOOK_BACK

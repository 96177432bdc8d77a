"""A training: judged on bars that were not seen, weighed by that, stored whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from learnables import made_up

from engine.errors import ModelError
from models import baselines, catalogue, fit, roles, walkforward
from models.earned import TradingEvidence
from models.features import feature_hash
from models.fit import forecasters, parts_of, store_set, train_set
from models.forecast import HORIZONS, Cancelled
from models.set_evidence import earned_metrics
from models.sets import BASE, ENSEMBLE, list_sets, load_set

NAMES = (BASE, "linear")
DAY = 86_400 * 10**9


def going_on(name, share, losses):
    return True


@pytest.fixture(scope="module")
def leaning():
    return made_up(n_bars=4_000, drift=0.15)


@pytest.fixture(scope="module")
def trained(leaning):
    return train_set(leaning, NAMES, 0, going_on)


def test_a_learner_that_finds_something_counts_and_one_without_skill_does_not(trained):
    assert trained.metrics["linear"]["accuracy_4"]["mean"] > 0.53
    assert trained.record.weights.member[0].max() > 0.2
    nothing = train_set(made_up(n_bars=4_000, drift=0.0), NAMES, 0, going_on)
    assert nothing.record.weights.member.max() < 0.2


def test_what_is_judged_was_not_learned_from(trained, leaning):
    n_bars = len(leaning.panel.ts_close)
    assert trained.judged == slice(round(0.8 * n_bars), n_bars)
    later = leaning.target.copy()
    later[trained.judged] = np.random.default_rng(3).standard_normal(later[trained.judged].shape)
    shuffled = train_set(leaning._replace(target=later), NAMES, 0, going_on)
    assert abs(shuffled.metrics["linear"]["accuracy_4"]["mean"] - 0.5) < 0.03


def test_progress_rises_to_the_end_and_a_person_can_cancel(leaning):
    told = []

    def until_half(name, share, losses):
        told.append(share)
        return share < 0.5

    with pytest.raises(Cancelled):
        train_set(leaning, NAMES, 0, until_half)
    assert told == sorted(told)


class Lucky(baselines.BaseRate):
    """A learner with skill only where its seed is 1."""

    def fit(self, data, train, valid, seed, progress):
        self.luck = 0.1 if seed == 1 else 0.0
        return super().fit(data, train, valid, seed, progress)

    def predict(self, data, rows):
        said = super().predict(data, rows)
        return said._replace(prob_up=0.5 + self.luck * np.repeat(data.features[rows][..., :1], len(HORIZONS), axis=2))


def test_figures_are_of_all_seeds_and_a_lucky_one_carries_no_share(leaning, monkeypatch):
    fits, real = [], fit.build
    monkeypatch.setitem(catalogue.ENTRIES, "lucky", catalogue.Entry("models.baselines", "BaseRate", "lucky"))
    monkeypatch.setattr(fit, "build", lambda name: Lucky() if name == "lucky" else real(name))

    def told(name, share, losses):
        fits.append((name, losses["seed"]))
        return True

    found = train_set(leaning, (BASE, "lucky"), 0, told, 3)
    assert list(dict.fromkeys(fits)) == [(BASE, 0.0), ("lucky", 0.0), ("lucky", 1.0), ("lucky", 2.0)]
    assert [one.seed for one in found.found["lucky"]] == [one.seed for one in found.found[ENSEMBLE]] == [0, 1, 2]
    right = found.metrics["lucky"]["accuracy_1"]
    each = [one.tallies["accuracy"][0][:, 0].sum() / one.tallies["accuracy"][1][:, 0].sum()
            for one in found.found["lucky"]]  # fmt: skip
    assert each[1] > max(each[0], each[2]) + 0.02
    assert right["mean"] == pytest.approx(np.mean(each))
    assert right["over_seeds"] == pytest.approx(np.std(each, ddof=1))
    assert right["low"] < right["mean"] < right["high"]
    assert right["seeds"] == 3.0
    assert found.models["lucky"].luck == 0.0  # the one that is used has the first seed


def test_the_share_is_that_of_the_seed_in_the_middle():
    earned = [TradingEvidence(share, excess, 0.001, excess, 0.1, 1.0, 200)
              for share, excess in ((0.3, 0.01), (0.0, -0.02), (0.0, 0.001))]  # fmt: skip
    kept = earned_metrics(earned)
    assert (kept["share"]["mean"], kept["excess"]["mean"]) == (0.0, 0.001)
    assert kept["share"]["over_seeds"] == pytest.approx(np.std([0.3, 0.0, 0.0], ddof=1))


def test_what_is_used_has_learned_from_the_bars_that_judged_its_like():
    """Nothing leans on the first feature until the judged bars begin: only who learned from those can know it."""
    leaning = made_up(n_bars=4_000, drift=0.5)
    n_bars = len(leaning.panel.ts_close)
    late = leaning.target.copy()
    before = slice(0, round(0.8 * n_bars))
    late[before] = np.random.default_rng(3).standard_normal(late[before].shape)
    found = train_set(leaning._replace(target=late), NAMES, 0, going_on)
    last = slice(n_bars - 200, n_bars)
    leans = [found.models["linear"].predict(leaning, last).prob_up[leaning.features[last, :, 0] == side, 1].mean()
             for side in (1.0, -1.0)]  # fmt: skip
    assert leans[0] - leans[1] > 0.02
    assert found.metrics["linear"]["accuracy_4"]["mean"] < 0.53  # who was judged had not learned it


def test_every_part_lies_behind_the_one_before_and_two_months_are_held_back_at_most():
    assert fit.VALID_DAYS == walkforward.VALID_DAYS
    for n_bars, held_back in ((24 * 900, 24 * 60), (24 * 300, 24 * 30)):
        parts = parts_of(made_up(n_bars=n_bars, n_symbols=1))
        assert (parts.judged.stop, parts.valid_again.stop) == (n_bars, n_bars)
        assert parts.valid_again.stop - parts.valid_again.start == held_back
        assert parts.train_again.stop == parts.valid_again.start - 24
        assert parts.train_again.stop > parts.judged.start
        assert (parts.train.stop + 24, parts.valid.stop + 24) == (parts.valid.start, parts.judged.start)


def test_a_learner_that_learned_nan_costs_itself_and_not_the_set(leaning, monkeypatch, tmp_path):
    real = baselines.Linear.fit

    def spoiled(self, *args):
        losses = real(self, *args)
        self.slope[0, 0] = np.nan
        return losses

    monkeypatch.setattr(baselines.Linear, "fit", spoiled)
    found = train_set(leaning, NAMES, 0, going_on)
    assert found.failed == {"linear": "linear learned nothing usable: its tensor slope holds NaN"}
    store_set(tmp_path, leaning, found, "one", "1h", 0, DAY)
    assert load_set(tmp_path, "one", feature_hash(), DAY + 1).members == {}


@pytest.mark.parametrize("error", [ModelError("its loss was not a number"), RuntimeError("out of memory")])
@pytest.mark.parametrize("at_fit", [1, 2])
def test_a_learner_that_fails_is_left_out_and_the_others_go_on(leaning, monkeypatch, error, at_fit):
    fits, real = [], baselines.Linear.fit

    def failing(self, *args):
        fits.append(1)
        if len(fits) == at_fit:
            raise error
        return real(self, *args)

    monkeypatch.setattr(baselines.Linear, "fit", failing)
    found = train_set(leaning, NAMES, 0, going_on)
    said = str(error) if isinstance(error, ModelError) else "RuntimeError: out of memory"
    assert found.failed == {"linear": said}
    assert found.record.weights.names == ()
    monkeypatch.setattr(baselines.BaseRate, "fit", failing)
    fits.clear()
    with pytest.raises(ModelError, match=f"the base rate could not be learned: {said}"):
        train_set(leaning, NAMES, 0, going_on)


def test_too_few_bars_are_refused():
    with pytest.raises(ModelError, match="too few to learn from"):
        train_set(made_up(n_bars=500), NAMES, 0, going_on)


def test_a_set_comes_back_as_it_was_and_a_member_that_is_damaged_is_left_out(trained, leaning, tmp_path):
    store_set(tmp_path, leaning, trained, "one", "1h", 0, DAY)
    found = load_set(tmp_path, "one", feature_hash(), DAY + 1)
    np.testing.assert_array_equal(found.record.weights.member, trained.record.weights.member)
    np.testing.assert_array_equal(found.record.tracker.log_factor, trained.record.tracker.log_factor)
    rows = slice(-5, None)
    said = found.members["linear"].model.predict(leaning, rows)
    np.testing.assert_allclose(said.prob_up, trained.models["linear"].predict(leaning, rows).prob_up)
    assert found.manifest.metrics["accuracy_24"]["n"] > 0
    with (tmp_path / "models" / "linear" / "one" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    damaged = load_set(tmp_path, "one", feature_hash(), DAY + 1)
    assert not damaged.members
    assert "not those of its manifest" in damaged.left_out["linear"]
    with pytest.raises(ModelError, match="expired"):
        load_set(tmp_path, "one", feature_hash(), DAY * 90)


def test_a_training_that_was_broken_off_while_it_was_stored_is_no_set(trained, leaning, tmp_path, monkeypatch):
    save = fit.save_model

    def full(home, model, training):
        if training.name == ENSEMBLE:
            raise ModelError("no space left on device")
        return save(home, model, training)

    monkeypatch.setattr(fit, "save_model", full)
    with pytest.raises(ModelError, match="no space"):
        store_set(tmp_path, leaning, trained, "one", "1h", 0, DAY)
    assert list_sets(tmp_path) == []


def test_names_are_checked_and_the_base_rate_is_always_there():
    assert forecasters(("linear",)) == (BASE, "linear")
    assert set(forecasters()) >= {BASE, "linear", "boosting", "lstm", "transformer"}
    assert len(HORIZONS) == 6


@pytest.fixture
def usable(monkeypatch):
    """Sets without files that can be used, but for those that a test puts here."""
    spent = {}
    monkeypatch.setattr(roles, "why_unusable", lambda home, version, ts: spent.get(version))
    return spent


def test_roles_first_is_champion_the_next_challenges_and_every_change_has_its_reason(tmp_path, usable):
    assert roles.enter(tmp_path, "a", 1, "first training", "desk")[:2] == ("a", None)
    assert roles.enter(tmp_path, "b", 2, "scheduled", "engine")[:2] == ("a", "b")
    with pytest.raises(ModelError, match="give a reason"):
        roles.promote(tmp_path, "b", 3, " ", "desk")
    assert roles.promote(tmp_path, "b", 3, "evidence 21", "engine")[:2] == ("b", None)
    with pytest.raises(ModelError, match="in force already"):
        roles.promote(tmp_path, "b", 4, "again", "desk")
    assert roles.roll_back(tmp_path, 5, "it lost money", "desk")[:2] == ("a", None)
    with pytest.raises(ModelError, match="no set challenges"):
        roles.dismiss(tmp_path, 6, "x", "desk")
    found = roles.read_roles(tmp_path)
    assert [row["action"] for row in found.history] == ["enter", "challenge", "promote", "rollback"]
    assert found.history[-1]["reason"] == "it lost money"


def test_rolling_back_goes_further_back_and_never_to_what_was_taken_back(tmp_path, usable):
    roles.enter(tmp_path, "a", 1, "first training", "desk")
    for ts, version in enumerate(("b", "c"), start=2):
        roles.promote(tmp_path, version, ts, "evidence 21", "engine")
    assert roles.roll_back(tmp_path, 4, "c lost money", "desk").champion == "b"
    assert roles.roll_back(tmp_path, 5, "so did b", "desk").champion == "a"
    with pytest.raises(ModelError, match="nothing to roll back to"):
        roles.roll_back(tmp_path, 6, "and a", "desk")
    assert roles.promote(tmp_path, "d", 7, "evidence 22", "engine").champion == "d"
    assert roles.roll_back(tmp_path, 8, "d lost money", "desk").champion == "a"


def test_retiring_brings_back_what_was_in_force_before_and_not_what_was_taken_back(tmp_path, usable):
    roles.enter(tmp_path, "a", 1, "first training", "desk")
    for ts, version in enumerate(("b", "c", "d"), start=2):
        roles.promote(tmp_path, version, ts, "evidence 21", "engine")
    roles.roll_back(tmp_path, 5, "d lost money", "desk")  # c is in force
    usable["b"] = "b expired 3.0 days ago"
    with pytest.raises(ModelError, match=r"b expired 3\.0 days ago, so it would say nothing"):
        roles.roll_back(tmp_path, 6, "c lost money", "desk")
    with pytest.raises(ModelError, match="b expired"):
        roles.promote(tmp_path, "b", 6, "it was the best", "desk")
    assert roles.retire(tmp_path, "c", 7, "c lost money", "desk").champion == "a"  # b would say nothing
    assert roles.retire(tmp_path, "a", 8, "nothing works", "desk").champion is None


def test_a_set_that_has_expired_or_knows_other_inputs_cannot_be_put_into_force(trained, leaning, tmp_path, monkeypatch):
    store_set(tmp_path, leaning, trained, "old", "1h", 0, DAY)
    store_set(tmp_path, leaning, trained, "new", "1h", 0, 50 * DAY)
    for ts, version in ((DAY, "old"), (50 * DAY, "new")):
        roles.enter(tmp_path, version, ts, "schedule", "engine")
    assert roles.promote(tmp_path, "new", 51 * DAY, "evidence 21", "engine").champion == "new"
    with pytest.raises(ModelError, match=r"old expired 4\.0 days ago, so it would say nothing"):
        roles.roll_back(tmp_path, 65 * DAY, "it lost money", "desk")
    assert roles.roll_back(tmp_path, 60 * DAY, "it lost money", "desk").champion == "old"
    with pytest.raises(ModelError, match="ensemble gone has no manifest"):
        roles.promote(tmp_path, "gone", 60 * DAY, "it was the best", "desk")
    monkeypatch.setattr(roles, "feature_hash", lambda: "others")
    assert roles.why_unusable(tmp_path, "new", 60 * DAY) == "new learned on other inputs than are computed now"


def test_nothing_to_roll_back_to_and_a_damaged_file_are_said(tmp_path):
    roles.enter(tmp_path, "a", 1, "first training", "desk")
    with pytest.raises(ModelError, match="nothing to roll back to"):
        roles.roll_back(tmp_path, 2, "x", "desk")
    (tmp_path / "models" / "roles.json").write_text("{")
    with pytest.raises(ModelError, match="no model is in force"):
        roles.read_roles(tmp_path)

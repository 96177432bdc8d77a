"""Beside the forecasters: regimes, alarms and drift as they were seen at the time, and agents that must earn weight."""

from __future__ import annotations

import time

import numpy as np
import pytest

from engine.errors import ModelError
from models import beside
from models.agent_evidence import judged, trend_wish
from models.agents import Agent
from models.beside import store_beside, train_beside, wanted_of
from models.dataset import learnable
from models.features import NAMES, feature_hash
from models.fit import store_set, train_set
from models.forecast import Cancelled, Panel
from models.live_agents import sharpe_estimate, together
from models.live_beside import load_beside
from models.own_book import OWN
from models.panel import made_up_panel
from models.regimes import filtered, regime_observations
from models.registry import load_model
from models.roles import enter, read_roles
from models.serve import open_tape
from models.sets import BASE
from models.surroundings import DRIFT_BARS, Lookout, Surroundings
from models.train import TrainRequest, _give_role

HOUR = 3_600 * 10**9
FIELDS = ("open_px", "high_px", "low_px", "close_px", "volume")


def untaught(config, make_env, seed, progress, tensors=None):
    """Return an agent's arrays as they are before it has learned anything: what follows needs no learning library."""
    rng, width = np.random.default_rng(seed), len(NAMES) + len(OWN)
    sizes = {"mlp_extractor.policy_net.0": (8, width), "mlp_extractor.value_net.0": (8, width), "action_net": (1, 8),
             "value_net": (1, 8)}  # fmt: skip
    made = {f"{name}.weight": 0.3 * rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    made |= {f"{name}.bias": np.zeros(size[0], dtype=np.float32) for name, size in sizes.items()}
    return made | {"log_std": np.array([-1.0], dtype=np.float32)}, {"seconds": 0.0, "steps": 0.0}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with a set of a base rate, its surroundings and two untaught agents, and its bars."""
    home = tmp_path_factory.mktemp("home")
    panel = made_up_panel(seed=3, n_bars=4_000, n_symbols=2, memory=0.3)
    unknown = np.full(panel.funding.shape, np.nan)
    data = learnable(panel._replace(funding=unknown, basis=unknown, imbalance=unknown))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.agents.train_agent", untaught)
        made = train_beside(data, ("ppo", "a2c"), 0, lambda *_: True)
    now = time.time_ns()
    store_beside(home, data, made, "one", 0, now)
    store_set(home, data, train_set(data, (BASE,), 0, lambda *_: True), "one", "1h", 0, now)
    enter(home, "one", now, "the first training", "test")
    return home, data, made


def rows_of(data, t) -> Panel:
    return Panel(data.panel.symbols, *(values[t : t + 1] for values in data.panel[1:]))


def test_agents_come_with_a_training_unless_it_names_others():
    everything = wanted_of()
    assert everything.agents == ("ppo", "sac", "a2c")
    assert everything.forecasters[0] == BASE
    assert len(everything.forecasters) == 6
    assert everything.seconds > wanted_of(("linear",)).seconds
    assert everything.seconds > wanted_of(seeds=1).seconds
    assert wanted_of(("linear",)) == ((BASE, "linear"), (), 3)
    assert wanted_of(("agents", "linear"), 2) == ((BASE, "linear"), ("ppo", "sac", "a2c"), 2)
    assert wanted_of(("ppo",))[:2] == ((BASE,), ("ppo",))


def test_the_lookout_says_of_each_bar_what_the_filter_said_then(trained):
    home, data, made = trained
    stored = load_model(home, "surroundings", "one", feature_hash(), time.time_ns()).model
    lookout = Lookout(stored)
    first = len(data.panel.ts_close) - DRIFT_BARS
    for t in range(first, len(data.panel.ts_close)):
        lookout.see(rows_of(data, t), data.features[t], data.sigma[t])
    said = lookout.answer()
    expected = filtered(made.surroundings.regimes, regime_observations(data.features)[first:])
    np.testing.assert_allclose([row[1:] for row in said["regimes"]["points"]], expected)
    assert said["regimes"]["points"][-1][0] == data.panel.ts_close[-1] // 10**6
    assert lookout.regime()[1] == pytest.approx(expected[-1].max())
    assert said["changes"] == []
    assert len(said["drift"]) > 20  # what this market knows of its inputs
    verdicts = [row["verdict"] for row in said["drift"]]  # the last week was learned from
    assert verdicts.count("steady") > 0.7 * len(verdicts)
    assert verdicts.count("unlike") <= 2


def test_another_market_raises_the_alarm_and_is_unlike_the_training(trained):
    _, data, made = trained
    lookout = Lookout(made.surroundings)
    rng, n_bars = np.random.default_rng(1), 400
    for t in range(len(data.panel.ts_close) - n_bars, len(data.panel.ts_close)):
        bar = rows_of(data, t)
        if t >= len(data.panel.ts_close) - 170:  # each close jumps about by thirty times the volatility
            bar = bar._replace(close_px=bar.close_px * np.exp(30 * data.sigma[t] * rng.standard_normal()))
        features = data.features[t] * (1.0 if t < len(data.panel.ts_close) - 170 else 5.0)
        lookout.see(bar, features, data.sigma[t])
    said = lookout.answer()
    assert [what for _, what in said["changes"]][:1] == ["the size of moves changed"]
    assert sum(row["verdict"] == "unlike" for row in said["drift"]) > 10


def test_too_little_history_is_unknown_and_not_a_fault():
    short = learnable(made_up_panel(seed=3, n_bars=150, n_symbols=1))
    learned = Surroundings()
    learned.fit(short, slice(0, 150))
    assert (learned.regimes, learned.reference) == (None, None)
    again = Surroundings()
    again.load(*learned.state())
    lookout = Lookout(again)
    lookout.see(rows_of(short, 0), short.features[0], short.sigma[0])
    assert lookout.answer() == {"regimes": None, "changes": [], "drift": []}


def test_agents_on_the_tape_wish_what_the_batch_wishes_and_count_by_evidence_alone(trained):
    home, data, made = trained
    n_bars, now = len(data.panel.ts_close), time.time_ns()
    live = load_beside(home, "one", feature_hash(), now, 2)
    part = slice(n_bars - 169, n_bars - 1)
    live.warm_up(Panel(data.panel.symbols, *(v[part] for v in data.panel[1:])), data.features[part], data.sigma[part])
    said = {"weight": np.array([0.5, np.nan]), "share": 0.25, "left_out": {}}
    one = rows_of(data, n_bars - 1)
    joined = live.join(said, one, data.features[-1], data.sigma[-1], now)
    evidence = judged(made.agents, data, slice(round(0.8 * n_bars), n_bars))
    assert evidence.n_days == pytest.approx(0.2 * n_bars / 24, abs=1)
    assert (evidence.share, joined["agents_share"]) == (0.0, 0.0)  # untaught agents earn nothing
    np.testing.assert_array_equal(joined["weight"], said["weight"])
    assert joined["share"] == 0.25
    live2 = load_beside(home, "one", feature_hash(), now, 2)
    live2.warm_up(Panel(data.panel.symbols, *(v[part] for v in data.panel[1:])), data.features[part], data.sigma[part])
    live2._agents.share = 0.5
    wish = made.agents.weights(data, slice(n_bars - 1, n_bars))[0]
    joined = live2.join(said, one, data.features[-1], data.sigma[-1], now)
    expected = together(said["weight"], 0.25, wish, 0.5)
    np.testing.assert_allclose(joined["weight"], expected[0], atol=1e-6)
    assert joined["share"] == pytest.approx(1.0 - 0.75 * 0.5)
    votes = live2.answer()["agents"]
    assert [(row["name"], row["seeds"]) for row in votes] == [("ppo", 3), ("a2c", 3)]
    copies = [member.weights(data, slice(n_bars - 1, n_bars))[0] for member in made.agents.members]
    for k, row in enumerate(votes):
        np.testing.assert_allclose(row["vote"], np.mean(copies[3 * k : 3 * k + 3], axis=0), atol=1e-6)
        np.testing.assert_allclose(row["spread"], np.std(copies[3 * k : 3 * k + 3], axis=0, ddof=1), atol=1e-6)
        assert (row["low"] <= row["vote"]).all()
        assert (row["vote"] <= row["high"]).all()
        assert (row["low"] < row["high"]).all()
    expired = live2.join(said, one, data.features[-1], data.sigma[-1], now + 400 * 24 * HOUR)
    assert expired["agents_share"] == 0.0


def test_a_wish_counts_by_its_own_share_where_the_other_one_is_unknown():
    wish, other = np.array([0.8, 0.8, np.nan, np.nan]), np.array([-0.4, np.nan, -0.4, np.nan])
    for own, others in ((0.2, 0.07), (0.0, 0.07), (0.5, 0.5)):
        found, joint = together(wish, own, other, others)
        assert joint == pytest.approx(1.0 - (1.0 - own) * (1.0 - others))
        assert found[0] == pytest.approx((0.8 * own - 0.4 * others) / (own + others))
        if own > 0.0:
            assert joint * found[1] == pytest.approx(0.8 * own)
        else:
            assert np.isnan(found[1])  # what has earned nothing leaves the symbol to the rule
        assert joint * found[2] == pytest.approx(-0.4 * others)
        assert np.isnan(found[3])
    # a third that is unknown too: the first still counts by no more than its own
    found, joint = together(*together(wish, 0.2, other, 0.07), np.full(4, np.nan), 0.1)
    assert joint * found[1] == pytest.approx(0.8 * 0.2)


def test_the_agents_rule_is_the_decision_cores_own_for_each_symbol_alone(trained):
    """By hand, bar by bar: tanh of the mean of three normalised trails, over the core's volatility."""
    _, data, made = trained
    terms = made.agents.members[0].fitted[2]
    rows = slice(3_000, 3_400)
    wish = trend_wish(data, rows, terms)
    log_return = np.diff(np.log(data.panel.close_px[1_000:]), axis=0, prepend=np.nan)  # the rule warms up for 2000 bars
    signal = np.zeros(log_return.shape[1])
    trails, expected = np.zeros((3, log_return.shape[1])), np.empty(log_return.shape)
    variance = np.zeros(log_return.shape[1])
    for t in range(1, len(log_return)):
        variance += max(2.0 / 169.0, 1.0 / t) * (log_return[t] ** 2 - variance)
        for h, horizon in enumerate((72.0, 216.0, 648.0)):
            keep = 1.0 - 2.0 / (horizon + 1.0)
            trails[h] = keep * (trails[h] + log_return[t])
        keep = 1.0 - 2.0 / (np.array([72.0, 216.0, 648.0]) + 1.0)
        signal = np.tanh(np.mean(trails / np.sqrt(variance * (keep**2 / (1.0 - keep**2))[:, None]), axis=0))
        expected[t] = signal * terms.params.vol_target / np.sqrt(variance * terms.params.bars_per_year)
    unit = terms.params.vol_target / (data.sigma[rows] * np.sqrt(terms.params.bars_per_year))
    held = np.minimum(unit, terms.params.max_symbol_weight) * wish
    capped = np.clip(expected[2_000:2_400], -terms.params.max_symbol_weight, terms.params.max_symbol_weight)
    np.testing.assert_allclose(held, capped, rtol=1e-9, atol=1e-12)
    assert np.abs(wish).max() > 0.3


def test_whatever_fails_beside_the_forecasters_is_left_out_and_a_cancelled_one_ends(trained, tmp_path, monkeypatch):
    _, data, _ = trained

    def broken(*args):
        raise np.linalg.LinAlgError("singular matrix")

    monkeypatch.setattr(Surroundings, "fit", broken)
    monkeypatch.setattr("models.agents.train_agent", broken)
    made = train_beside(data, ("ppo",), 0, lambda *_: True)
    assert made[:3] == (None, None, {})
    assert made.failed == dict.fromkeys(("surroundings", "agents"), "LinAlgError: singular matrix")
    store_beside(tmp_path, data, made, "one", 0, time.time_ns())
    live = load_beside(tmp_path, "one", feature_hash(), time.time_ns(), 2)
    assert (live.lookout, live.left_out, live.answer()["agents"]) == (None, {}, [])

    def cancelled(*args):
        raise Cancelled

    monkeypatch.setattr("models.agents.train_agent", cancelled)
    with pytest.raises(Cancelled):
        train_beside(data, ("ppo",), 0, lambda *_: True)


def test_agents_are_judged_before_they_learn_from_all_bars(trained, monkeypatch):
    _, data, _ = trained
    n_bars, fits = len(data.panel.ts_close), []
    real = Agent.fit

    def told(self, data, train, valid, seed, progress):
        fits.append((train, valid))
        return real(self, data, train, valid, seed, progress)

    monkeypatch.setattr(Agent, "fit", told)
    monkeypatch.setattr("models.agents.train_agent", untaught)
    made = train_beside(data, ("ppo",), 0, lambda *_: True, 1)
    first, second = round(0.7 * n_bars), round(0.8 * n_bars)
    assert [(name, len(each)) for name, each in made.found.items()] == [("ppo", 1), ("agents", 1)]
    assert made.found["ppo"][0].wish.shape == (n_bars - second, 2)
    assert fits == [(slice(0, first), slice(first, second)), (slice(0, n_bars), slice(second, n_bars))]
    assert made.agents.evidence[0, 0] == pytest.approx(0.3 * n_bars / 24, abs=2)  # days, none of them twice


def test_what_breaks_beside_the_forecasters_stops_only_itself(trained):
    home, data, _ = trained
    tape = open_tape(home, data.panel.symbols, time.time_ns())
    bars = [
        (int(data.panel.ts_close[t]), [getattr(data.panel, name)[t].tolist() for name in FIELDS]) for t in range(-60, 0)
    ]
    tape.warm_up(bars[:-1])

    class Broken:
        share = 1.0

        def see(self, *_):
            raise ValueError("no luck")

    tape.beside._agents, tape.beside.lookout = Broken(), Broken()
    said = tape.on_bar(*bars[-1], time.time_ns(), 1e4)
    assert said["left_out"]["agents"] == "broken: ValueError: no luck"
    assert tape.look() == {"regimes": None, "changes": [], "drift": [], "agents": []}
    assert "no luck" in tape.beside.left_out["surroundings"]


def test_a_sharpe_ratio_has_the_error_of_its_days():
    # a Sharpe ratio of 1 on a year of days is 1 ± 1.96 * sqrt((365 + 1/2) / 365)
    day, std = 1.0 / 365.0, 1.0 / np.sqrt(365.0)
    found = sharpe_estimate(np.array([365.0, 365.0 * day, 365.0 * (day * day + std * std)]))
    assert (found["value"], found["high"]) == (pytest.approx(1.0), pytest.approx(1.0 + 1.96 * np.sqrt(365.5 / 365)))
    assert sharpe_estimate(np.zeros(3)) is None


def test_a_new_set_takes_over_from_one_that_can_no_longer_be_used(trained, tmp_path):
    home, data, _ = trained
    request = TrainRequest(home, (), reason="schedule", actor="schedule")
    base = train_set(data, (BASE,), 0, lambda *_: True)
    now = time.time_ns()
    for version, age_days in (("old", 61), ("new", 0)):
        store_set(tmp_path, data, base, version, "1h", 0, now - age_days * 24 * HOUR)
        _give_role(tmp_path, version, now, request)
    roles = read_roles(tmp_path)
    assert (roles.champion, roles.challenger) == ("new", None)
    assert "expired 1.0 days ago" in roles.history[-1]["reason"]
    store_set(tmp_path, data, base, "next", "1h", 0, now)
    _give_role(tmp_path, "next", now, request)
    assert read_roles(tmp_path)[:2] == ("new", "next")


def test_a_failure_of_the_agents_is_told_and_the_rest_goes_on(trained, monkeypatch):
    _, data, _ = trained

    def broken(*_args):
        raise ModelError("nothing to learn from")

    monkeypatch.setattr("models.agent_ensemble.AgentEnsemble.fit", broken)
    made = beside.train_beside(data, ("ppo",), 0, lambda *_: True)
    assert (made.agents, made.failed) == (None, {"agents": "nothing to learn from"})
    assert made.surroundings.regimes is not None

"""One tape through backtest, paper and live: alike to the bit, signed; and every kind of difference is found.

The strategy of this test looks at its own account and at volumes, which are what differs most between the paths.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest

from engine import certify
from engine.research import certificate
from engine.research.parity import Played, between, same
from engine.settings import SystemConfig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CURIOUS = """
import numpy as np

class Strategy:
    history = 40

    def __init__(self, gain=0.3):
        self.gain, self.mean = gain, None

    def on_bar(self, past):
        newest = np.log(past.close[-1])
        self.mean = newest if self.mean is None else 0.8 * self.mean + 0.2 * newest
        busy = past.volume[-1] / past.volume.mean(axis=0)
        wish = self.gain * np.tanh(500.0 * (newest - self.mean)) * np.minimum(busy, 1.5)
        return dict(zip(past.symbols, wish - 0.1 * past.weight + 1e-7 * (past.equity - 10_000.0)))
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Return data folder, settings, certificate, and what the paths left, for comparisons that must fail."""
    home = tmp_path_factory.mktemp("home")
    (home / "curious.py").write_text(CURIOUS)
    config = SystemConfig(
        symbols=("BTCUSDT", "ETHUSDT"), strategy=str(home / "curious.py"), strategy_params={"gain": 0.4}
    )
    seen = {}

    class Watched(certify.Backtester):
        def judge(self, played):
            seen.setdefault(played.name, (self, played))
            return super().judge(played)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certify, "Backtester", Watched)
        patch.setattr(certify, "N_PLAYED", 12)
        issued = certify.certify_now(home, config)
    return home, config, issued, seen


def test_the_paths_decide_alike_and_the_certificate_holds(outcome, capsys):
    home, config, issued, _ = outcome
    assert issued["sentences"] == []
    assert (issued["status"], issued["differences"], issued["decisions"]) == ("pass", 0, 26)
    assert issued["own_account"] > 0  # it looks at its own account, so tapes alone could not have compared it
    kept = certify.keep(home, config.strategy)
    version = certificate.version_now(home, config.model_copy(update={"strategy": kept}))
    assert certificate.block(home, version)["status"] == "pass"
    edited = certificate.version_now(
        home, config.model_copy(update={"strategy": kept, "strategy_params": {"gain": 0.5}})
    )
    assert certificate.block(home, edited)["status"] == "none"
    with capsys.disabled():
        print(f"\ncertificate: {issued['decisions']} decisions compared in {issued['elapsed_s']} s")


def changed(played, index, change):
    records = copy.deepcopy(played.records)
    change(records[index])
    return Played(played.name, played.bars, records)


def one_bit(values):
    values[0] = float(np.nextafter(values[0], np.inf))


def slightly(values):
    """Change an input by more than its last digit, which the arithmetic may round away."""
    values[0] = values[0] * (1.0 + 1e-9)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda record: one_bit(record["raw_weight"]), "decision 7: raw_weight does not follow from its record"),
        (lambda record: one_bit(record["approved_weight"]), "decision 7: approved_weight does not follow"),
        (lambda record: record["verdict"][0].__setitem__(5, 1), "decision 7: verdict does not follow"),
        (lambda record: record["act"].__setitem__(0, 1 - record["act"][0]), "decision 7: act does not follow"),
        (lambda record: slightly(record["close_px"]), "decision 7: raw_weight does not follow"),
        (lambda record: slightly(record["own"]["weight"]), "decision 7: raw_weight does not follow"),
    ],
    ids=["raw", "approved", "verdict", "act", "bar", "weight told"],
)
def test_one_bit_is_a_difference(outcome, change, sentence):
    backtester, played = outcome[3]["paper"]
    judged = backtester.judge(changed(played, 7, change))
    assert judged.n_differences >= 1
    assert any(sentence in found for found in judged.differences), judged.differences


def test_other_parameters_than_the_certified_ones_are_found_out(outcome):
    home, config, _, seen = outcome
    _, played = seen["live"]
    traded = certify.tape_config(config).model_copy(update={"strategy_params": {"gain": 0.41}})
    backtester = certify.Backtester(traded, seen["live"][0]._instruments, home / "curious.py")
    judged = backtester.judge(played)
    assert judged.n_differences == judged.decisions


def test_paths_that_saw_different_bars_are_told_apart(outcome):
    _, paper = outcome[3]["paper"]
    _, live = outcome[3]["live"]
    compared, found = between(paper, live)
    assert 1 <= compared <= 13
    assert found == []
    assert between(paper, paper) == (13, [])
    compared, found = between(changed(paper, 3, lambda record: one_bit(record["close_px"])), paper)
    assert (compared, found) == (12, ["decision 3: paper and paper saw different bars"])
    _, found = between(changed(paper, 3, lambda record: one_bit(record["sized_weight"])), paper)
    assert found == ["decision 3: sized_weight differs between paper and paper"]


def test_not_a_number_and_null_are_the_same_and_nothing_else_is():
    assert same([1.0, float("nan"), float("inf")], [1.0, None, None])
    assert not same([1.0, 0.0], [1.0, None])
    assert not same([1.0], [1.0, 2.0])

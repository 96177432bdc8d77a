"""The canaries' own parts: the audit, the doors in a source, and the made-up worlds."""

from pathlib import Path

import numpy as np
import pytest
from research_bars import walk

from engine.research.audit import audited, checksum, equity_again, opens_are_stale
from engine.research.backtest import BacktestConfig, run_backtest
from engine.research.conduct import conduct
from engine.research.made_up import World, common_part, keeps_its_edge, knows_the_real_prices, made_up, world_of
from engine.research.user_scan import same_signals

ROOT = Path(__file__).resolve().parents[2]
BARS = walk(2400)


@pytest.fixture(scope="module")
def traded(tmp_path_factory):
    params = {"fast": 5, "slow": 20, "side": "both", "max_symbol_weight": 0.3}
    config = BacktestConfig(bars=BARS, params=params, home=tmp_path_factory.mktemp("home"), panel="fast")
    return run_backtest(config).simulation


def test_equity_comes_out_again_and_a_gift_of_money_shows(traded):
    track, fills = traded.track, traded.fills
    np.testing.assert_allclose(equity_again(BARS, fills, None, 10_000.0), track.equity, rtol=1e-9)
    assert audited(BARS, fills, track.equity, None, 10_000.0)
    gift = track.equity.copy()
    gift[1000:] += 1.0
    assert not audited(BARS, fills, gift, None, 10_000.0)
    cheap = fills._replace(px=np.where(fills.qty > 0, 0.98 * fills.px, fills.px))
    assert not audited(BARS, cheap, equity_again(BARS, cheap, None, 10_000.0), None, 10_000.0)


def test_funding_by_hand(traded):
    # buy 2 at 100, mark 110: 10,000 + 20; funding of 1 % on 220 is 2.20 at the first close, nothing later
    bars = walk(3, symbols=("A",))
    flat = np.full((3, 1), 110.0)
    bars = bars._replace(open_px=flat, high_px=flat, low_px=flat, close_px=flat)
    one = traded.fills._replace(**{name: column[:1] for name, column in traded.fills._asdict().items()})
    bought = {"bar": [0], "symbol": [0], "qty": [2.0], "px": [100.0], "fee": [0.0]}
    fills = one._replace(**{name: np.array(value) for name, value in bought.items()})
    funding = np.array([[0.01], [0.0], [0.0]])
    assert equity_again(bars, fills, funding, 10_000.0).tolist() == pytest.approx([10_017.8] * 3)
    missing = flat.copy()
    missing[1] = np.nan  # no candle, but the venue settles on its mark all the same
    later = equity_again(bars._replace(close_px=missing), fills, funding[[1, 0, 2]], 10_000.0)
    assert later.tolist() == pytest.approx([10_020.0, 10_017.8, 10_017.8])


def test_overwritten_prices_change_the_checksum():
    before = checksum(BARS)
    assert checksum(BARS) == before
    changed = BARS._replace(open_px=BARS.open_px.copy())
    changed.open_px[[5, 6]] = changed.open_px[[6, 5]]
    assert checksum(changed) != before


def test_a_file_whose_opens_lie_a_bar_back_is_noticed():
    assert not opens_are_stale(BARS)
    late = BARS.open_px.copy()
    late[1:] = BARS.open_px[:-1]
    assert opens_are_stale(BARS._replace(open_px=late))


@pytest.mark.parametrize("path", [*sorted((ROOT / "examples").glob("*.py"))], ids=lambda path: path.stem)
def test_examples_open_no_door(path):
    assert conduct(path) == ()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("import requests", "line 1 of the strategy imports requests, a way to files, connections"),
        ("from engine.research import backtest", "imports engine, a way into the engine"),
        ("x = eval('1')", "runs code that is not in the file (eval)"),
        ("import random; random.gauss(0, 1)", "without a fixed seed (random.gauss)"),
        ("from random import gauss; gauss(0, 1)", "without a fixed seed (gauss)"),
        ("import numpy as np; np.random.default_rng()", "without a fixed seed"),
        ("import pandas as pd; pd.read_csv('x')", "opens a file (pd.read_csv)"),
        ("import datetime; datetime.datetime.now()", "asks the clock"),
        ("def f():\n    global x", "line 2 of the strategy keeps x outside itself"),
        ("from numpy import load\nload('x.npy')", "line 1 of the strategy opens a file (load)"),
        ("from numpy import load as get\nget('x.npy')", "line 1 of the strategy opens a file (load)"),
        ("import numpy as np\ngrab = np.load", "line 2 of the strategy opens a file (np.load)"),
        ("import numpy as np\nn = np\nm = n\nx = m.load", "line 4 of the strategy opens a file (m.load)"),
        ("import numpy as np\nget = [np]", "line 2 of the strategy hands np on as a value"),
        ("import numpy as np\nget = getattr(np.lib, 'npyio')", "looks np.lib through by name"),
        ("import numpy as np\nnp.lib.npyio.os.listdir()", "reaches npyio through np.lib.npyio"),
        ("from numpy import *", "imports every name of numpy"),
        ("from engine.domain import np\nnp.load('x')", "line 2 of the strategy opens a file (np.load)"),
        ("from engine.strategies.user import importlib", "reaches importlib through importlib, a way into the"),
        ("import helper", "imports helper, which is not among the modules that only compute"),
        ("from .helper import rule", "imports .helper, a file that is no part of this version"),
        ("from scipy.io import loadmat", "line 1 of the strategy opens a file (loadmat)"),
        ("look = open", "line 1 of the strategy opens a file (open)"),
        ("run = __import__", "runs code that is not in the file (__import__)"),
        ("from time import time as t\nt()", "line 2 of the strategy asks the clock (t)"),
        ("import random as r\nr.random()", "without a fixed seed (r.random)"),
        ("().__class__.__base__.__subclasses__()", "a way into the engine that runs it"),
    ],
)
def test_doors_are_named_with_their_line(tmp_path, line, words):
    path = tmp_path / "mine.py"
    path.write_text(line + "\n")
    assert words in conduct(path)[0].lower() or words in conduct(path)[0]


def test_what_has_a_seed_or_is_only_described_is_no_door(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        '"""Reads no file; open() is only a word here."""\nimport numpy as np\n'
        "from engine.strategies.user import Past\n"
        "dice = np.random.default_rng(7)\nbet = dice.normal()\nnp.random.seed(1)\nx = np.random.rand()\n"
        "def on_bar(past, input=1):\n    open = past.open\n    return open[-1] + self.read_weights() + input\n"
        "from datetime import datetime\nwhen = datetime.fromtimestamp(0)\nrng: np.random.Generator = dice\n"
    )
    assert conduct(path) == ()


def verdicts_of(tmp_path, body, bars):
    path = tmp_path / "mine.py"
    path.write_text(f"class Strategy:\n    n = 0\n    def on_bar(self, past):\n        self.n += 1\n        {body}\n")
    return run_backtest(BacktestConfig(bars=bars, strategy=str(path), home=tmp_path, keep_ledger=False))


SIX = walk(500, symbols=tuple("ABCDEF"))


@pytest.mark.parametrize(
    ("body", "bars", "untested"),
    [
        ("return None", SIX, {"lookahead", "future_shift", "shuffled", "outside_knowledge", "survivorship"}),
        ("return 0.1 if self.n >= 499 else None", SIX, {"lookahead", "future_shift"}),
        ("return 0.05 * (self.n % 3)", walk(500), {"survivorship"}),
        ("return 0.05 * (self.n % 3)", SIX, set()),
        (
            "return 0.05 * (self.n % 3)",
            walk(250, symbols=SIX.symbols),
            {"shuffled", "outside_knowledge", "survivorship"},
        ),
    ],
    ids=["holds nothing", "holds at the end only", "two coins", "everything tested", "short"],
)
def test_what_was_not_tested_is_not_called_a_pass(tmp_path, body, bars, untested):
    result = verdicts_of(tmp_path, body, bars)
    assert {name for name, verdict in result.canaries.items() if verdict == "not tested"} == untested
    assert "fail" not in result.canaries.values()
    told = [sentence for sentence in result.honesty["blockers"] if "was not tested" in sentence]
    assert len(told) == len(untested)
    assert result.honesty["barred"] == told
    assert not untested or result.honesty["promotable"] is False


def test_made_up_bars_have_no_drift_and_are_bars():
    rng = np.random.default_rng(3)
    rising = walk(20_000, symbols=("A", "B"), drift=np.full((20_000, 2), 0.001))
    assert rising.close_px[-1].min() > 1e5 * rising.close_px[0].max()
    bars = made_up(rising, rng)
    steps = np.diff(np.log(bars.close_px), axis=0)
    assert np.abs(np.exp(steps).mean(axis=0) - 1).max() < 4 * 0.008 / np.sqrt(20_000)
    assert (bars.high_px >= np.maximum(bars.open_px, bars.close_px)).all()
    assert (bars.low_px <= np.minimum(bars.open_px, bars.close_px)).all()
    assert bars.ts_open is rising.ts_open


def test_coins_without_common_history_are_blanked_not_removed():
    gappy = BARS._replace(**{name: getattr(BARS, name).copy() for name in ("open_px", "close_px")})
    gappy.open_px[:2200, 1] = gappy.close_px[:2200, 1] = np.nan
    part = common_part(gappy, 1000, np.random.default_rng(0))
    assert part.symbols == BARS.symbols
    assert len(part.ts_open) == 1000
    assert np.isfinite(part.close_px[:, 0]).all()
    assert np.isnan(part.close_px[:, 1]).all()
    assert common_part(walk(200), 1000, np.random.default_rng(0)) is None


def test_false_alarms_are_rare_and_knowledge_is_found():
    """Slow wishes against slowly trending prices: the hard case, in which a plain t-test would cry wolf."""
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        slow = np.repeat(rng.choice([-1.0, 1.0], (40, 2)), 40, axis=0)
        real = walk(1600, seed=seed + 500, drift=0.004 * slow)
        wishes = [np.repeat(rng.choice([-0.2, 0.2], (32, 2)), 50, axis=0) for _ in range(3)]
        alarms += knows_the_real_prices([World(np.ones(1600), wish) for wish in wishes], real, rng)
    assert alarms <= 1
    move = np.sign(np.diff(np.log(real.close_px), axis=0, append=0.0))
    move[-1] = 0.0
    known = [World(np.ones(1600), 0.5 * wish + 0.1 * move) for wish in wishes]
    assert knows_the_real_prices(known, real, rng)


def test_an_edge_where_there_is_none_is_an_alarm():
    rng = np.random.default_rng(1)
    noise = [World(np.cumprod(1 + rng.normal(0, 0.01, 1000)), np.zeros((1000, 1))) for _ in range(3)]
    luck = [World(np.cumprod(1 + rng.normal(0.002, 0.01, 1000)), np.zeros((1000, 1))) for _ in range(3)]
    assert not keeps_its_edge(noise)
    assert keeps_its_edge(luck)
    assert not keeps_its_edge([World(np.ones(10), np.zeros((10, 1)))])


def test_wishes_that_are_left_open_keep_the_last_one():
    class Result:
        track = type("Track", (), {"equity": np.ones(4), "weight": np.zeros((4, 1))})

    wish = np.array([[np.nan], [0.2], [np.nan], [0.0]])
    assert world_of((Result, wish)).wish.ravel().tolist() == [0.0, 0.2, 0.2, 0.0]
    assert same_signals(wish, wish).all()

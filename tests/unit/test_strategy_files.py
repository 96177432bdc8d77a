"""What a strategy file may be, what its answers may look like, and what each mistake is told."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from engine.__main__ import app
from engine.domain import NS_PER_S
from engine.errors import ConfigError, DataError
from engine.research.strategy_check import check_strategy, made_up_bars
from engine.research.user_scan import columns_of
from engine.strategies.user import PastBuffer, UserRunner, load_strategy

SYMBOLS = ("BTCUSDT", "ETHUSDT")


@pytest.fixture
def file_of(tmp_path):
    def write(source):
        path = tmp_path / "mine.py"
        path.write_text(source)
        return path

    return write


def of_signals(body, attributes="history = 20"):
    return f"import numpy as np\n\nclass Strategy:\n    {attributes}\n    def signals(self, past):\n        {body}\n"


def first_answer(path, n_bars=25):
    runner, bars = UserRunner(path, {}, SYMBOLS), made_up_bars(n_bars, SYMBOLS)
    for t in range(n_bars):
        rows = [column[t] for column in columns_of(bars)]
        weights = runner.decide(int(bars.ts_close[t]), rows, np.zeros(2), 1e4)
    return weights


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("return np.tile(np.arange(len(past.close)) / 100.0, (2, 1)).T", [0.19, 0.19]),
        ("return {'ETHUSDT': np.arange(len(past.close)) / 100.0}", [np.nan, 0.19]),
        ("return None", [np.nan, np.nan]),
    ],
)
def test_only_the_newest_row_of_signals_counts(file_of, body, weights):
    np.testing.assert_array_equal(first_answer(file_of(of_signals(body))), weights)  # 20 bars of history: 0 to 19


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("return past.close.T * 0", "return its transpose, .T"),
        ("return past.close[-1] * 0", "name the method on_bar"),
        ("return past.close[3:] * 0", "keep a row for every bar"),
        ("return {'BTCUSDT': past.close[3:, 0]}", r"shape \(0,\) for BTCUSDT; one weight a bar is \(1,\)"),
        ("return {'btcusd': past.close[:, 0]}", "did you mean 'BTCUSDT'"),
        ("return np.full(past.close.shape, np.inf)", "infinite weight for BTCUSDT: look for a division by zero"),
        ("return past.close * 0 + 500", "half of it is 0.5, not 50"),
    ],
)
def test_wrong_shapes_and_values_say_what_to_change(file_of, body, sentence):
    with pytest.raises(DataError, match=sentence):
        first_answer(file_of(of_signals(body)))


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("class Strateggy:\n    pass\n", "It has a class Strateggy: rename that one"),
        ("class Strategy:\n    def onbar(self, past):\n        pass\n", "it has onbar: is that the one to rename"),
        ("class Strategy:\n    def on_bar(self, p): pass\n    def signals(self, p): pass\n", "keep one of them"),
        (
            "class Strategy:\n    history = '3 days'\n    def on_bar(self, past): pass\n",
            "a whole number from 1 to 20000",
        ),
        ("class Strategy:\n    def __init__(self):\n        1 / 0\n    def on_bar(self, p): pass\n", r"\(line 3\)"),
        ("x = [\n", "could not be imported: SyntaxError"),
    ],
)
def test_files_that_cannot_work_say_what_to_change(file_of, source, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_strategy(file_of(source), {})


def test_an_edit_is_seen_at_once_and_a_dataclass_works(file_of):
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n@dataclass\nclass Strategy:\n"
        "    share: float = 0.1\n    def on_bar(self, past):\n        return self.share\n"
    )
    np.testing.assert_array_equal(first_answer(file_of(source)), [0.1, 0.1])
    np.testing.assert_array_equal(first_answer(file_of(source.replace("0.1", "0.2"))), [0.2, 0.2])


@pytest.mark.parametrize("history", [1, 7, 300])
def test_the_buffer_shows_the_newest_bars_and_keeps_nothing_later_in_memory(history):
    buffer, rng = PastBuffer(SYMBOLS, history), np.random.default_rng(0)
    closes, kept = rng.normal(100.0, 1.0, (1_000, 2)), []
    for t, close in enumerate(closes):
        buffer.append(t * NS_PER_S, [close] * 5)
        past = buffer.past(np.zeros(2), 1e4)
        np.testing.assert_array_equal(past.close, closes[max(t + 1 - history, 0) : t + 1])
        base = past.close.base
        later = len(base) - int(np.isnan(base[:, 0]).sum())
        assert later <= t + 1  # whatever else is in that memory has not been written yet
        if t % 100 == 0:
            kept.append((t, past.close, past.close.copy()))
    for _, view, copy in kept:
        np.testing.assert_array_equal(view, copy)  # what a strategy has kept does not change under its hands


CHECKED = [
    ("return (past.close > past.close.mean(axis=0)) * 0.1", "Past stays as it was", "looks ahead"),
    ("return np.full(past.close.shape, np.nan)", "Has an opinion", "it would never trade"),
    ("return np.random.default_rng().normal(0, 0.1, past.close.shape)", "Repeats to the bit", "fixed seed"),
    ("return past.closes", "Runs", "AttributeError"),
]


@pytest.mark.parametrize(("body", "name", "sentence"), CHECKED)
def test_a_check_names_what_is_wrong(file_of, body, name, sentence):
    checks = check_strategy(file_of(of_signals(body)), {}, SYMBOLS)
    (found,) = [item for item in checks if item["name"] == name]
    assert not found["ok"]
    assert sentence in found["detail"]


def test_a_strategy_that_waits_for_long_is_waited_for(file_of):
    slow = "history = 1_700\n    def on_bar(self, past):\n        return 0.1 if len(past.close) == 1_700 else None"
    checks = check_strategy(file_of(f"class Strategy:\n    {slow}\n"), {}, SYMBOLS)
    assert all(item["ok"] for item in checks), checks
    assert "first at bar 1699" in next(item["detail"] for item in checks if item["name"] == "Has an opinion")


def test_templates_and_examples_pass_every_check(tmp_path):
    runner = CliRunner()
    for options in ([], ["--vectorised"]):
        path = tmp_path / f"own{len(options)}.py"
        assert runner.invoke(app, ["strategy", "new", str(path), *options]).exit_code == 0
        answer = runner.invoke(app, ["strategy", "check", str(path), "--param", "n=24", "--json"])
        assert answer.exit_code == 0, answer.output
    with pytest.raises(ConfigError, match="exists already"):
        runner.invoke(app, ["strategy", "new", str(path)], catch_exceptions=False)

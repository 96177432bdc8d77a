"""Funding that is not there is unknown, not zero; files that cannot be right are refused; coins go by whole names."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from research_bars import START_S, walk

from engine.errors import DataError
from engine.research.backtest import BacktestConfig, run_backtest
from engine.research.coins import coin_column
from engine.research.funding_cover import cover_sentence, funding_cover
from engine.research.loading import known_funding, load_funding

HOUR_NS = 3600 * 10**9
BARS = walk(400, symbols=("BCHUSDT", "BTCUSDT", "BTCUSDT.SPOT"))
FIRST = START_S * 10**9 // (8 * HOUR_NS) * 8 + 8  # hours since 1970 of the first settlement after the first open


def settle(folder, symbol, hours, rates=None):
    folder.mkdir(exist_ok=True)
    stamps = np.asarray(hours, dtype=np.int64) * HOUR_NS
    columns = {"timestamp": stamps, "rate": np.full(len(stamps), 1e-4) if rates is None else rates}
    pa_parquet.write_table(pa.table(columns), folder / f"{symbol}.parquet")
    return folder


def test_rates_are_unknown_before_after_and_in_a_gap(tmp_path):
    every = FIRST + 8 * np.arange(2, 40)  # from the third settlement to the 40th of 50
    folder = settle(tmp_path / "funding", "BTCUSDT", np.delete(every, [10, 11]))
    known = known_funding(folder, BARS)
    assert known[:, 2].all()  # spot pays none, which is known
    assert not known[:, 0].any()  # no file at all
    due = BARS.ts_close // HOUR_NS
    expected = (due > every[0] - 8) & (due < every[-1] + 8) & ~((due > every[9]) & (due <= every[11]))
    np.testing.assert_array_equal(known[:, 1], expected)
    assert not load_funding(folder, BARS)[~known].any()


def test_the_share_is_of_what_was_held_and_the_sentence_says_where():
    known, weight = np.ones((400, 3), dtype=bool), np.zeros((400, 3))
    known[:, 0] = known[:100, 1] = False
    weight[50:, 1] = -0.5
    weight[:100, 0] = 0.25
    found = funding_cover(BARS, weight, known)
    assert found["unknown_share"] == pytest.approx((25 + 25) / (25 + 175))
    assert [(row["symbol"], row["where"]) for row in found["symbols"]] == [("BCHUSDT", "all"), ("BTCUSDT", "before")]
    assert found["symbols"][1]["unknown_share"] == pytest.approx(50 / 350)
    assert cover_sentence(found) == (
        "For 25.0 % of what was held there is no funding history, so none was charged: none for BCHUSDT, none before "
        "2020-09-17 for BTCUSDT."
    )
    assert funding_cover(BARS, np.zeros((400, 3)), known) == {"unknown_share": 0.0, "symbols": []}
    known[399, 1] = False  # an hour more at the end changes nothing in the sentence
    assert {row["where"] for row in funding_cover(BARS, weight, known)["symbols"]} == {"all", "before"}
    late = np.ones((400, 3), dtype=bool)
    late[300:, 1] = False
    assert funding_cover(BARS, weight, late)["symbols"][0]["where"] == "after"
    late[200:210, 1] = False
    assert [row["where"] for row in funding_cover(BARS, weight, late)["symbols"]] == ["gaps"]
    assert cover_sentence(None) is cover_sentence({"unknown_share": 0.0, "symbols": []}) is None


def test_a_run_doubts_what_it_was_not_charged(tmp_path):
    folder = settle(tmp_path / "funding", "BTCUSDT", FIRST + 8 * np.arange(30, 51))
    params = {"fast": 5, "slow": 20, "side": "both"}
    config = BacktestConfig(bars=BARS, strategy="ema-cross", params=params, funding=folder, home=tmp_path,
                            symbols=("BCHUSDT", "BTCUSDT"), panel="fast")  # fmt: skip
    result = run_backtest(config)
    assert 0.5 < result.honesty["funding"]["unknown_share"] < 1.0
    said = [sentence for sentence in result.honesty["critique"] if "no funding history" in sentence]
    assert len(said) == 1
    assert "none for BCHUSDT" in said[0]
    without = run_backtest(config.model_copy(update={"funding": None}))
    assert without.honesty["funding"] is None


@pytest.mark.parametrize(("hours", "rates", "said"), [
    ([8, 16, 16, 24], None, "there more than once"), ([8, 24, 16], None, "Time goes backwards"),
    ([8, 16, 24], [1e-4, np.nan, 1e-4], "holds no rate"), ([8, 16, 24], [0.01, 0.02, 0.01], "in per cent"),
    ([8, 16, 24, 32, 40], [1e-4, 0.05, 1e-4, 1e-4, 1e-4], "Rates beyond 4%"),
    ([8, 16, 24], ["a", "b", "c"], "not a number"),
])  # fmt: skip
def test_rates_that_cannot_be_right_are_refused(tmp_path, hours, rates, said):
    folder = settle(tmp_path / "funding", "BTCUSDT", FIRST + np.array(hours), rates)
    with pytest.raises(DataError, match=said):
        load_funding(folder, BARS)


def test_newest_first_is_no_fault_and_a_stamp_some_milliseconds_late_belongs_to_its_bar(tmp_path):
    hours = FIRST + 8 * np.arange(5)[::-1]
    folder = settle(tmp_path / "funding", "BTCUSDT", hours)
    on_time = load_funding(folder, BARS)
    assert np.count_nonzero(on_time) == 5
    stamps = hours * HOUR_NS + 3_000_000
    pa_parquet.write_table(pa.table({"timestamp": stamps, "rate": np.full(5, 1e-4)}), folder / "BTCUSDT.parquet")
    np.testing.assert_array_equal(load_funding(folder, BARS), on_time)


def test_a_folder_without_any_of_the_symbols_is_refused(tmp_path):
    folder = settle(tmp_path / "funding", "SOLUSDT", [FIRST])
    with pytest.raises(DataError, match="has no funding rates of BCHUSDT, BTCUSDT"):
        load_funding(folder, BARS)


def test_another_coin_that_begins_alike_is_not_bitcoin_nor_ether():
    assert coin_column(("BTCDOMUSDT", "ETHFIUSDT", "ETHUSDT", "BTCUSDT"), "ETH") == 2
    assert coin_column(("BTCDOMUSDT", "ETHFIUSDT", "ETHUSDT", "BTCUSDT"), "BTC") == 3
    assert coin_column(("ETHBTC", "ETHFIUSDT", "ETHWUSDT"), "ETH") is None
    assert [coin_column((name,), "BTC") for name in ("XBTUSD", "BTC-USDT", "BTC/USDT:USDT", "BTCUSD_PERP", "BTC")] == [
        0
    ] * 5
    bars = walk(300, symbols=("BTCDOMUSDT", "ETHFIUSDT"))
    result = run_backtest(BacktestConfig(bars=bars, strategy="ema-cross", keep_ledger=False, panel="fast"))
    assert [row["why"] for row in result.honesty["comparison"][:2]] == [
        "the run has no bars of BTC", "the run has no bars of ETH",
    ]  # fmt: skip
    assert np.isnan(result.metrics["beta_btc"])

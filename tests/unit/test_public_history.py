"""Paging through a venue's history where venues differ: lost oldest bars, unclosed bars, rates from the newest back."""

import pytest

from engine.venues.public import VENUES, PublicData

HOUR = 3_600_000
LISTED = 1000 * HOUR


class Venue:
    """Answers with the newest ``limit`` bars of a window that includes both its ends, as Bitget does."""

    def __init__(self, n_bars=450):
        self.n_bars, self.calls = n_bars, 0

    async def fetch_ohlcv(self, name, interval, since, limit, params):
        self.calls += 1
        last = params.get("until", since + limit * HOUR)
        bars = [[LISTED + i * HOUR, 1.0, 2.0, 0.5, 1.5, None] for i in range(self.n_bars)]
        return [bar for bar in bars if since <= bar[0] <= last][-limit:]

    async def fetch_funding_rate_history(self, name, limit, params):
        self.calls += 1
        rates = [{"timestamp": LISTED + i * 8 * HOUR, "fundingRate": i / 1e4} for i in range(250)][::-1]
        if "pageNo" in params:
            first = (params["pageNo"] - 1) * limit
            return rates[first : first + limit]
        return [rate for rate in rates if rate["timestamp"] < params.get("after", 1e18)][:limit]


async def all_candles(source, since, until):
    found, cursor = [], since
    while cursor < until:
        rows, after = await source.candles("X", "1h", cursor, until)
        assert after > cursor
        found, cursor = found + rows, after
    return found


async def test_the_oldest_bar_of_a_full_answer_is_not_lost():
    source = PublicData(VENUES["bitget"], Venue())
    rows = await all_candles(source, LISTED, LISTED + 450 * HOUR)
    assert [row[0] for row in rows] == [LISTED + i * HOUR for i in range(450)]
    assert rows[0] == (LISTED, 1.0, 2.0, 0.5, 1.5, 0.0)


async def test_stretches_without_bars_are_passed_over_and_an_open_bar_is_left_out():
    source = PublicData(VENUES["bitget"], Venue(n_bars=3))
    rows = await all_candles(source, LISTED - 1000 * HOUR, LISTED + 2 * HOUR + HOUR // 2)
    assert [row[0] for row in rows] == [LISTED, LISTED + HOUR]  # the third bar closes half an hour later


@pytest.mark.parametrize("name", ["okx", "bitget"])
async def test_rates_are_followed_from_the_newest_back(name):
    client = Venue()
    source = PublicData(VENUES[name], client)
    since, until = LISTED + 100 * 8 * HOUR, LISTED + 240 * 8 * HOUR
    rows, after = await source.rates("X", since, until)
    assert after == until
    assert [row[0] for row in rows] == [LISTED + i * 8 * HOUR for i in range(100, 240)]
    assert client.calls == 2  # 200 of the 250 reach back far enough

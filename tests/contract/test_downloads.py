"""Downloads: from the practice exchange and from a server that pages like a big venue; broken off, resumed, refused."""

from datetime import UTC, datetime

import numpy as np
import pytest
import pytest_asyncio
from fake_bybit import HOUR_MS, LISTED_MS, FakeBybit
from scripted_market import ScriptedMarket

from engine.datasets import store
from engine.datasets.arriving import DownloadRequest, discard, unfinished
from engine.errors import CommandRefused, DataError, Unreachable
from engine.runtime.downloading import download
from engine.venues import public
from engine.venues.sandbox.options import SandboxOptions
from engine.venues.sandbox.server import SandboxServer


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(public, "FIRST_PAUSE_S", 0.0)


@pytest_asyncio.fixture
async def bybit():
    async with FakeBybit(holes=frozenset({500, 501})) as server:
        yield server


def moment(ms):
    return datetime.fromtimestamp(ms / 1e3, UTC)


def asked(server, **changes):
    fields = {
        "venue": "bybit", "symbols": ("btcusdt",), "interval": "1h", "name": "perp", "base_url": server.base_url,
        "start": moment(LISTED_MS - 90 * 24 * HOUR_MS), "end": moment(LISTED_MS + 2500 * HOUR_MS),
    }  # fmt: skip
    return DownloadRequest(**(fields | changes))


async def test_candles_arrive_page_by_page_from_the_listing_on(tmp_path, bybit):
    said = []
    manifest = await download(tmp_path, asked(bybit), lambda share, sentence: said.append((share, sentence)))
    (series,) = store.load(tmp_path, "perp")[1]
    assert len(series.ts) == 2498
    assert series.ts[0] == LISTED_MS * 10**6
    assert series.values[0].tolist() == [99.5, 101, 99, 100, 3]
    assert series.values[-1, 3] == 2599
    assert bybit.count("kline") == 3  # 1000 a page, and none before the listing
    assert (manifest["source"]["venue"], manifest["source"]["markets"]) == ("Bybit", {"BTCUSDT": "BTC/USDT:USDT"})
    assert [finding["count"] for finding in manifest["findings"]] == [2]  # the venue's own hole, told and not filled
    shares = [share for share, _ in said]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert unfinished(tmp_path) == []


async def test_a_download_goes_on_where_it_was_broken_off(tmp_path, bybit):
    request, said = asked(bybit), []
    bybit.silent_after = 2  # pages; the third is never answered
    with pytest.raises(CommandRefused, match="What has arrived is kept"):
        await download(tmp_path, request, lambda share, sentence: said.append(sentence), lambda: len(said) == 3)
    assert said[0] == "asking Bybit what it lists"
    assert said[2].startswith("BTC/USDT:USDT: 1,998 rows")
    (left,) = unfinished(tmp_path)
    assert (left["rows"], left["request"]["name"]) == (1998, "perp")
    before, bybit.silent_after = bybit.count("kline"), None
    await download(tmp_path, request)
    assert bybit.count("kline") - before == 1  # only the page that was missing
    (series,) = store.load(tmp_path, "perp")[1]
    assert len(series.ts) == 2498
    assert (np.diff(series.values[:, 3]) > 0).all()


async def test_a_venue_that_fails_is_asked_again_and_given_up_with_advice(tmp_path, bybit):
    bybit.faults = [500, 503]
    assert (await download(tmp_path, asked(bybit)))["rows"] == 2498
    bybit.faults = [503] * 50
    with pytest.raises(Unreachable, match=r"Bybit did not answer 5 times.*Check the network.*goes on from there"):
        await download(tmp_path, asked(bybit, name="other"))
    bybit.faults = [451]
    with pytest.raises(DataError, match="refuses requests from this place"):
        await download(tmp_path, asked(bybit, name="other"))


async def test_no_server_at_all(tmp_path):
    class Nobody:
        base_url = "http://127.0.0.1:9"

    said = []
    with pytest.raises(Unreachable, match=r"Bybit cannot be reached: Cannot connect to host 127.0.0.1:9.*Check the"):
        await download(tmp_path, asked(Nobody), lambda share, sentence: said.append(sentence))
    assert said[0] == "asking Bybit what it lists"
    assert said[1].startswith("Bybit gave no answer (Cannot connect to host 127.0.0.1:9")
    assert said[1].endswith("try 2 of 2 in 0 s")
    assert len(said) == 2  # whoever never answered is not asked five times


async def test_refusals_name_what_there_is(tmp_path, bybit):
    with pytest.raises(DataError, match=r"Bybit does not list BTCUSD as a linear perpetual. Did you mean BTCUSDT"):
        await download(tmp_path, asked(bybit, symbols=("BTCUSD",)))
    with pytest.raises(DataError, match="Bybit has no candles of '7m'; expected of 1m, 3m"):
        await download(tmp_path, asked(bybit, interval="7m"))
    with pytest.raises(DataError, match=r"venue 'bybt' is unknown.*did you mean 'bybit'"):
        await download(tmp_path, asked(bybit, venue="bybt"))
    late = asked(bybit, start=moment(LISTED_MS + 3000 * HOUR_MS), end=moment(LISTED_MS + 3100 * HOUR_MS))
    with pytest.raises(DataError, match="bybit has no candles of BTCUSDT in this span"):
        await download(tmp_path, late)
    with pytest.raises(DataError, match="is not before the end"):
        await download(tmp_path, asked(bybit, start=moment(LISTED_MS), end=moment(LISTED_MS)))


async def test_an_unfinished_download_can_be_thrown_away(tmp_path, bybit):
    bybit.silent_after = 0
    with pytest.raises(CommandRefused):  # a venue that does not answer is not waited for
        await download(tmp_path, asked(bybit), cancelled=lambda: True)
    discard(tmp_path, unfinished(tmp_path)[0]["key"])
    assert unfinished(tmp_path) == []
    with pytest.raises(DataError, match="no unfinished download"):
        discard(tmp_path, "../x")


async def test_funding_rates(tmp_path, bybit):
    manifest = await download(tmp_path, asked(bybit, kind="funding", name="rates"))
    assert (manifest["kind"], manifest["rows"]) == ("funding", 313)  # 2500 hours, one every eight
    assert manifest["findings"][0]["sentence"].startswith("Settles every 8 h from 2023-11-14")
    bybit.schedule = 1  # a venue that settles every hour fills an answer of 200 with its newest rows
    assert (await download(tmp_path, asked(bybit, kind="funding", name="rates")))["rows"] == 2500


async def test_the_practice_exchange_speaks_asters_protocol(tmp_path):
    sandbox = SandboxServer(SandboxOptions(), ScriptedMarket())
    await sandbox.start()
    try:
        end_ms = sandbox.venue.market.market_start_ms
        common = {"venue": "aster", "base_url": sandbox.base_url, "symbols": ("BTCUSDT", "ETHUSDT"),
                  "start": moment(end_ms - 3 * HOUR_MS), "end": moment(end_ms)}  # fmt: skip
        manifest = await download(tmp_path, DownloadRequest(interval="1m", name="aster", **common))
        assert manifest["rows"] == 360
        series = store.load(tmp_path, "aster")[1]
        # the scripted history: close = mid - bars to the start
        assert series[1].values[[0, -1], 3].tolist() == [3000 - 180, 3000 - 1]
        longer = common | {"start": moment(end_ms - 24 * HOUR_MS)}
        with pytest.raises(DataError, match="aster has no funding of BTCUSDT"):  # it knows one settlement only
            await download(tmp_path, DownloadRequest(kind="funding", name="rates", **longer))
        with pytest.raises(DataError, match="Aster does not list NOPEUSDT"):
            await download(tmp_path, DownloadRequest(interval="1m", name="x", **(common | {"symbols": ("NOPEUSDT",)})))
    finally:
        await sandbox.stop()

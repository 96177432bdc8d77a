"""Feeds are fetched from where a person said and from nowhere else, kept once, and judged by what prices did next."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
from aiohttp import web

from engine.errors import DataError
from engine.runtime import news
from engine.runtime.news import News, fetch, scored
from engine.settings import SystemConfig
from models.book import ModelBook
from models.serve import with_news
from storage.database import Database
from storage.errors import StorageError

HOUR = 3_600 * 10**9
FEED = "<rss><channel><item><title>Bitcoin soars</title></item><item><title>{}</title></item></channel></rss>"


@pytest.fixture
async def site():
    """Return the address of a server on this machine with good and bad feeds."""

    async def large(request):
        return web.Response(body=b"x" * 5_000)

    async def slow(request):
        await asyncio.sleep(0.6)

    async def moved(request):
        raise web.HTTPFound("/feed")

    async def feed(request):
        return web.Response(text=FEED.format("Exchange hacked"))

    application = web.Application()
    for name, handler in {"large": large, "slow": slow, "moved": moved, "feed": feed}.items():
        application.router.add_get(f"/{name}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.0)
    await runner.setup()
    place = web.TCPSite(runner, "127.0.0.1", 0)
    await place.start()
    yield f"http://127.0.0.1:{place._server.sockets[0].getsockname()[1]}"
    await runner.cleanup()


@pytest.mark.parametrize(("path", "sentence"), [
    ("large", "is larger than 0.001 MB"), ("slow", "was not read within 0.2 s"), ("moved", "sends on to /feed"),
    ("nothing", "answered 404"),
])  # fmt: skip
async def test_what_is_slow_large_or_elsewhere_is_refused(site, path, sentence):
    with pytest.raises(DataError, match=sentence):
        await fetch(f"{site}/{path}", limit_s=0.2, limit_bytes=1_000)


async def test_files_have_the_same_limits(tmp_path):
    (tmp_path / "large.xml").write_bytes(b"x" * 2_000)
    with pytest.raises(DataError, match="larger"):
        await fetch(str(tmp_path / "large.xml"), limit_bytes=1_000)
    with pytest.raises(DataError, match="cannot be read"):
        await fetch(str(tmp_path / "none.xml"))


@pytest.fixture
def desk(tmp_path):
    store = Database(tmp_path / "paper.duckdb")
    told = []
    loop = SimpleNamespace(
        config=SystemConfig(symbols=("BTCUSDT", "ETHUSDT")), phase="trading",
        market=SimpleNamespace(ts_exchange=50 * HOUR),
        clock=SimpleNamespace(now=lambda: 50 * HOUR), incident=lambda *said: told.append(said),
    )  # fmt: skip
    made = News(SimpleNamespace(loop=loop, store=store), ModelBook(tmp_path), SimpleNamespace())
    made.told = told
    yield made
    store.close()


async def test_headlines_are_kept_once_and_a_broken_feed_says_so_once(desk, site, tmp_path):
    feeds = (f"{site}/feed", str(tmp_path / "none.xml"))
    desk._loop.config = SystemConfig(symbols=("BTCUSDT", "ETHUSDT"), news_feeds=feeds)
    desk.when_due()
    desk.when_due()  # one is under way
    await desk._task
    await desk.read(feeds)
    desk._store.flush()
    said = await desk.questions["models.news"]({})
    assert sorted((row["title"], row["score"], row["symbols"]) for row in said["headlines"]) == [
        ("Bitcoin soars", 0.612, ["BTCUSDT"]), ("Exchange hacked", -0.612, []),
    ]  # fmt: skip
    assert [row["count"] for row in said["feeds"]] == [2, None]
    assert "cannot be read" in said["feeds"][1]["problem"]
    assert [row[:2] for row in desk.told] == [("warning", "news")]
    assert {row["symbol"]: row["mood"] for row in said["moods"]} == {"BTCUSDT": 0.0, "ETHUSDT": -0.612}
    assert said["share"] == 0.0
    assert "0 of at least 200" in said["why"]
    assert desk.for_models(("ETHUSDT",)) == {"mood": [-0.612], "share": 0.0}


@pytest.mark.parametrize("name", ["read", "append_durable"])
async def test_a_headline_that_cannot_be_kept_is_kept_later_and_its_feed_not_asked_again_at_once(
    desk, tmp_path, monkeypatch, name
):
    def full(*asked):
        raise StorageError("No space left on device")

    feed = tmp_path / "feed.xml"
    feed.write_text(FEED.format("Exchange hacked"))
    desk._loop.config = SystemConfig(symbols=("BTCUSDT",), news_feeds=(str(feed),))
    with monkeypatch.context() as for_now:
        for_now.setattr(desk._store, name, full)
        desk.when_due()
        first = desk._task
        await first
        assert desk._feeds[str(feed)]["problem"] == f"{feed} was read and not kept: No space left on device"
        desk.when_due()
        assert desk._task is first  # the next one is due by the clock
    assert [row[:2] for row in desk.told] == [("warning", "news")]
    await desk.read((str(feed),))
    state = desk._feeds[str(feed)]
    assert (state["problem"], state["fresh"]) == (None, 2)
    assert len(desk._store.rows("SELECT * FROM headlines")) == 2


async def test_without_a_feed_nothing_is_asked(desk, monkeypatch):
    monkeypatch.setattr(news, "fetch", lambda feed: pytest.fail("something was asked"))
    desk.when_due()
    assert desk._task is None
    assert desk.for_models(("BTCUSDT",)) is None


def test_a_headline_is_judged_by_the_day_after_it_was_read(desk):
    px = {("BTCUSDT", 10): 100.0, ("BTCUSDT", 34): 110.0, ("ETHUSDT", 10): 50.0, ("ETHUSDT", 34): 45.0}
    desk._store.append("bars", [
        {"symbol": symbol, "interval": "1h", "ts_open": at * HOUR, "close_px": close}
        for (symbol, at), close in px.items()
    ])  # fmt: skip
    row = {"ts_fetched": 10 * HOUR + 1, "ts_published": 1, "feed": "x", "title": "t", "score": 0.5, "words": ""}
    desk._store.append("headlines", [
        row | {"headline_id": "a", "symbols": '["BTCUSDT"]'}, row | {"headline_id": "b", "symbols": "[]"},
        row | {"headline_id": "c", "symbols": "[]", "score": 0.0}, row | {"headline_id": "d", "ts_fetched": 40 * HOUR},
    ])  # fmt: skip
    desk._store.flush()
    found = {item["headline_id"]: item["outcome"] for item in scored(desk._store, 0)}
    assert found == {
        "a": pytest.approx(np.log(1.1)),
        "b": pytest.approx((np.log(1.1) + np.log(0.9)) / 2),
    }


def test_a_mood_counts_only_by_what_it_has_earned():
    said = {"weight": np.array([0.2, np.nan]), "share": 0.4}
    same = with_news(said, {"mood": [1.0, None], "share": 0.0})
    np.testing.assert_array_equal(same["weight"], said["weight"])
    assert (same["share"], same["news_share"]) == (0.4, 0.0)
    joined = with_news(said, {"mood": [1.0, None], "share": 0.4})
    assert joined["weight"][0] == pytest.approx(0.6)
    assert np.isnan(joined["weight"][1])
    assert joined["share"] == pytest.approx(1 - 0.6 * 0.6)
    assert with_news(said, None)["share"] == 0.4


@pytest.mark.parametrize("feed", ["ftp://a.example", "feed.xml", "javascript:x"])
def test_a_feed_is_an_address_or_a_whole_path(feed):
    with pytest.raises(ValueError, match="neither an address"):
        SystemConfig(news_feeds=(feed,))

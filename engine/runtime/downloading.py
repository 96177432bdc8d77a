"""A download from start to data set: page by page to disk, resumable from what is there, then judged and stored."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from engine.datasets.arriving import DownloadRequest, Parts, assembled, own_folder, span_of
from engine.datasets.findings import counted
from engine.datasets.importing import examined
from engine.datasets.store import Draft, Manifest, write
from engine.domain import INTERVAL_S
from engine.errors import CommandRefused
from engine.venues.public import PublicData, public_data, venue_named

Progress = Callable[[float, str], None]
Cancelled = Callable[[], bool]

CANCEL_S = 0.2
"""How often a download looks whether it was cancelled, also while it waits for an answer."""


async def download(
    home: Path, request: DownloadRequest, progress: Progress = lambda share, said: None,
    cancelled: Cancelled = lambda: False,
) -> Manifest:  # fmt: skip
    """Download candles or funding rates and store them as a new version of a data set.

    Parameters
    ----------
    home : Path
        The data folder. What has arrived is kept below ``downloads/`` until all has.
    request : DownloadRequest
        The same request again goes on where the last one stopped, whatever stopped it.
    progress : callable
        Called with the finished share, 0 to 1, and a sentence.
    cancelled : callable
        Asked all the time; True ends the download, keeping what has arrived.

    Returns
    -------
    dict
        The manifest of the data set.

    Raises
    ------
    DataError
        Unknown venue, symbol or interval, or a span without a row.
    Unreachable
        The venue does not answer; what has arrived is kept.
    CommandRefused
        Cancelled, or the same download runs in another process.
    """
    work = asyncio.ensure_future(_downloaded(home, request, progress))
    while not work.done():
        await asyncio.wait((work,), timeout=CANCEL_S)
        if cancelled() and not work.done():
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            raise CommandRefused("The download was cancelled. What has arrived is kept: start it again to go on.")
    return work.result()


async def _downloaded(home: Path, request: DownloadRequest, progress: Progress) -> Manifest:
    venue, done = venue_named(request.venue), 0.0

    def told(said: str) -> None:
        progress(done, said)

    with own_folder(home, request) as folder:
        start_ms, end_ms = span_of(folder, request)
        step = INTERVAL_S.get(request.interval, 0) * 1000
        async with public_data(request.venue, request.base_url, told) as source:
            if request.kind == "candles":
                source.check_interval(request.interval)
            names = [await source.listed(symbol) for symbol in request.symbols]
            for i, (symbol, name) in enumerate(zip(request.symbols, names, strict=True)):

                def report(share: float, said: str, i: int = i) -> None:
                    nonlocal done
                    done = 0.97 * (i + share) / len(names)
                    told(said)

                parts = Parts(folder / symbol, request.kind)
                first = max(start_ms, source.first_listed_ms(name) // max(step, 1) * max(step, 1))
                await _fetch(source, request, name, parts, (first, end_ms), report)
        series, changes = assembled(folder, request)
        interval_s = INTERVAL_S[request.interval] if request.kind == "candles" else 0
        findings = [finding.as_row() for one in series for finding in examined(one, request.kind, interval_s)]
        about = {
            "kind": "download", "venue": venue.name, "start_ms": start_ms, "end_ms": end_ms,
            "markets": dict(zip(request.symbols, names, strict=True)), "server": request.base_url,
        }  # fmt: skip
        manifest = write(home, Draft(request.name, request.kind, interval_s, series, about, findings, changes))
        shutil.rmtree(folder)
    progress(1.0, f"{counted(manifest['rows'], 'row')} stored as {manifest['name']}@{manifest['version']}")
    return manifest


async def _fetch(
    source: PublicData, request: DownloadRequest, name: str, parts: Parts, span: tuple[int, int],
    report: Progress,
) -> None:  # fmt: skip
    first, end = span
    step = INTERVAL_S[request.interval] * 1000 if request.kind == "candles" else 0
    cursor = parts.resume_at(-(-first // step) * step if step else first)
    n_rows = 0
    rows: Sequence[tuple[float, ...]]
    while cursor < end - step + (step == 0):
        try:
            if request.kind == "candles":
                rows, after = await source.candles(name, request.interval, cursor, end)
            else:
                rows, after = await source.rates(name, cursor, end)
        except BaseException:
            parts.flush(cursor)
            raise
        cursor = max(after, cursor + 1)
        n_rows += len(rows)
        parts.add(rows, cursor, last=cursor >= end - step)
        until = datetime.fromtimestamp(min(cursor, end) / 1e3, UTC)
        report(min((cursor - first) / max(end - first, 1), 1.0), f"{name}: {n_rows:,} rows, up to {until:%Y-%m-%d}")

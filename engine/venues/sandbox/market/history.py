"""History of the simulated market: two years of hours, fifteen days of minutes, funding, all from the live process."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.venues.sandbox.contracts import Contract
from engine.venues.sandbox.market.assets import Asset
from engine.venues.sandbox.market.bars import (
    HOUR_HISTORY_MS,
    HOUR_MS,
    MINUTE_HISTORY_MS,
    MINUTE_MS,
    Bars,
    aggregate,
    empty_bars,
)
from engine.venues.sandbox.market.process import (
    F8,
    Parameters,
    State,
    Steps,
    activity,
    extremes,
    initial_state,
    parameters,
    simulate,
)

_STEP_MS = 5 * MINUTE_MS
_MOMENTUM_HOURS = 168
_PREMIUM_TREND, PREMIUM_NOISE = 0.0006, 0.0004
_CLAMP = 0.0005

FundingRows = list[tuple[int, float, float]]


class History(NamedTuple):
    """What happened before the market opened, and the state in which the live part goes on.

    `minutes` and `hours` map a symbol to closed bars; `log_px` (S,) is the fair value at the start, `premium` (S,) the
    perpetual's last premium over its index as a fraction, `momentum` (S,) the log return of the last week.
    """

    minutes: dict[str, Bars]
    hours: dict[str, Bars]
    funding: dict[str, FundingRows]
    par: Parameters
    state: State
    log_px: F8
    premium: F8
    momentum: F8


def build_history(assets: dict[str, Asset], contracts: dict[str, Contract], start_ms: int, seed: int) -> History:
    """Simulate the past of all assets so that it ends at `start_ms` near their reference prices.

    Parameters
    ----------
    assets, contracts : by symbol, same keys
    start_ms : int
        UTC ms, a whole minute; the last minute bar closes there.
    seed : int
    """
    rng = np.random.default_rng([seed, 1])
    symbols = list(assets)
    par = parameters([assets[s] for s in symbols])
    state = initial_state(len(symbols), rng)
    minutes_from = (start_ms - MINUTE_HISTORY_MS) // HOUR_MS * HOUR_MS
    hours_from = start_ms // HOUR_MS * HOUR_MS - HOUR_HISTORY_MS
    coarse = simulate(par, state, hours_from, (minutes_from - hours_from) // _STEP_MS, _STEP_MS / 1e3, rng)
    fine = simulate(par, state, minutes_from, (start_ms - minutes_from) // MINUTE_MS, MINUTE_MS / 1e3, rng)
    end = np.log([assets[s].reference_px for s in symbols]) + rng.normal(0.0, 0.015, len(symbols))
    fine_log = _anchored(fine.log_return, end)
    coarse_log = _anchored(coarse.log_return, fine_log[0])
    rates = np.array([assets[s].trades_per_s for s in symbols])
    taker = np.array([assets[s].taker_usdt for s in symbols])
    old = _bars(symbols, contracts, coarse_log, coarse, (hours_from, _STEP_MS), (rates, taker), rng)
    minutes = _bars(symbols, contracts, fine_log, fine, (minutes_from, MINUTE_MS), (rates, taker), rng)
    hours = {}
    for symbol in symbols:
        recent = aggregate(minutes[symbol][: (start_ms // HOUR_MS * HOUR_MS - minutes_from) // MINUTE_MS], "1h")
        hours[symbol] = np.concatenate((aggregate(old[symbol], "1h"), recent))
    premium, momentum = _premiums(hours, symbols, rng)
    funding = {s: _funding(contracts[s], hours[s], premium[s]) for s in symbols}
    return History(
        minutes, hours, funding, par, state, end,
        np.array([premium[s][-1] for s in symbols]), np.array([momentum[s][-1] for s in symbols]),
    )  # fmt: skip


def _anchored(log_return: F8, end: F8) -> F8:
    """Log prices (N + 1, S) at the step boundaries, the last row equal to `end`."""
    path = np.vstack((np.zeros((1, log_return.shape[1])), np.cumsum(log_return, axis=0)))
    anchored: F8 = path - path[-1] + end
    return anchored


def _bars(
    symbols: list[str],
    contracts: dict[str, Contract],
    log_px: F8,
    steps: Steps,
    clock: tuple[int, int],
    flow: tuple[F8, F8],
    rng: np.random.Generator,
) -> dict[str, Bars]:
    """Turn step boundaries into bars on the tick grid with volume; `clock` is (first open, length) in ms."""
    first_ms, length_ms = clock
    open_ms = first_ms + np.arange(len(log_px) - 1) * length_ms
    high, low = extremes(log_px[:-1], log_px[1:], steps.deviation, rng)
    rates, taker_usdt = flow
    busy = activity(open_ms, steps.vol_ratio) * rng.lognormal(-0.06, 0.35, (len(open_ms), 1))
    expected = busy * rates * (length_ms / 1000.0)
    n_trades = np.maximum(1, np.round(expected + np.sqrt(expected) * rng.standard_normal(expected.shape)))
    mean_usdt = taker_usdt * rng.lognormal(-0.03, 0.25, expected.shape)
    lean = np.tanh(steps.log_return / np.maximum(steps.deviation, 1e-12)) * 0.15
    buy_share = np.clip(0.5 + lean + rng.normal(0.0, 0.06, lean.shape), 0.05, 0.95)
    out: dict[str, Bars] = {}
    for j, symbol in enumerate(symbols):
        contract = contracts[symbol]
        bars = empty_bars(len(open_ms))
        px = _on_ticks(np.exp(log_px[:, j]), contract)
        bars["open_ms"] = open_ms
        bars["open"], bars["close"] = px[:-1], px[1:]
        bars["high"] = np.maximum(_on_ticks(np.exp(high[:, j]), contract), np.maximum(px[:-1], px[1:]))
        bars["low"] = np.minimum(_on_ticks(np.exp(low[:, j]), contract), np.minimum(px[:-1], px[1:]))
        middle = (bars["high"] + bars["low"] + bars["open"] + bars["close"]) / 4
        lots = np.maximum(1, np.round(n_trades[:, j] * mean_usdt[:, j] / middle / contract.lot_size))
        bars["volume"] = np.round(lots * contract.lot_size, contract.qty_precision)
        bars["quote_volume"] = bars["volume"] * middle
        bars["n_trades"] = n_trades[:, j].astype(np.int64)
        bars["taker_buy"] = np.round(np.round(lots * buy_share[:, j]) * contract.lot_size, contract.qty_precision)
        out[symbol] = bars
    return out


def _on_ticks(px: F8, contract: Contract) -> F8:
    return np.round(np.maximum(1, np.round(px / contract.tick_size)) * contract.tick_size, contract.price_precision)


def _premiums(
    hours: dict[str, Bars], symbols: list[str], rng: np.random.Generator
) -> tuple[dict[str, F8], dict[str, F8]]:
    """Premium over the index by hour: it leans with the week's return, plus noise that lasts about a day."""
    premium, momentum = {}, {}
    for symbol in symbols:
        log_close = np.log(hours[symbol]["close"])
        past = np.concatenate((np.full(_MOMENTUM_HOURS, log_close[0]), log_close[:-_MOMENTUM_HOURS]))
        momentum[symbol] = log_close - past
        steps = rng.normal(0.0, 1.0, len(log_close))
        noise = np.convolve(steps, 0.92 ** np.arange(48))[: len(steps)] * np.sqrt(1 - 0.92**2)
        premium[symbol] = premium_trend(momentum[symbol]) + PREMIUM_NOISE * noise
    return premium, momentum


def premium_trend(momentum: F8) -> F8:
    """Return the premium (fraction of price) that a week's log return brings about: rising markets cost more."""
    return _PREMIUM_TREND * np.tanh(momentum / 0.10)


def _funding(contract: Contract, hours: Bars, premium: F8) -> FundingRows:
    """Settlements at the contract's interval from the average premium, by the venue's formula."""
    interval = contract.funding_interval_h
    skip = int(-(hours["open_ms"][0] // HOUR_MS) % interval)
    n = (len(hours) - skip) // interval
    average = premium[skip : skip + n * interval].reshape(n, interval).mean(axis=1)
    rate = (average + np.clip(contract.interest_rate - average, -_CLAMP, _CLAMP)) / (8 / interval)
    rate = np.round(np.clip(rate, -contract.funding_cap, contract.funding_cap), 8)
    last = skip + interval * np.arange(1, n + 1) - 1
    times = hours["open_ms"][last] + HOUR_MS
    return list(zip(times.tolist(), rate.tolist(), hours["close"][last].tolist(), strict=True))

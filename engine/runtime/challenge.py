"""A challenger in the shadow of the set in force: their forecasts held against each other, and what follows from it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from engine.errors import CommandRefused
from engine.runtime.model_scores import BAR_NS, ENSEMBLE, INTERVAL, SIDES
from storage.database import Database

if TYPE_CHECKING:
    from engine.runtime.loop import Loop

ACTOR, HEIR = "sequential test", "expiry"
SURELY = 1e-3
PINBALL_SCALE = 0.25
"""Both as in ``models.champion``, whose losses these are; a test holds them equal."""


class Judge(Protocol):
    """What the registry knows of trials, as ``models.book.ModelBook`` does."""

    block_ns: int  # length of a block, which shares no outcome with another
    horizons: tuple[int, ...]

    def roles(self) -> tuple[str | None, str | None]:
        """Return the versions in force and in its shadow."""

    def succession(self, ts_now: int) -> tuple[str, str, str] | None:
        """Return the set in force, the challenger that can follow it, and why the first can no longer be used."""

    def judge(self, differences: list[float]) -> dict[str, Any]:
        """Return the verdict on blocks of loss differences, with ``action``: promote, keep or wait."""

    def ahead(self, differences: list[float], ts_now: int) -> dict[str, Any]:
        """Return how long a verdict may still take: ``days``, ``days_left``, ``share`` and ``for_it``, None unknown."""

    def earned(self, tape: dict[str, Any], champion: str, challenger: str) -> dict[str, Any] | None:
        """Return what both would have earned: ``champion``, ``challenger``, ``error``, ``days``; None: unknown."""

    def promote(self, version: str, reason: str, actor: str, ts_now: int) -> dict[str, Any]:
        """Put a set into force."""

    def dismiss(self, reason: str, actor: str, ts_now: int) -> dict[str, Any]:
        """End the challenge."""


def pinball_sql(row: str) -> str:
    """Return the mean pinball loss of a forecast as SQL; its outcome is ``o.outcome``."""
    levels = {f"{row}.median": 0.5}
    for level, (low, high) in SIDES.items():
        levels[f"{row}.{low}"], levels[f"{row}.{high}"] = (1.0 - level) / 2.0, (1.0 + level) / 2.0
    pinball = " + ".join(
        f"greatest({level:.4f} * (o.outcome - {column}), ({level:.4f} - 1) * (o.outcome - {column}))"
        for column, level in levels.items()
    )
    return f"({pinball}) / {len(levels)}"


def log_loss_sql(row: str) -> str:
    """Return the log-loss of a forecast's probability as SQL, nats."""
    given = f"CASE WHEN o.outcome > 0 THEN {row}.prob_up ELSE 1 - {row}.prob_up END"
    return f"-ln(least(greatest({given}, {SURELY}), {1.0 - SURELY}))"


def loss_sql(row: str) -> str:
    """Return the loss of a forecast as SQL: log-loss / (2 ln 2) + pinball loss / (2 * ``PINBALL_SCALE``)."""
    return f"0.5 * ({log_loss_sql(row)} / ln(2.0) + {pinball_sql(row)} / {PINBALL_SCALE})"


def block_differences(store: Database, champion: str, challenger: str, block_ns: int) -> list[dict[str, Any]]:
    """Return rows of ``ts`` (end of a block, ns), ``difference`` and ``n`` outcomes by finished blocks of time.

    The difference is the mean loss of the champion minus that of the challenger: above zero the challenger is better.

    Both ensembles' forecasts of the same bars, symbols and horizons; an outcome counts only if it came before its
    block ended, so that no two blocks share a return. See ``models.champion.block_differences``.
    """
    return store.rows(
        # every number and name that is put into the text is a constant of ours
        f"WITH pairs AS (SELECT a.* FROM forecasts a JOIN forecasts b ON b.ts_close = a.ts_close "
        "AND b.symbol = a.symbol AND b.horizon = a.horizon AND b.model = a.model AND b.version = $2 "
        f"WHERE a.model = '{ENSEMBLE}' AND a.version = $1), "
        f"newest AS (SELECT (max(ts_close) - {BAR_NS}) // {block_ns} AS block FROM pairs), "
        "o AS (SELECT p.ts_close, p.symbol, p.horizon, ln(c.close_px / p.close_px) / (p.sigma * sqrt(p.horizon)) "
        "AS outcome FROM pairs p JOIN bars c ON c.symbol = p.symbol AND c.interval = $3 "
        f"AND c.ts_open = p.ts_close + (p.horizon - 1) * {BAR_NS} "
        "WHERE p.close_px > 0 AND p.sigma > 0 AND c.close_px > 0 "
        f"AND (p.ts_close + p.horizon * {BAR_NS}) // {block_ns} = p.ts_close // {block_ns}), "
        f"d AS (SELECT o.ts_close // {block_ns} AS block, {loss_sql('a')} - {loss_sql('b')} AS difference FROM o "
        "JOIN forecasts a ON a.ts_close = o.ts_close AND a.symbol = o.symbol AND a.horizon = o.horizon "
        f"AND a.model = '{ENSEMBLE}' AND a.version = $1 "
        "JOIN forecasts b ON b.ts_close = o.ts_close AND b.symbol = o.symbol AND b.horizon = o.horizon "
        f"AND b.model = '{ENSEMBLE}' AND b.version = $2) "
        f"SELECT (block + 1) * {block_ns} AS ts, avg(difference) AS difference, count(difference) AS n FROM d "
        "WHERE difference IS NOT NULL AND block < (SELECT block FROM newest) GROUP BY block ORDER BY block",
        [champion, challenger, INTERVAL],
    )


LEVELS = ("low_95", "low_90", "low", "low_50", "median", "high_50", "high", "high_90", "high_95")
"""Columns of ``forecasts`` in the order of the quantile levels."""


def shadow_tape(store: Database, champion: str, challenger: str, horizons: tuple[int, ...]) -> dict[str, Any]:
    """Return both ensembles' forecasts of the bars that both have forecast, as ``models.shadow`` takes them.

    ``ts_close`` (T,), ``close_px`` and ``sigma`` (T, N), and for each version ``quantile`` (T, N, H, Q) and ``prob_up``
    (T, N, H); NaN where there is none.
    """
    columns = ", ".join(LEVELS)
    table = store.read(
        # every number and name that is put into the text is a constant of ours
        f"SELECT ts_close, symbol, version, horizon, close_px, sigma, prob_up, {columns} FROM forecasts "
        f"WHERE model = '{ENSEMBLE}' AND version IN ($1, $2) AND ts_close IN "
        f"(SELECT ts_close FROM forecasts WHERE model = '{ENSEMBLE}' AND version IN ($1, $2) "
        "GROUP BY ts_close HAVING count(DISTINCT version) = 2)",
        [champion, challenger],
    )
    column = {name: table.column(name).to_numpy(zero_copy_only=False) for name in table.column_names}
    ts_close, row = np.unique(column["ts_close"].astype(np.int64), return_inverse=True)
    symbols, at = np.unique(column["symbol"].astype(str), return_inverse=True)
    place = np.searchsorted(horizons, column["horizon"])
    shape = (len(ts_close), len(symbols))
    tape: dict[str, Any] = {"ts_close": ts_close, "close_px": np.full(shape, np.nan), "sigma": np.full(shape, np.nan)}
    for name in ("close_px", "sigma"):
        tape[name][row, at] = column[name]
    said = np.stack([column[name] for name in LEVELS], axis=-1).astype(np.float64)
    for version in (champion, challenger):
        own = column["version"] == version
        quantile = np.full((*shape, len(horizons), len(LEVELS)), np.nan)
        prob_up = np.full((*shape, len(horizons)), np.nan)
        quantile[row[own], at[own], place[own]] = said[own]
        prob_up[row[own], at[own], place[own]] = column["prob_up"][own]
        tape[version] = {"quantile": quantile, "prob_up": prob_up}
    return tape


def why_held(money: dict[str, Any] | None) -> str | None:
    """Return why a challenger that forecasts better is not put into force yet; None: nothing is against it."""
    if money is None:
        return "It is not put into force before it is known what its positions would have earned."
    lost = money["champion"] - money["challenger"]
    if lost <= 0.0:
        return None
    return (
        f"Its positions would have earned {1e4 * lost:.1f} bp less than those of the set in force, after costs, over "
        f"{money['days']} days: it waits until they do not, or until a person promotes it."
    )


class Challenge:
    """Judges a challenger whenever a block of time is complete, and carries out what the test decides.

    Parameters
    ----------
    loop : Loop
    store : Database
    judge : Judge
    """

    def __init__(self, loop: Loop, store: Database, judge: Judge) -> None:
        self._loop, self._store, self._judge = loop, store, judge
        self._known: tuple[tuple[str, str, int], dict[str, Any]] | None = None
        self._busy = asyncio.Lock()

    def standing(self, champion: str, challenger: str) -> dict[str, Any]:
        """Return how a challenge stands, as the screen shows it; worked out again when a block has been completed.

        ``outcomes``; ``evidence`` for and ``against`` the challenger, ``needed`` to decide, ``verdict`` in words,
        ``action``, ``path``, rows of [ts_ms, evidence for, evidence against], a row a block; ``ahead``, how long a
        verdict may take, and ``money``, what both would have earned in the shadow.
        """
        newest = self._store.rows("SELECT max(ts_close) AS ts FROM forecasts WHERE version = ?", [challenger])[0]["ts"]
        key = (champion, challenger, (int(newest or 0) - BAR_NS) // self._judge.block_ns)
        if self._known is not None and self._known[0] == key:
            return self._known[1]
        blocks = block_differences(self._store, champion, challenger, self._judge.block_ns)
        differences = [row["difference"] for row in blocks]
        found = self._judge.judge(differences)
        found["ahead"] = self._judge.ahead(differences, self._loop.clock.now()) if found["action"] == "wait" else None
        tape = shadow_tape(self._store, champion, challenger, self._judge.horizons)
        found["money"] = self._judge.earned(tape, champion, challenger)
        if found["action"] == "promote" and (why := why_held(found["money"])) is not None:
            found |= {"action": "hold", "verdict": f"{found['verdict']} {why}"}
        path = [[row["ts"] // 1_000_000, *pair] for row, pair in zip(blocks, found.pop("path"), strict=True)]
        found |= {
            "outcomes": sum(row["n"] for row in blocks),
            "path": path,
            "block_days": self._judge.block_ns / 8.64e13,
        }
        self._known = key, found
        return found

    async def follow(self) -> None:
        """Promote or dismiss the challenger if the evidence decides it by now. Called after each of its answers."""
        async with self._busy:
            champion, challenger = await asyncio.to_thread(self._judge.roles)
            if champion is None or challenger is None or not self._loop.config.use_promotion:
                return
            found = await asyncio.to_thread(self.standing, champion, challenger)
            if found["action"] not in ("promote", "keep"):
                return
            try:
                await asyncio.to_thread(self._act, champion, challenger, found)
            except CommandRefused as refusal:  # a person was quicker
                self._loop.incident("warning", "models", f"The challenger {challenger} stays one: {refusal}")

    async def hand_over(self) -> None:
        """Let the challenger take the place of a set in force that has expired. Called once an hour.

        The setting that leaves promotions to a person does not hold this up: without it models would fall silent.
        """
        async with self._busy:
            try:
                await asyncio.to_thread(self._hand_over)
            except CommandRefused as refusal:  # a person was quicker
                self._loop.incident("warning", "models", f"The challenger does not take over: {refusal}")

    def _hand_over(self) -> None:
        now = self._loop.clock.now()
        found = self._judge.succession(now)
        if found is None:
            return
        champion, challenger, why = found
        reason = f"{why[:1].upper()}{why[1:]}; the challenger takes its place, not shown to be better or worse."
        self._judge.promote(challenger, reason, HEIR, now)
        detail = {"champion": champion, "challenger": challenger, "reason": reason}
        self._store.audit(HEIR, "models.promote", detail)
        self._loop.incident("warning", "models", f"{challenger} forecasts now in place of {champion}: {reason}")

    def _act(self, champion: str, challenger: str, found: dict[str, Any]) -> None:
        reason, now = found["verdict"], self._loop.clock.now()
        detail = {name: found[name] for name in ("evidence", "against", "needed", "outcomes")}
        detail |= {"champion": champion, "challenger": challenger, "reason": reason}
        if found["action"] == "promote":
            self._judge.promote(challenger, reason, ACTOR, now)
            sentence = f"{challenger} forecasts now in place of {champion}: {reason} Insights, Training, takes it back."
        else:
            self._judge.dismiss(reason, ACTOR, now)
            sentence = f"The challenger {challenger} was sent away and {champion} stays: {reason}"
        self._store.audit(ACTOR, f"models.{'promote' if found['action'] == 'promote' else 'dismiss'}", detail)
        self._loop.incident("warning", "models", sentence)

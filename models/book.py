"""What the engine tells a screen of its trained models, read from their manifests: no network is loaded for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from engine.domain import NS_PER_DAY, NS_PER_S
from engine.errors import CommandRefused, ModelError
from models import champion
from models.beside import AGENTS, wanted_of
from models.catalogue import BASE, RECORDS, entry_of
from models.fit import FEWEST_DAYS_OF_BARS
from models.forecast import HORIZONS
from models.registry import load_model, read_manifest
from models.roles import Roles, dismiss, promote, read_roles, retire, roll_back, why_unusable
from models.scoring import INTERVALS
from models.sets import ENSEMBLE, list_sets
from models.shown import FEWEST_TRADED_DAYS, SHOWN, plain, why_share, why_weight
from models.train import described_set, retirable

Z95 = 1.96  # standard errors of a 95 % interval
MOST_CHANGES = 12
"""Changes of the sets' roles that the screen shows, the newest."""

FEWEST_LETTERS = 20  # of a reason
HOUR_S = 3_600
TRADERS = (ENSEMBLE, AGENTS)
"""What trades, and so can earn a share of a decision; a forecaster counts only among the forecasts."""

WHO = {ENSEMBLE: "Forecasters", AGENTS: "Agents"}
NEVER = "No model has been trained yet."
NONE = "No set of models is in force: the last one was retired."


class ModelBook:
    """The registry of one data folder, as the engine asks it.

    Parameters
    ----------
    home : Path
        The data folder.
    """

    fewest_bars = FEWEST_DAYS_OF_BARS * 24
    block_ns = champion.BLOCK_NS
    horizons: tuple[int, ...] = HORIZONS

    def __init__(self, home: Path) -> None:
        self._home = home

    def overview(self, n_bars: dict[str, int], ts_now: int) -> dict[str, Any]:
        """Return the answer of ``models`` as far as the registry knows it; see ``app/model_client.py``.

        Parameters
        ----------
        n_bars : dict of str to int
            Hourly bars that a training could learn from, by symbol.
        ts_now : int, ns
        """
        nothing = {
            "horizons": list(HORIZONS), "bar_s": HOUR_S, "symbols": list(n_bars), "share": 0.0, "models": [],
            "reliability": [[] for _ in HORIZONS], "trend_sharpe": None,
            "coverage": {"levels": sorted(INTERVALS, reverse=True), "points": []}, "challenges": [], "drift": [],
            "record_days": None, "drift_words": "", "changes": [],
        }  # fmt: skip
        try:
            roles = read_roles(self._home)
            if roles.champion is None:
                why = NONE if roles.history else NEVER
                return nothing | {"why": why, "offer": _offer(n_bars, why), "changes": _changes(roles)}
            found = [described_set(self._home, version) for version in roles[:2] if version is not None]
            rows = [row for one in found for row in self._rows(one)]
        except ModelError as error:
            return nothing | {"why": str(error), "offer": _offer(n_bars, str(error))}
        ruling, challengers = found[0], found[1:]
        since = next((row["ts"] for row in reversed(roles.history) if row["version"] == roles.challenger), 0)
        old = "The models in force have expired." if ts_now >= ruling["ts_expires"] else None
        waiting: dict[str, Any] = {
            "outcomes": 0,
            "evidence": None,
            "against": None,
            "needed": None,
            "action": "wait",
            "path": [],
            "ahead": None,
            "money": None,
        }
        return nothing | {
            "models": rows, "why": old or _why(rows, ruling["version"]),
            "trend_sharpe": _trend_sharpe(rows), "offer": _offer(n_bars, old) if old else None,
            "challenges": [
                waiting | {
                    "champion": ruling["version"], "challenger": one["version"], "since_ns": since,
                    "verdict": "no outcome yet that both have forecast",
                }
                for one in challengers
            ],
            "changes": _changes(roles),
        }  # fmt: skip

    def roles(self) -> tuple[str | None, str | None]:
        """Return the versions of the set in force and of the one in its shadow, None where there is none.

        A file that cannot be read gives neither: ``overview`` says why.
        """
        try:
            roles = read_roles(self._home)
        except ModelError:
            return None, None
        return roles.champion, roles.challenger

    def standing(self, ts_now: int) -> dict[str, int]:
        """Return the moments that retraining depends on, ns.

        ``ts_trained`` and ``ts_last`` (its last bar) of the newest set, ``ts_expires`` of the set in force, and
        ``ts_heir``, when its challenger expires. 0 where there is none, where it has expired already, or where which
        set is in force cannot be read.
        """
        sets, (champion, challenger) = list_sets(self._home), self.roles()
        if not sets or champion is None:
            return dict.fromkeys(("ts_trained", "ts_last", "ts_expires", "ts_heir"), 0)
        ends = {one.version: one.ts_expires for one in sets}
        heir = 0 if challenger is None or why_unusable(self._home, challenger, ts_now) else ends[challenger]
        return {
            "ts_trained": sets[-1].ts_trained, "ts_last": sets[-1].ts_last,
            "ts_expires": ends.get(champion, ts_now), "ts_heir": heir,
        }  # fmt: skip

    def succession(self, ts_now: int) -> tuple[str, str, str] | None:
        """Return the set in force, the challenger and why the first can no longer be used; None while it can.

        None too where the challenger cannot be used either, or there is none.
        """
        champion, challenger = self.roles()
        if champion is None or challenger is None or why_unusable(self._home, challenger, ts_now):
            return None
        why = why_unusable(self._home, champion, ts_now)
        return None if why is None else (champion, challenger, why)

    def why_train(self, facts: dict[str, Any]) -> tuple[str | None, list[str]]:
        """Return why to train now, None if there is no reason, and how far each reason is; see ``models.retraining``.

        Parameters
        ----------
        facts : dict
            Fields of ``models.retraining.Facts``, with ``losses`` for its ``skill``.
        """
        from models import retraining

        skill = retraining.recent_skill(facts["losses"])
        found = retraining.Facts(skill=skill, **{name: value for name, value in facts.items() if name != "losses"})
        return retraining.why_train(found), retraining.standing(found)

    def read_feed(self, raw: bytes, feed: str, symbols: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return a feed's headlines as rows of table ``headlines``, without when they were fetched.

        Raises
        ------
        DataError
            It is no feed, or not one that is safe to read.
        """
        from models import sentiment

        rows = []
        for entry in sentiment.entries(raw, feed):
            found = sentiment.score(entry.title)
            rows.append({
                "headline_id": entry.headline_id, "ts_published": entry.ts_published, "feed": feed,
                "title": entry.title, "symbols": json.dumps(sentiment.about(entry.title, symbols)),
                "score": found.value, "words": ", ".join(found.words),
            })  # fmt: skip
        return rows

    def judge_news(self, scored: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what scores were worth: ``correlation``, ``error``, ``n``, ``needed``, ``share`` and ``why``.

        Parameters
        ----------
        scored : list of dict
            ``score``, ``day`` and ``outcome``, the return that followed.
        """
        from models import sentiment

        score, outcome, day = (np.array([row[name] for row in scored]) for name in ("score", "outcome", "day"))
        found = sentiment.skill_of(score.astype(np.float64), outcome.astype(np.float64), day)
        return dict(plain({
            "correlation": found.correlation, "error": found.error, "n": found.n_judged,
            "needed": sentiment.FEWEST_JUDGED, "share": found.share, "why": sentiment.why(found),
        }))  # fmt: skip

    def moods(self, rows: list[dict[str, Any]], symbols: tuple[str, ...], ts_now: int) -> list[float | None]:
        """Return the newest mood of every symbol, in [-1, 1]; None without a headline about it or the whole market."""
        from models import sentiment

        moods = []
        for symbol in symbols:
            own = [row for row in rows if row["symbols"] == "[]" or f'"{symbol}"' in row["symbols"]]
            score = np.array([row["score"] for row in own])
            age_s = np.array([(ts_now - row["ts_fetched"]) / NS_PER_S for row in own])
            moods.append(sentiment.mood(score, age_s))
        return list(plain(moods))

    def judge(self, differences: list[float]) -> dict[str, Any]:
        """Return what blocks of loss differences (champion minus challenger), oldest first, say of a challenger.

        ``action`` (promote, keep, wait), ``evidence`` for and ``against``, ``needed``, ``verdict`` in words, and
        ``path``: a pair of both after each block.
        """
        found = champion.compare(np.array(differences, dtype=np.float64))
        return {
            "action": str(found.action), "evidence": found.evidence_for, "against": found.evidence_against,
            "needed": found.needed, "verdict": found.sentence, "path": champion.evidence_path(np.array(differences)),
        }  # fmt: skip

    def ahead(self, differences: list[float], ts_now: int) -> dict[str, Any]:
        """Return how long a verdict may still take, see ``models.outlook``, and when the challenge ends without one."""
        from models.outlook import outlook

        ends = self.standing(ts_now)["ts_expires"]
        days_left = max(ends - ts_now, 0) / NS_PER_DAY
        found = outlook(np.array(differences, dtype=np.float64), days_left)
        return {"days_left": days_left} | (found._asdict() if found else dict.fromkeys(("days", "share", "for_it")))

    def earned(self, tape: dict[str, Any], champion: str, challenger: str) -> dict[str, Any] | None:
        """Return what both sets' positions would have earned after costs; see ``models.shadow``."""
        from models.shadow import Said, shadow_results

        said = (Said(**tape[version]) for version in (champion, challenger))
        found = shadow_results(tape["ts_close"], tape["close_px"], tape["sigma"], *said)
        return None if found is None else found._asdict()

    def promote(self, version: str, reason: str, actor: str, ts_now: int) -> dict[str, Any]:
        """Put a set into force.

        Raises
        ------
        CommandRefused
            There is no such set, it is in force, or the reason says too little.
        """
        _need("promotion", reason)
        try:
            described_set(self._home, version)
            return {"version": promote(self._home, version, ts_now, reason, actor).champion}
        except ModelError as error:
            raise CommandRefused(str(error)) from error

    def dismiss(self, reason: str, actor: str, ts_now: int) -> dict[str, Any]:
        """End the challenge: the set in force stays.

        Raises
        ------
        CommandRefused
            Nobody challenges, or the reason says too little.
        """
        _need("dismissal", reason)
        try:
            return {"version": dismiss(self._home, ts_now, reason, actor).champion}
        except ModelError as error:
            raise CommandRefused(str(error)) from error

    def roll_back(self, reason: str, actor: str, ts_now: int) -> dict[str, Any]:
        """Put the set before the present one into force again.

        Raises
        ------
        CommandRefused
            There was none, or the reason says too little.
        """
        _need("rollback", reason)
        try:
            return {"version": roll_back(self._home, ts_now, reason, actor).champion}
        except ModelError as error:
            raise CommandRefused(str(error)) from error

    def retire(self, name: str, reason: str, actor: str, ts_now: int) -> dict[str, Any]:
        """Use a set or a learner no more; see ``models.roles.retire``.

        Raises
        ------
        CommandRefused
            There is none of that name, it is retired already, or the reason says too little.
        """
        _need("retirement", reason)
        try:
            what = retirable(self._home, name)
            return {"what": what, "version": retire(self._home, name, ts_now, reason, actor).champion}
        except ModelError as error:
            raise CommandRefused(str(error)) from error

    def _rows(self, described: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a row for each member, for the base rate and for the ensemble of one set."""
        weights = self._weights(described["version"])
        rows = []
        for model in described["models"]:
            name = model["name"]
            weight = weights.get(name)
            figures = {key: _estimates(model["metrics"], key) for key in ("skill", *SHOWN)}
            entry = RECORDS.get(name) or entry_of(name)
            row = {
                "name": name, "said": entry.said, "version": described["version"],
                "role": "baseline" if name == BASE else described["role"], "ts_trained": described["ts_trained"],
                "ts_expires": described["ts_expires"], "weight": weight, "failed": model["trouble"],
                "sharpe": None, "traded": None,
                "figures": {key: figures[key] for key in SHOWN},
            }  # fmt: skip
            if name == BASE:
                row["why_weight"] = "what the others leave"
            elif name in TRADERS:
                row |= _traded(model["metrics"])
            else:
                row["why_weight"] = why_weight({"figures": figures, "failed": model["trouble"]}, weight)
            rows.append(dict(plain(row)))
        return rows

    def _weights(self, version: str) -> dict[str, list[float]]:
        manifest = read_manifest(self._home, ENSEMBLE, version)
        record = load_model(self._home, ENSEMBLE, version, manifest.features_hash, manifest.ts_trained).model
        found = {name: record.weights.member[k].tolist() for k, name in enumerate(record.weights.names)}
        base = record.weights.base.tolist()
        return found | {BASE: base if len(base) == len(HORIZONS) else base * len(HORIZONS)}


def _changes(roles: Roles) -> list[dict[str, Any]]:
    return [dict(row) for row in reversed(roles.history[-MOST_CHANGES:])]


def _traded(metrics: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return what is different in the row of what trades: judged by what it earned, not by its forecasts."""
    row: dict[str, Any] = {"weight": None, "why_weight": why_share(metrics)}
    if not {"share", "excess", "sharpe", "trend_sharpe"} <= set(metrics):
        return row
    if metrics["share"]["n"] < FEWEST_TRADED_DAYS:  # what so few days earned is not shown as if it were known
        unknown = dict.fromkeys(("excess", "sharpe", "trend_sharpe"))
        return row | {"traded": {"share": 0.0, "days": int(metrics["share"]["n"]), **unknown}}
    year = {name: 365.0 * metrics["excess"][name] for name in ("mean", "spread")}
    held = metrics["excess"]["spread"] > 0.0  # what never held anything has no record, good or bad
    sharpe = _estimate(metrics["sharpe"]) if held else None
    return row | {"sharpe": sharpe, "traded": {
        "share": metrics["share"]["mean"], "excess": _estimate(year) if held else None, "sharpe": sharpe,
        "trend_sharpe": _estimate(metrics["trend_sharpe"]), "days": int(metrics["share"]["n"]),
    }}  # fmt: skip


def _estimate(one: dict[str, float]) -> dict[str, Any]:
    """Return a value with its 95 % interval, from its mean and standard error."""
    value, reach = one["mean"], Z95 * one["spread"]
    return {"value": value, "low": value - reach, "high": value + reach, "spread": None}


def _need(what: str, reason: str) -> None:
    if len(reason.strip()) < FEWEST_LETTERS:
        raise CommandRefused(
            f"A {what} needs a reason of at least {FEWEST_LETTERS} characters; this one has {len(reason.strip())}."
        )


def _estimates(metrics: dict[str, dict[str, float]], name: str) -> list[dict[str, Any]]:
    """Return a figure by horizon as a value with its 95 % interval, from its mean and standard error."""
    found: list[dict[str, Any]] = []
    for horizon in HORIZONS:
        one = metrics.get(f"{name}_{horizon}")
        if one is None:
            found.append({"value": None, "low": None, "high": None, "spread": None})
        else:
            found.append(_estimate(one))
    return found


def _why(rows: list[dict[str, Any]], version: str) -> str:
    """Say what gives the models of a set their share, or keeps it from them."""
    return " ".join(
        f"{WHO[row['name']]}: {row['failed'] or row['why_weight']}."
        for row in rows if row["name"] in TRADERS and row["version"] == version
    )  # fmt: skip


def _trend_sharpe(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return what the trend rule earned on the bars that judged the set in force; None where nobody looked."""
    return next((row["traded"]["trend_sharpe"] for row in rows if row["name"] == ENSEMBLE and row["traded"]), None)


def _offer(n_bars: dict[str, int], why: str) -> dict[str, Any] | None:
    """Return the training that would make sense, None while there are too few bars."""
    enough = {symbol: n for symbol, n in n_bars.items() if n >= ModelBook.fewest_bars}
    if not enough:
        return None
    return {
        "symbols": len(enough), "bars": min(enough.values()), "minutes": wanted_of().seconds / 60.0,
        "why": why,
    }  # fmt: skip

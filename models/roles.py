"""Which set is in force, which one challenges it, and every change of that with its reason."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from engine.domain import NS_PER_DAY
from engine.errors import ModelError
from models.features import feature_hash
from models.registry import read_manifest
from models.sets import BASE, ENSEMBLE

FILE = "roles.json"


class Roles(NamedTuple):
    """What holds now, and how it came about."""

    champion: str | None  # version of the set in force
    challenger: str | None  # version of the set that runs in its shadow
    history: tuple[dict[str, Any], ...]  # rows of ts, action, version, before, reason, actor; oldest first
    retired: tuple[str, ...] = ()  # versions and learners that are no longer used


def read_roles(home: Path) -> Roles:
    """Return the roles; nobody has one before the first training.

    Raises
    ------
    ModelError
        The file is damaged: which set is in force is then unknown, and none is used.
    """
    path = home / "models" / FILE
    try:
        found = json.loads(path.read_text())
        return Roles(found["champion"], found["challenger"], tuple(found["history"]), tuple(found.get("retired", ())))
    except FileNotFoundError:
        return Roles(None, None, ())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} cannot be read ({error}), so no model is in force. Remove the file and train again."
        ) from error


def enter(home: Path, version: str, ts: int, reason: str, actor: str) -> Roles:
    """Give a newly trained set its role: the first is champion, a later one takes the challenger's place."""
    roles = read_roles(home)
    if roles.champion is None:
        return _changed(home, roles, "enter", version, None, version, ts, reason, actor)
    return _changed(home, roles, "challenge", roles.champion, version, version, ts, reason, actor)


def promote(home: Path, version: str, ts: int, reason: str, actor: str) -> Roles:
    """Put a set into force; the challenger's place is free if it was the challenger.

    Raises
    ------
    ModelError
        It is in force already or retired, it would say nothing (see ``why_unusable``), or there is no reason.
    """
    roles = read_roles(home)
    if version == roles.champion:
        raise ModelError(f"{version} is in force already")
    if version in roles.retired:
        raise ModelError(f"{version} is retired: take that back first with models retire {version} --undo")
    _need_use(home, version, ts)
    _need(reason)
    challenger = None if version == roles.challenger else roles.challenger
    return _changed(home, roles, "promote", version, challenger, version, ts, reason, actor)


def dismiss(home: Path, ts: int, reason: str, actor: str) -> Roles:
    """End the challenge: the champion stays.

    Raises
    ------
    ModelError
        Nobody challenges.
    """
    roles = read_roles(home)
    if roles.challenger is None:
        raise ModelError("no set challenges the one in force")
    _need(reason)
    return _changed(home, roles, "dismiss", roles.champion, None, roles.challenger, ts, reason, actor)


def roll_back(home: Path, ts: int, reason: str, actor: str) -> Roles:
    """Put the champion before the present one into force again.

    One that was rolled away from never comes back by this: rolling back again goes further back.

    Raises
    ------
    ModelError
        There was none before it, or that one would say nothing (see ``why_unusable``).
    """
    roles = read_roles(home)
    before = _before(roles)
    if before is None:
        raise ModelError("no set was in force before this one: there is nothing to roll back to")
    _need_use(home, before, ts)
    _need(reason)
    return _changed(home, roles, "rollback", before, roles.challenger, before, ts, reason, actor)


def retire(home: Path, name: str, ts: int, reason: str, actor: str) -> Roles:
    """Use a set, or a learner in whatever set, no more. Nothing is deleted.

    The set in force gives way to the one before it that can still be used; where there is none, no set is in force and
    models say nothing. A challenger gives up its place.

    Raises
    ------
    ModelError
        It is retired already, or there is no reason.
    """
    roles = read_roles(home)
    if name in roles.retired:
        raise ModelError(f"{name} is retired already")
    _need(reason)
    gone = roles._replace(retired=(*roles.retired, name))
    champion = roles.champion if name != roles.champion else _before(gone, lambda one: not why_unusable(home, one, ts))
    challenger = None if name == roles.challenger else roles.challenger
    return _changed(home, gone, "retire", champion, challenger, name, ts, reason, actor)


def restore(home: Path, name: str, ts: int, reason: str, actor: str) -> Roles:
    """Allow a retired set or learner again. A set gets no role by that: ``promote`` gives it one.

    Raises
    ------
    ModelError
        It is not retired, or there is no reason.
    """
    roles = read_roles(home)
    if name not in roles.retired:
        raise ModelError(f"{name} is not retired")
    _need(reason)
    back = roles._replace(retired=tuple(one for one in roles.retired if one != name))
    return _changed(home, back, "restore", roles.champion, roles.challenger, name, ts, reason, actor)


def why_unusable(home: Path, version: str, ts: int) -> str | None:
    """Return why a set would say nothing if it were in force at ``ts``, None if it would; only manifests are read."""
    for name in (ENSEMBLE, BASE):
        try:
            manifest = read_manifest(home, name, version)
        except ModelError as error:
            return str(error)
        if ts >= manifest.ts_expires:
            return f"{version} expired {(ts - manifest.ts_expires) / NS_PER_DAY:.1f} days ago"
        if manifest.features_hash != feature_hash():
            return f"{version} learned on other inputs than are computed now"
    return None


def _need_use(home: Path, version: str, ts: int) -> None:
    why = why_unusable(home, version, ts)
    if why is not None:
        raise ModelError(f"{why}, so it would say nothing: train a new set, or retire the one in force")


def _before(roles: Roles, accepts: Callable[[str], bool] = lambda version: True) -> str | None:
    """Return the version that was in force before the present one and is not retired."""
    earlier = [one for one in _succession(roles.history)[:-1] if one != roles.champion]
    return next((one for one in reversed(earlier) if one not in roles.retired and accepts(one)), None)


def _succession(history: tuple[dict[str, Any], ...]) -> list[str]:
    """Return the sets that led to the one in force, the first one first and without those that were taken back.

    ``before`` of a row is the set that was in force when the row gave its place to another.
    """
    led: list[str] = []
    for row in history:
        version, before = row["version"], row["before"]
        if before in led:  # whatever stood above it has been skipped by then
            led = led[: len(led) - led[::-1].index(before)]
        if row["action"] == "enter" or row["action"] == "promote":
            led.append(version)
        elif row["action"] == "rollback":
            led = led[: len(led) - led[::-1].index(version)] if version in led else [*led[:-1], version]
        elif row["action"] == "retire" and before == version:
            led = led[:-1]
    return led


def _need(reason: str) -> None:
    if not reason.strip():
        raise ModelError("give a reason: it is kept with the change")


def _changed(
    home: Path, roles: Roles, action: str, champion: str | None, challenger: str | None, version: str | None, ts: int,
    reason: str, actor: str,
) -> Roles:  # fmt: skip
    before = roles.champion if champion != roles.champion else None
    row = {"ts": ts, "action": action, "version": version, "before": before, "reason": reason, "actor": actor}
    fresh = Roles(champion, challenger, (*roles.history, row), roles.retired)
    path = home / "models" / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{FILE}.{os.getpid()}")
    with partial.open("w") as file:
        json.dump(fresh._asdict(), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return fresh

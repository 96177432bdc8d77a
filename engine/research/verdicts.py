"""What backtests have shown of each version of a strategy: the capital ladder asks for it before real money moves.

A verdict is kept for every backtest with the whole honesty panel that is counted as a trial, and signed like a parity
certificate. One a version: what is red stays red until a run over at least as much passes, and a run that is too short
to test everything does not take back what a longer one has shown.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.domain import NS_PER_S
from engine.errors import ConfigError
from engine.research import certificate
from engine.research.conduct import conduct
from engine.research.critique import CANARY_SENTENCES, FAIL, PASS, UNTESTED, untested_sentence
from engine.research.wording import plural
from engine.settings import SystemConfig
from engine.strategies.versions import is_file, kept_path

FOLDER = "verdicts"  # in the data folder
KIND = "backtest verdict"
AGAIN = "run the backtest again"


def judged(canaries: Mapping[str, str], told: tuple[str, ...] | list[str]) -> str:
    """Return ``fail``, ``not tested`` or ``pass`` for a run's canaries and what was seen in its source together."""
    if told or FAIL in canaries.values():
        return FAIL
    return PASS if canaries and set(canaries.values()) == {PASS} else UNTESTED


def keep(home: Path, version: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what a backtest has shown of a version, unless what is kept says more; return what is kept afterwards.

    Parameters
    ----------
    home : Path
        Data folder.
    version : mapping
        Of ``certificate.version_of_run``.
    found : mapping
        ``canaries`` (name to verdict), ``conduct`` (sentences), ``bars``, ``symbols``, ``first_ts_ms``, ``last_ts_ms``
        and ``dataset``.
    """
    new = {"version": version["version"], "kind": KIND, "ts": time.time_ns()} | dict(found)
    new["verdict"] = judged(new["canaries"], new["conduct"])
    with _locked(home):
        try:
            before = read(home, new["version"])
        except ConfigError:  # it cannot be trusted, so it says nothing
            before = None
        if before is not None and _says_more(before, new):
            return before
        return certificate.write_signed(home, _path(home, new["version"]), new)


def _says_more(before: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    if before["verdict"] == FAIL:  # a short run or few coins do not wash out what a longer one has found
        covers = new["bars"] >= before["bars"] and len(new["symbols"]) >= len(before["symbols"])
        return not covers or new["verdict"] == UNTESTED
    return bool(before["verdict"] == PASS and new["verdict"] == UNTESTED)


def read(home: Path, version: str) -> dict[str, Any] | None:
    """Return what is kept of a version; None when no backtest of it has been kept.

    Raises
    ------
    ConfigError
        It cannot be read, or was changed after it was written.
    """
    return certificate.read_signed(home, _path(home, version), version, AGAIN, KIND)


def standing(home: Path, config: SystemConfig) -> tuple[bool, str]:
    """Return whether backtests let the version in force have real money, and the sentence that says why.

    The source of a file is read anew, so that what has been learnt about doors since its backtest counts too.
    """
    try:
        version = certificate.version_now(home, config)
        found = read(home, version["version"])
        told = list(conduct(kept_path(home, config.strategy))) if is_file(config.strategy) else []
    except ConfigError as error:
        return False, f"{str(error).rstrip('.')}."
    name = f"version {version['version'][:8]}"
    if found is None:
        return False, _missing(config, version)
    over = f"{found['bars']:,d} bars of {plural(len(found['symbols']), 'coin')} on {_day(found['ts'])}, {name}"
    if told:
        return False, f"{told[0]} A file without that is another version."
    verdict = judged(found["canaries"], found["conduct"])
    if verdict == FAIL:
        return False, (
            f"The backtest over {over}, is red: {_red(found)} A changed strategy is another version; a run over at "
            "least as many bars and coins in which nothing is red counts instead."
        )
    if verdict == UNTESTED:
        names = [canary for canary, word in found["canaries"].items() if word != PASS]
        untested = untested_sentence(names[0]) if names else "No canary was run."
        return False, f"The backtest over {over}, leaves something open. {untested}"
    return True, f"Every canary passed over {over}."


def _red(found: Mapping[str, Any]) -> str:
    names = [name for name, verdict in found["canaries"].items() if verdict == FAIL]
    if names:
        return f"canary {names[0]}, {CANARY_SENTENCES.get(names[0], 'it failed')}."
    return str(found["conduct"][0])


def _missing(config: SystemConfig, version: Mapping[str, Any]) -> str:
    return (
        f"No backtest of this version of {config.strategy} ({version['version'][:8]}) with the whole honesty panel is "
        f"on record here. Run one on the Backtest page or with python -m engine backtest{_words(config, version)}."
    )


def _words(config: SystemConfig, version: Mapping[str, Any]) -> str:
    """Return which parameters a run must be given to be of a version; what is as by default is left out."""
    own = dict(version["params"])
    side = "both" if own.pop("allow_short", True) else "long"
    usual: dict[str, Any] = {}
    if not is_file(config.strategy):
        fields = SystemConfig().model_dump(mode="json")
        usual = certificate.version_of(config.strategy, fields, {}, None)["params"]
    told = {name: value for name, value in own.items() if usual.get(name, ...) != value}
    if side != ("long" if config.strategy == "ema-cross" else "both"):  # what a run takes that is told nothing
        told = {"side": side} | told
    return " with " + ", ".join(f"{name}={_word(value)}" for name, value in told.items()) if told else ""


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _day(ts: int) -> str:
    return f"{datetime.fromtimestamp(ts / NS_PER_S, UTC):%Y-%m-%d}"


def _path(home: Path, version: str) -> Path:
    return home / FOLDER / f"{version}.json"


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Let one process at a time read and write verdicts: two runs of one version must not hide a red one."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

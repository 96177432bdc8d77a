"""A repair of a stored data set: loads both, repairs symbol by symbol, stores the result as the next version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from engine.datasets import store
from engine.datasets.findings import Check, Finding, Severity, counted
from engine.datasets.importing import examined
from engine.datasets.repair import REPAIRABLE, TOLERANCE, USUAL, repair
from engine.domain import NS_PER_MS
from engine.errors import DataError

MAX_REFUSED = 40


class RepairRequest(BaseModel):
    """What to repair, and from what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = Field(description="NAME or NAME@VERSION")
    source: str = Field(description="The other data set, NAME or NAME@VERSION")
    checks: tuple[str, ...] = Field(tuple(str(check) for check in USUAL), description="What to repair")
    symbols: dict[str, str] = Field(default_factory=dict, description="Our symbol to the source's, where they differ")
    tolerance: float = Field(TOLERANCE, gt=0, le=0.05, description="Largest difference at the edges, fraction")


def repair_dataset(
    home: Path, request: RepairRequest, progress: Callable[[float], None] = lambda share: None
) -> dict[str, Any]:
    """Repair a data set from another and store the result as a new version of it.

    Parameters
    ----------
    home : Path
        The data folder.
    request : RepairRequest
    progress : callable
        Called with the finished share, 0 to 1.

    Returns
    -------
    dict
        ``manifest`` of the new version, or None when nothing could be repaired; ``repaired`` (bars), ``refused``
        (sentences).

    Raises
    ------
    DataError
        No such data sets, or ones that cannot be compared.
    """
    checks = _checks(request.checks)
    manifest, ours = store.load(home, request.dataset)
    other = store.manifest_of(home, request.source)
    _comparable(manifest, other)
    findings = list(map(as_finding, manifest["findings"]))
    repaired, repairs, refused = [], [], []
    for i, series in enumerate(ours):
        named = request.symbols.get(series.symbol, series.symbol)
        wanted = [f for f in findings if f.symbol == series.symbol and f.check in checks and f.spans]
        if wanted and named not in other["symbols"]:
            refused.append(f"{series.symbol}: {store.reference(other)} has no {named}")
            wanted = []
        if wanted:
            theirs = store.load(home, store.reference(other), (named,))[1][0]
            outcome = repair(series, theirs, wanted, manifest["interval_s"], request.tolerance)
            series = outcome.series
            repairs += outcome.repairs
            refused += outcome.refused
        repaired.append(series)
        progress(0.8 * (i + 1) / len(ours))
    if not repairs:
        return {"manifest": None, "repaired": 0, "refused": refused}
    changes = _changes(manifest, other, repairs, refused)
    rows = [f.as_row() for one in repaired for f in examined(one, manifest["kind"], manifest["interval_s"])]
    source = {"kind": "repair", "of": store.reference(manifest), "of_sha256": manifest["sha256"],
              "from": store.reference(other), "from_sha256": other["sha256"], "tolerance": request.tolerance,
              "origin": manifest["source"]}  # fmt: skip
    draft = store.Draft(
        manifest["name"], manifest["kind"], manifest["interval_s"], repaired, source, rows, changes, repairs
    )  # fmt: skip
    written = store.write(home, draft)
    progress(1.0)
    return {"manifest": written, "repaired": len(repairs), "refused": refused}


def _changes(
    manifest: store.Manifest, other: store.Manifest, repairs: list[dict[str, Any]], refused: list[str]
) -> list[str]:  # fmt: skip
    said = []
    for symbol in dict.fromkeys(row["symbol"] for row in repairs):
        own = [row for row in repairs if row["symbol"] == symbol]
        filled = sum(row["action"] == "filled" for row in own)
        worst = max(row["edge_difference"] for row in own)
        said.append(
            f"{symbol}: {counted(filled, 'bar')} filled and {len(own) - filled:,} replaced from "
            f"{store.reference(other)}, which differs by at most {worst:.3%} at the edges"
        )
    said += [f"not repaired: {sentence}" for sentence in refused[:MAX_REFUSED]]
    if len(refused) > MAX_REFUSED:
        said.append(f"not repaired: {len(refused) - MAX_REFUSED:,} more")
    return [*manifest["changes"], *said]


def _checks(names: tuple[str, ...]) -> set[Check]:
    known = {str(check): check for check in REPAIRABLE}
    for name in names:
        if name not in known:
            raise DataError(f"{name!r} cannot be repaired; expected of {', '.join(known)}")
    return {known[name] for name in names}


def _comparable(manifest: store.Manifest, other: store.Manifest) -> None:
    if manifest["kind"] != "candles" or other["kind"] != "candles":
        raise DataError("only candles are repaired: a missing funding rate is not made up")
    if manifest["interval_s"] != other["interval_s"]:
        raise DataError(
            f"{store.reference(manifest)} has bars of {manifest['interval']} and {store.reference(other)} of "
            f"{other['interval']}; expected the same interval"
        )
    if store.reference(manifest) == store.reference(other):
        raise DataError("a data set cannot be repaired from itself; choose another source")


def as_finding(row: dict[str, Any]) -> Finding:
    """Return a finding as it was before it became a row of a manifest."""
    spans = tuple((int(a) * NS_PER_MS, int(b) * NS_PER_MS, int(n)) for a, b, n in row["spans"])
    return Finding(
        Check(row["check"]), Severity(row["severity"]), row["symbol"], int(row["first_ts_ms"]) * NS_PER_MS,
        int(row["last_ts_ms"]) * NS_PER_MS, int(row["count"]), row["sentence"], spans,
    )  # fmt: skip

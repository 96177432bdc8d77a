"""The commands ``parents ...`` of the command line: orders that an algorithm works, and what trading costs."""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any

import typer
from rich.table import Table

from engine.errors import WorkstationError
from engine.terminal import REFUSED, UNREACHABLE, HomeOption, JsonOption, console, data_folder, errors

parents_app = typer.Typer(
    name="parents", help="Large orders that an algorithm works: list, start, pause, resume, cancel, replace."
)
NumberArgument = Annotated[int, typer.Argument(help="As `parents list` shows it")]


def _ask(data_dir: Any, action: str, body: dict[str, Any] | None = None, *, changes: bool = False) -> dict[str, Any]:
    from engine.errors import Unreachable
    from engine.runtime.remote import ask

    extra = {"idempotency_key": uuid.uuid4().hex, "actor": "command line"} if changes else {}
    try:
        found: dict[str, Any] = ask(data_folder(data_dir), action, (body or {}) | extra)
    except WorkstationError as error:
        errors.print(str(error))
        raise SystemExit(UNREACHABLE if isinstance(error, Unreachable) else REFUSED) from None
    return found


def _print(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        console.print_json(json.dumps(found))
        return
    console.print(
        f"Parent order {found['parent_id']}: {found['status']}, {found['filled_qty']:g} of {found['qty']:g} "
        f"{found['symbol']} filled by {found['algorithm']}. {found['reason']}".rstrip()
    )


@parents_app.command("list")
def list_parents(as_json: JsonOption = False, data_dir: HomeOption = None) -> None:
    """Parent orders at work, and the newest that ended with their shortfall."""
    found = _ask(data_dir, "parents")
    if as_json:
        console.print_json(json.dumps(found))
        return
    if not found["running"] and not found["ended"]:
        console.print("No parent order yet: python -m engine parents start --help")
        return
    table = Table("number", "status", "side", "symbol", "way", "filled", "due now", "shortfall, bp")
    for row in (*found["running"], *found["ended"]):
        quality = row.get("quality") or {}
        cost = quality.get("total_bps")
        table.add_row(
            str(row["parent_id"]), row["status"], "buy" if row["side"] > 0 else "sell", row["symbol"],
            row["algorithm"], f"{row['filled_qty']:g} of {row['qty']:g}",
            f"{row['due_qty']:g}" if "due_qty" in row else "", "unknown" if cost is None else f"{cost:.2f}",
        )  # fmt: skip
    console.print(table)


@parents_app.command("start")
def start(
    symbol: Annotated[str, typer.Argument(help="Such as BTCUSDT")],
    side: Annotated[str, typer.Argument(help="buy or sell")],
    qty: Annotated[float, typer.Argument(help="In --unit")],
    unit: Annotated[str, typer.Option(help="base, quote or risk_pct")] = "base",
    algorithm: Annotated[str, typer.Option(help="adaptive, twap, vwap, pov, almgren-chriss or iceberg")] = "adaptive",
    minutes: Annotated[float, typer.Option(help="How long it may take")] = 15.0,
    limit_px: Annotated[float | None, typer.Option(help="Worst price of a child")] = None,
    reduce_only: Annotated[bool, typer.Option("--reduce-only", help="May not open risk")] = False,
    urgency: Annotated[float, typer.Option(help="adaptive, almgren-chriss: 0 even, 3 most of it first")] = 1.0,
    participation: Annotated[float, typer.Option(help="pov: our share of all trading")] = 0.1,
    max_participation: Annotated[float, typer.Option(help="Cap on our share of all trading, 0 to 1; 0: none")] = 0.0,
    display_qty: Annotated[float, typer.Option(help="iceberg: what one child shows, base; 0: a twentieth")] = 0.0,
    hidden: Annotated[bool, typer.Option("--hidden", help="iceberg: children are not shown at all")] = False,
    cross: Annotated[bool, typer.Option("--cross", help="Every child crosses the spread at once")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Only say what each way is expected to cost")] = False,
    as_json: JsonOption = False,
    data_dir: HomeOption = None,
) -> None:
    """Start a parent order; the running engine works it."""
    body: dict[str, Any] = {
        "symbol": symbol.upper(), "side": side.lower(), "size": {"unit": unit, "value": qty}, "algorithm": algorithm,
        "minutes": minutes, "limit_px": limit_px, "reduce_only": reduce_only, "urgency": urgency,
        "participation": participation, "max_participation": max_participation,
        "display_qty": display_qty, "hidden": hidden, "passive": not cross,
    }  # fmt: skip
    if not preview:
        _print(_ask(data_dir, "parents.start", body, changes=True), as_json)
        return
    found = _ask(data_dir, "parents.preview", body)
    if as_json:
        console.print_json(json.dumps(found))
        return
    table = Table("way", "expected, bp", "USDT", "spread", "impact", "fees", "± risk")
    for row in found["choices"]:
        numbers = [row[name] for name in ("cost_bps", "cost", "spread_bps", "impact_bps", "fees_bps", "risk_bps")]
        table.add_row(row["algorithm"], *("unknown" if value is None else f"{value:.2f}" for value in numbers))
    console.print(table)
    for sentence in found["problems"]:
        console.print(sentence)


@parents_app.command("pause")
def pause(number: NumberArgument, as_json: JsonOption = False, data_dir: HomeOption = None) -> None:
    """Cancel its child and send no more until it is resumed."""
    _print(_ask(data_dir, "parents.pause", {"parent_id": number}, changes=True), as_json)


@parents_app.command("resume")
def resume(number: NumberArgument, as_json: JsonOption = False, data_dir: HomeOption = None) -> None:
    """Go on; what is left is spread over the time that is left."""
    _print(_ask(data_dir, "parents.resume", {"parent_id": number}, changes=True), as_json)


@parents_app.command("cancel")
def cancel(number: NumberArgument, as_json: JsonOption = False, data_dir: HomeOption = None) -> None:
    """Cancel its child and end it."""
    _print(_ask(data_dir, "parents.cancel", {"parent_id": number}, changes=True), as_json)


@parents_app.command("replace")
def replace(
    number: NumberArgument,
    qty: Annotated[float | None, typer.Option(help="New quantity, base")] = None,
    limit_px: Annotated[float | None, typer.Option(help="New worst price")] = None,
    minutes: Annotated[float | None, typer.Option(help="New end, from now")] = None,
    as_json: JsonOption = False,
    data_dir: HomeOption = None,
) -> None:
    """Change quantity, limit price or end."""
    body = {"parent_id": number, "qty": qty, "limit_px": limit_px, "minutes": minutes}
    _print(_ask(data_dir, "parents.replace", body, changes=True), as_json)


@parents_app.command("costs")
def costs(
    fit: Annotated[bool, typer.Option("--fit", help="Fit the model to our fills first")] = False,
    as_json: JsonOption = False,
    data_dir: HomeOption = None,
) -> None:
    """What trading costs by our own fills, beside what was assumed."""
    if fit:
        _ask(data_dir, "execution.fit", changes=True)
    found = _ask(data_dir, "execution.costs")
    if as_json:
        console.print_json(json.dumps(found))
        return
    table = Table("number", "assumed", "from our fills", "standard error", "orders")
    for name in ("half_spread", "impact", "permanent"):
        one = found["model"][name]
        table.add_row(name, f"{one['assumed']:g}", f"{one['value']:.4g}", f"{one['error']:.2g}", str(one["n"]))
    for name in ("taker_fee", "maker_fee", "maker_share"):
        table.add_row(name, f"{found['assumed'][name]:g}", f"{found['model'][name]:.4g}", "", "")
    console.print(table)

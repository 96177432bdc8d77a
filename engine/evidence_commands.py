"""`python -m engine certify` and `drift`: evidence that what trades is what was tested, at a terminal."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from engine.errors import Unreachable, WorkstationError
from engine.strategy_commands import named_values
from engine.terminal import HomeOption, JsonOption, console, data_folder, log_to_stderr


def certify(
    strategy: Annotated[
        str | None, typer.Option(help="trend, ema-cross or a Python file; default: as in Settings")
    ] = None,
    param: Annotated[list[str] | None, typer.Option(help="name=value, may be repeated")] = None,
    symbols: Annotated[str | None, typer.Option(help="Comma-separated; default: as in Settings")] = None,
    data_dir: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Play one tape through backtest, paper and live, compare every decision, sign the outcome. Exit code 1: not alike.

    Works beside a running engine, which is not touched.
    """
    from engine.certify import certify_now
    from engine.runtime.evidence_desk import record_certificate

    home = data_folder(data_dir)
    config = _config(home, strategy, named_values(param or []), symbols)
    if not as_json:
        console.print(f"One tape through backtest, paper and live: {config.strategy}. It takes a minute or several.")
    log_to_stderr()
    issued = certify_now(home, config)
    with contextlib.suppress(WorkstationError), _records(home) as stores:
        for store in stores:
            record_certificate(store, issued)
    if as_json:
        typer.echo(json.dumps(issued, indent=2))
    else:
        _show_certificate(issued)
    if issued["status"] != "pass":
        raise typer.Exit(1)


def _config(home: Path, strategy: str | None, params: dict[str, str], symbols: str | None) -> Any:
    from engine.research.config import ALIASES, number_of
    from engine.settings import SystemConfig

    values = _stored_config(home)
    if strategy is not None:
        values |= {"strategy": strategy, "strategy_params": {}}
    own = {}
    for name, value in params.items():
        field = ALIASES.get(name, name)
        if field in SystemConfig.model_fields:
            values[field] = value.split(",") if field in ("symbols", "trend_horizons_hours") else value
        else:
            own[name] = number_of(value)
    if own or strategy is not None:
        values["strategy_params"] = own
    if symbols:
        values["symbols"] = symbols.upper().split(",")
    return SystemConfig.model_validate(values)


def _stored_config(home: Path) -> dict[str, Any]:
    from engine.runtime.remote import ask

    try:
        return dict(ask(home, "settings.get")["values"])
    except Unreachable:
        pass
    with _records(home) as stores:
        return dict(stores[0].recall("config", {})) if stores else {}


@contextlib.contextmanager
def _records(home: Path) -> Iterator[list[Any]]:
    """Open the newest record of a data folder that no engine owns; none when there is none."""
    from engine.compose import folder_lock
    from storage.database import Database

    records = [home / name for name in ("live.duckdb", "paper.duckdb") if (home / name).exists()]
    if not records:
        yield []
        return
    with folder_lock(home):
        store = Database(max(records, key=lambda record: record.stat().st_mtime))
        try:
            yield [store]
        finally:
            store.close()


def _show_certificate(issued: dict[str, Any]) -> None:
    table = Table(title="Parity certificate", show_header=False)
    table.add_row("outcome", "[green]pass[/]" if issued["status"] == "pass" else "[red]fail[/]")
    table.add_row("strategy", f"{issued['strategy']}, version {issued['version']}")
    table.add_row("decisions compared", str(issued["decisions"]))
    table.add_row("with a difference", str(issued["differences"]))
    if issued["own_account"]:
        table.add_row("follow their own account", f"{issued['own_account']}: compared from the same record only")
    for sentence in issued["sentences"][:5]:
        table.add_row("", sentence)
    table.add_row("took", f"{issued['elapsed_s']:.0f} s")
    table.add_row("signature", f"{issued['signature'][:32]}…")
    console.print(table)


def drift(
    day: Annotated[str | None, typer.Option(help="UTC day, 2026-01-31; default: the day before")] = None,
    data_dir: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay a traded day through the backtester and say what the difference in profit is made of."""
    from engine.runtime.remote import ask

    home = data_folder(data_dir)
    try:
        row = ask(home, "drift.measure", {"day": day} if day else {})
    except Unreachable:
        row = _measured_offline(home, day)
    if as_json:
        typer.echo(json.dumps(row, indent=2))
    else:
        _show_drift(row)


def _measured_offline(home: Path, day: str | None) -> dict[str, Any]:
    import time

    from engine.runtime.drift import measure_day, yesterday

    with _records(home) as stores:
        if not stores:
            raise WorkstationError(f"There is no record in {home} yet.")
        return measure_day(stores[0], day or yesterday(time.time_ns()))


def _show_drift(row: dict[str, Any]) -> None:
    from engine.research.drift import PARTS

    money: Callable[[float], str] = "{:+,.2f}".format
    table = Table("", "USDT", "bp of equity", title=f"Drift of {row['day']}, {row['strategy']}")
    table.add_row("recorded profit", money(row["pnl_recorded"]), _bp(row["pnl_recorded"], row))
    table.add_row("replayed profit", money(row["pnl_replayed"]), _bp(row["pnl_replayed"], row), end_section=True)
    for name in PARTS:
        table.add_row(name.replace("_", " "), money(row[name]), _bp(row[name], row))
    console.print(table)
    console.print(f"{row['n_decisions']} decisions, {row['n_fills']} fills; {row['verdict']}.")


def _bp(amount: float, row: dict[str, Any]) -> str:
    return f"{amount / row['equity'] * 1e4:+.2f}"

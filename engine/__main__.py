"""The command line: ``python -m engine COMMAND``. Every command prints for people, or JSON with ``--json``."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from engine.data_commands import data_app, import_data
from engine.errors import WorkstationError
from engine.evidence_commands import certify, drift
from engine.live_commands import live, vault_app
from engine.model_commands import models_app, train
from engine.parent_commands import parents_app
from engine.report_commands import goal, report
from engine.risk_commands import stress
from engine.strategy_commands import named_values, strategy_app
from engine.sweep_commands import CostsOption, checked_costs, sweep, walkforward
from engine.terminal import UNREACHABLE, HomeOption, JsonOption, console, data_folder, errors, log_to_stderr

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
app.command()(live)
app.command()(goal)
app.command()(report)
app.command()(stress)
app.command()(certify)
app.command()(drift)
app.command()(sweep)
app.command()(walkforward)
app.command()(train)
app.add_typer(models_app)
app.add_typer(parents_app)
app.add_typer(vault_app)
app.command("import")(import_data)
app.add_typer(data_app)
app.add_typer(strategy_app, name="strategy")
KILL_LEVELS = {"pause": 1, "cancel": 2, "flatten": 3, "halt": 4}


def _engine_action(home: Path, action: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    from engine.runtime.remote import ask

    return ask(home, action, body)


def _show(result: dict[str, Any], as_json: bool, show: Callable[[dict[str, Any]], None]) -> None:
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        show(result)


def _pairs(title: str) -> Callable[[dict[str, Any]], None]:
    def show(result: dict[str, Any]) -> None:
        table = Table(title=title, show_header=False)
        for name, value in result.items():
            shown = "unknown" if value is None else json.dumps(value) if isinstance(value, dict | list) else str(value)
            table.add_row(name, shown)
        console.print(table)

    return show


def _status(result: dict[str, Any]) -> None:
    from engine.status_words import status_lines, status_words

    _pairs("Engine")(status_words(result))
    _pairs("Models")(status_lines(result.get("models")))


def _checks(name: str) -> Callable[[dict[str, Any]], None]:
    def show(result: dict[str, Any]) -> None:
        table = Table("check", "", "detail")
        for item in result[name]:
            table.add_row(item["name"], "[green]ok[/]" if item["ok"] else "[red]not ok[/]", item["detail"])
        console.print(table)

    return show


@app.command()
def paper(
    market: Annotated[str, typer.Option(help="simulated, replay or mirror")] = "simulated",
    speed: Annotated[float, typer.Option(min=0.1, max=3600, help="Market time per wall time")] = 1.0,
    path: Annotated[Path | None, typer.Option(help="Candles or ticks to replay")] = None,
    upstream: Annotated[str | None, typer.Option(help="Base URL that a mirror follows")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated market")] = 7,
    faults: Annotated[Path | None, typer.Option(help="JSON file of faults to inject")] = None,
    data_dir: HomeOption = None,
) -> None:
    """Trade on paper: the real engine against a practice exchange that it starts itself."""
    from engine.compose import folder_lock, run_engine
    from engine.domain import Mode
    from engine.runtime.sandbox_process import SandboxChoice

    log_to_stderr()
    home = data_folder(data_dir)
    choice = SandboxChoice(
        market, None if path is None else str(path), upstream, speed, seed,
        faults=None if faults is None else str(faults),
    )  # fmt: skip
    with folder_lock(home):
        asyncio.run(run_engine(Mode.PAPER, home, choice))


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(help="TCP port on 127.0.0.1; 0 takes a free one")] = 0,
    market: Annotated[str, typer.Option(help="simulated, replay or mirror")] = "simulated",
    path: Annotated[str | None, typer.Option(help="Candles or ticks to replay")] = None,
    upstream: Annotated[str | None, typer.Option(help="Base URL that a mirror follows")] = None,
    seed: Annotated[int, typer.Option(help="Seed of market, keys and faults")] = 7,
    speed: Annotated[float, typer.Option(min=0.1, max=3600, help="Market time per wall time")] = 1.0,
    balance: Annotated[float, typer.Option(min=1, help="Opening balance of the test account, USDT")] = 10_000.0,
    symbols: Annotated[str | None, typer.Option(help="Comma-separated; all by default")] = None,
    faults: Annotated[str | None, typer.Option(help="JSON file of faults to inject")] = None,
    parent_pid: Annotated[int | None, typer.Option(help="End when this process is gone")] = None,
) -> None:
    """Run the practice exchange alone; its first line is JSON with the URLs and a funded test key."""
    from engine.venues.sandbox.options import DEFAULT_SYMBOLS, SandboxOptions
    from engine.venues.sandbox.server import main as serve

    log_to_stderr()
    listed = tuple(symbols.upper().split(",")) if symbols else DEFAULT_SYMBOLS
    serve(
        SandboxOptions(
            port=port, market=market, path=path, upstream=upstream, seed=seed, speed=speed, balance=balance,
            faults=faults, symbols=listed, parent_pid=parent_pid,
        )
    )  # fmt: skip


@app.command()
def backtest(
    data: Annotated[str, typer.Option(help="Parquet or CSV file, folder of SYMBOL.parquet, or a stored data set")],
    strategy: Annotated[str, typer.Option(help="trend, ema-cross, portfolio or a Python file")] = "trend",
    param: Annotated[list[str] | None, typer.Option(help="k=v, may be repeated")] = None,
    symbols: Annotated[str | None, typer.Option(help="Comma-separated; all by default")] = None,
    start: Annotated[str | None, typer.Option(help="First day, UTC")] = None,
    end: Annotated[str | None, typer.Option(help="Last day, UTC")] = None,
    cash: Annotated[float, typer.Option(min=1, help="Opening cash")] = 10_000.0,
    funding: Annotated[str | None, typer.Option(help="Folder of funding rates, or a stored data set of them")] = None,
    panel: Annotated[str, typer.Option(help="Honesty panel: full, fast or off")] = "full",
    costs: CostsOption = "assumed",
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the result here")] = None,
    data_dir: HomeOption = None,
) -> None:
    """Backtest with the same decision code that trades."""
    from engine.datasets.store import located
    from engine.research.backtest import BacktestConfig, run_backtest
    from engine.research.export import write_json
    from engine.research.own_costs import chosen_costs
    from engine.research.report import print_table

    home = data_folder(data_dir)
    params, origin = chosen_costs(home, checked_costs(costs), dict(named_values(param or [])))
    config = BacktestConfig(
        data=located(home, data), home=home, strategy=strategy, params=params, costs=origin,
        start=start, end=end, cash=cash, symbols=tuple(symbols.upper().split(",")) if symbols else (),
        funding=None if funding is None else located(home, funding), panel=panel,
    )  # fmt: skip
    result = run_backtest(config)
    print_table(result)
    if json_path is not None:
        write_json(result.to_json(), json_path)
        console.print(f"Written to {json_path}")


@app.command()
def status(data_dir: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show what the running engine is doing."""
    _show(_engine_action(data_folder(data_dir), "status"), as_json, _status)


@app.command()
def kill(
    level: Annotated[str, typer.Argument(help="pause, cancel, flatten or halt")],
    reason: Annotated[str, typer.Option(help="Kept in the record")] = "command line",
    data_dir: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Press the kill switch."""
    if level not in KILL_LEVELS:
        raise typer.BadParameter(f"{level!r} is not one of {', '.join(KILL_LEVELS)}", param_hint="LEVEL")
    body = {"level": KILL_LEVELS[level], "reason": reason, "actor": "command line", "idempotency_key": uuid.uuid4().hex}
    _show(_engine_action(data_folder(data_dir), "kill", body), as_json, _pairs("Kill switch"))


@app.command()
def resume(
    confirm: Annotated[str, typer.Option(help="RESUME, needed after a halt")] = "",
    data_dir: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Release the kill switch."""
    body = {"confirm": confirm, "actor": "command line", "idempotency_key": uuid.uuid4().hex}
    _show(_engine_action(data_folder(data_dir), "resume", body), as_json, _pairs("Kill switch"))


@app.command()
def export(
    table: Annotated[str, typer.Argument(help="fills, orders, decisions, equity, …")],
    path: Annotated[Path, typer.Argument(help="File to write")],
    file_format: Annotated[str, typer.Option("--format", help="parquet or csv")] = "parquet",
    data_dir: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write one table to a file; works with and without a running engine."""
    from engine.errors import Unreachable

    home, body = data_folder(data_dir), {"table": table, "path": str(path.absolute()), "format": file_format}
    try:
        result = _engine_action(home, "export", body)
    except Unreachable:
        result = _export_offline(home, table, path, file_format)
    _show(result, as_json, _pairs("Export"))


def _export_offline(home: Path, table: str, path: Path, file_format: str) -> dict[str, Any]:
    from engine.compose import folder_lock
    from storage.database import Database
    from storage.exports import export_table

    database = home / "paper.duckdb"
    if not database.exists():
        raise WorkstationError(f"There is no record in {home} yet.")
    with folder_lock(home):
        store = Database(database)
        try:
            return {"rows": export_table(store, table, path, file_format), "path": str(path)}
        finally:
            store.close()


@app.command()
def bundle(
    incident_id: Annotated[int, typer.Argument(metavar="ID", help="Number of the incident")],
    out: Annotated[Path | None, typer.Option(help="Zip file to write [incident-ID.zip]")] = None,
    data_dir: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write one incident with all around it to a redacted zip file; works with and without a running engine."""
    from engine.errors import Unreachable

    home, path = data_folder(data_dir), (out or Path(f"incident-{incident_id}.zip")).absolute()
    try:
        result = _engine_action(home, "incident.bundle", {"incident_id": incident_id, "path": str(path)})
    except Unreachable:
        result = _bundle_offline(home, incident_id, path)
    _show(result, as_json, _pairs("Incident bundle"))


def _bundle_offline(home: Path, incident_id: int, path: Path) -> dict[str, Any]:
    from engine.compose import folder_lock
    from engine.runtime.bundle import make_bundle
    from storage.database import Database

    records = [home / name for name in ("live.duckdb", "paper.duckdb") if (home / name).exists()]
    if not records:
        raise WorkstationError(f"There is no record in {home} yet.")
    with folder_lock(home):
        store = Database(max(records, key=lambda record: record.stat().st_mtime))  # of the mode that ran last
        try:
            return make_bundle(store, incident_id, path)
        finally:
            store.close()


@app.command()
def doctor(data_dir: HomeOption = None, as_json: JsonOption = False) -> None:
    """Check this machine and, when one runs, the engine. Exit code 1 when something is not ok."""
    from engine.errors import Unreachable
    from engine.runtime.doctor import local_checks

    home = data_folder(data_dir)
    try:
        result = _engine_action(home, "doctor")
    except Unreachable as nobody:
        checks = [*local_checks(home), {"name": "Engine", "ok": True, "detail": str(nobody)}]
        result = {"checks": checks}
    _show(result, as_json, _checks("checks"))
    if not all(item["ok"] for item in result["checks"]):
        raise typer.Exit(1)


def _sentence(error: Exception) -> str:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    problems = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg'].removeprefix('Value error, ')}" for p in problems)


def main() -> None:
    """Run the command line; an expected error is one sentence and an exit code, never a traceback."""
    from engine.errors import Unreachable
    from storage.database import StorageError

    try:
        app()
    except (WorkstationError, StorageError, ValueError) as error:
        errors.print(f"[red]{type(error).__name__}[/]: {_sentence(error)}", highlight=False)
        raise SystemExit(UNREACHABLE if isinstance(error, Unreachable) else 1) from None


if __name__ == "__main__":
    main()

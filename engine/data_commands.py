"""``python -m engine import`` and ``data``: data sets at a terminal, with and without a running engine."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from engine.errors import BadRows, DataError
from engine.terminal import HomeOption, JsonOption, console, data_folder, errors

data_app = typer.Typer(name="data", help="Data sets: list, examine, download, repair.", no_args_is_help=True)

SHOWN_FINDINGS = 40
COLOUR = {"error": "red", "warning": "yellow", "note": "dim"}


def import_data(
    path: Annotated[Path, typer.Argument(help="File or folder: Parquet, CSV, .csv.gz, .zip")],
    name: Annotated[str | None, typer.Option(help="Of the data set; by default the path's name")] = None,
    mapping: Annotated[list[str] | None, typer.Option("--map", help="timestamp=COLUMN, may be repeated")] = None,
    funding: Annotated[bool, typer.Option("--funding", help="The files hold funding rates")] = False,
    symbol: Annotated[str | None, typer.Option(help="Of a single file; by default its name tells")] = None,
    leave_out_bad: Annotated[bool, typer.Option("--leave-out-bad", help="Leave bad rows out and say so")] = False,
    data_dir: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store files as a data set, which backtests find by its name."""
    config = {
        "path": str(path), "name": name or _name_of(path), "kind": "funding" if funding else "candles",
        "columns": _pairs(mapping or [], "--map"), "symbol": symbol, "leave_out_bad": leave_out_bad,
    }  # fmt: skip
    try:
        _carry_out("import", data_folder(data_dir), config, as_json)
    except BadRows as refusal:
        if as_json:
            typer.echo(json.dumps({"bad_rows": refusal.rows, "count": refusal.count}, indent=2))
        else:
            _show_bad_rows(refusal)
        raise


@data_app.command("list")
def list_data(data_dir: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the stored data sets, the newest first."""
    from engine.datasets.store import manifests
    from engine.runtime.data_desk import brief

    rows = [brief(manifest) for manifest in manifests(data_folder(data_dir))]
    if as_json:
        typer.echo(json.dumps({"datasets": rows}, indent=2))
        return
    table = Table("data set", "bars", "symbols", "from", "to", "rows", "complete", "errors", "warnings", "sha256")
    for row in rows:
        table.add_row(
            row["dataset"], row["interval"], str(len(row["symbols"])), _day(row["first_ts_ms"]),
            _day(row["last_ts_ms"]), f"{row['rows']:,}", f"{row['coverage']:.2%}", str(row["n_errors"]),
            str(row["n_warnings"]), row["sha256"][:8],
        )  # fmt: skip
    console.print(table)


@data_app.command("doctor")
def examine_data(
    wanted: Annotated[str, typer.Argument(metavar="DATA", help="A data set's name, or a file or folder")],
    funding: Annotated[bool, typer.Option("--funding", help="The files hold funding rates")] = False,
    mapping: Annotated[list[str] | None, typer.Option("--map", help="timestamp=COLUMN, may be repeated")] = None,
    data_dir: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with a data set or with files. Exit code 1 when something is an error."""
    from engine.datasets.findings import by_weight
    from engine.datasets.importing import examine_files
    from engine.datasets.repairing import as_finding
    from engine.datasets.store import load, located

    home = data_folder(data_dir)
    if located(home, wanted).exists() and not Path(wanted).exists():
        findings = by_weight([as_finding(row) for row in load(home, wanted)[0]["findings"]])
    else:
        kind = "funding" if funding else "candles"
        findings = by_weight(examine_files(Path(wanted), kind, _pairs(mapping or [], "--map")))
    if as_json:
        typer.echo(json.dumps({"findings": [finding.as_row() for finding in findings]}, indent=2))
    else:
        table = Table("symbol", "check", "", "what")
        for finding in findings[:SHOWN_FINDINGS]:
            colour = COLOUR[finding.severity]
            table.add_row(finding.symbol, finding.check, f"[{colour}]{finding.severity}[/]", escape(finding.sentence))
        console.print(table if findings else "Nothing was found.")
        if len(findings) > SHOWN_FINDINGS:
            console.print(f"and {len(findings) - SHOWN_FINDINGS:,} more; --json lists all")
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(1)


@data_app.command("download")
def download_data(
    venue: Annotated[str, typer.Argument(help="aster, binance, bybit, okx, bitget or hyperliquid")],
    symbols: Annotated[str, typer.Argument(help="Comma-separated, such as BTCUSDT,ETHUSDT")],
    start: Annotated[str, typer.Option(help="First day, UTC")],
    end: Annotated[str | None, typer.Option(help="Last moment, UTC; by default now")] = None,
    interval: Annotated[str, typer.Option(help="1m, 5m, 1h, 1d, …")] = "1h",
    funding: Annotated[bool, typer.Option("--funding", help="Funding rates instead of candles")] = False,
    name: Annotated[str | None, typer.Option(help="Of the data set; by default VENUE-INTERVAL")] = None,
    base_url: Annotated[str | None, typer.Option(help="Another server that speaks the venue's protocol")] = None,
    data_dir: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download public candles or funding rates. The same command again goes on where the last one stopped."""
    config = {
        "venue": venue, "symbols": symbols.split(","), "start": start, "end": end, "interval": interval,
        "kind": "funding" if funding else "candles", "base_url": base_url,
        "name": name or f"{venue}-{'funding' if funding else interval}",
    }  # fmt: skip
    _carry_out("download", data_folder(data_dir), config, as_json)


@data_app.command("repair")
def repair_data(
    dataset: Annotated[str, typer.Argument(help="NAME or NAME@VERSION")],
    source: Annotated[str, typer.Argument(help="The data set to take bars from")],
    checks: Annotated[str | None, typer.Option(help="Comma-separated: gap, spike, …")] = None,
    mapping: Annotated[list[str] | None, typer.Option("--symbol", help="OURS=THEIRS, may be repeated")] = None,
    tolerance: Annotated[float, typer.Option(help="Largest difference at the edges, fraction")] = 0.002,
    data_dir: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fill gaps and replace bad bars from another data set; the result is a new version with every bar on record."""
    config: dict[str, Any] = {
        "dataset": dataset, "source": source, "symbols": _pairs(mapping or [], "--symbol"), "tolerance": tolerance,
    }  # fmt: skip
    if checks:
        config["checks"] = [check.strip() for check in checks.split(",")]
    _carry_out("repair", data_folder(data_dir), config, as_json)


def _carry_out(kind: str, home: Path, config: dict[str, Any], as_json: bool) -> None:
    from engine.runtime.data_jobs import carry_out, checked

    with _progress(kind, quiet=as_json) as report:
        result = carry_out(kind, home, checked(kind, config), report)
    if as_json:
        typer.echo(json.dumps(result, indent=2))
        return
    if result["dataset"] is None:
        console.print("Nothing could be repaired.")
    else:
        console.print(f"Stored {escape(result['dataset'])}: {result['rows']:,} rows, {result['findings']} findings")
    for sentence in [*result["changes"], *([] if result["dataset"] else result["refused"])]:
        console.print(f"  {escape(sentence)}", soft_wrap=True)


@contextlib.contextmanager
def _progress(kind: str, *, quiet: bool) -> Iterator[Callable[[float, str], None]]:
    if quiet:
        yield lambda share, said: None
        return
    columns = (TextColumn(kind), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeElapsedColumn(),
               TextColumn("{task.description}", markup=False))  # fmt: skip
    with Progress(*columns, console=errors, transient=True) as shown:
        task = shown.add_task("", total=1.0)
        yield lambda share, said: shown.update(task, completed=share, description=said)


def _show_bad_rows(refusal: BadRows) -> None:
    table = Table("file", "row", "found", "expected")
    for row in refusal.rows[:SHOWN_FINDINGS]:
        table.add_row(escape(row["file"]), str(row["row"] or ""), escape(row["found"]), escape(row["expected"]))
    errors.print(table)


def _pairs(texts: list[str], option: str) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise typer.BadParameter(f"{text!r} is not of the form NAME=VALUE", param_hint=option)
        found[name.strip()] = value.strip()
    return found


def _name_of(path: Path) -> str:
    from engine.datasets.reading import stem

    name = stem(path.absolute())
    if not name:
        raise DataError(f"{path} has no name of its own; give one with --name")
    return name


def _day(ts_ms: int) -> str:
    from engine.datasets.times import moment_text

    return moment_text(ts_ms * 1_000_000)[:10]

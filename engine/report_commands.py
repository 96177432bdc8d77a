"""``python -m engine goal`` and ``report``: the chance of the goal, and a run's report as files."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from engine.terminal import HomeOption, JsonOption, console, data_folder

RunOption = Annotated[str | None, typer.Option("--run", help="A finished run of this data folder")]


def goal(
    run: RunOption = None,
    json_file: Annotated[Path | None, typer.Option(help="A backtest's JSON instead of a run")] = None,
    target: Annotated[float, typer.Option(help="USDT")] = 1_000_000.0,
    by: Annotated[str | None, typer.Option(help="Date, YYYY-MM-DD [2026-12-31 while ahead, then a year]")] = None,
    equity: Annotated[float | None, typer.Option(help="USDT to begin with [the account's, or the run's cash]")] = None,
    max_drawdown: Annotated[float, typer.Option(help="Limit, fraction of the peak")] = 0.15,
    ruin_loss: Annotated[float, typer.Option(help="Loss that is ruin, fraction of the equity")] = 0.5,
    leverage: Annotated[float, typer.Option(help="Every return times this")] = 1.0,
    whole: Annotated[bool, typer.Option("--whole", help="Use the in-sample part too; it flatters")] = False,
    data_dir: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how likely a target is by a date, from the account's own record or a backtest's."""
    question = {
        "run_id": run, "target": target, "by": by, "equity": equity, "max_drawdown": max_drawdown,
        "ruin_loss": ruin_loss, "leverage": leverage, "sample": "whole" if whole else "out",
    }  # fmt: skip
    if json_file is None:
        from engine.runtime.remote import ask

        answer = ask(data_folder(data_dir), "goal", question, timeout_s=120.0)
    else:
        answer = _from_file(json_file, question)
    if as_json:
        typer.echo(json.dumps(answer, indent=2, allow_nan=False))
    else:
        show_goal(answer)


def _from_file(path: Path, question: dict[str, Any]) -> dict[str, Any]:
    from engine.research.goal import Goal
    from engine.research.goal_answer import SEED_EQUITY, days_until, goal_answer
    from engine.research.report_files import read_result
    from engine.research.track_record import record_of_backtest

    result = read_result(path)
    record = record_of_backtest(result, out_of_sample=question["sample"] != "whole")
    cash = float((result.get("config") or {}).get("cash") or SEED_EQUITY)
    _, days = days_until(question["by"], datetime.now(UTC).date())
    wanted = Goal(
        cash if question["equity"] is None else question["equity"], question["target"], days, question["max_drawdown"],
        question["ruin_loss"], question["leverage"],
    )  # fmt: skip
    return goal_answer(record, wanted, time.time_ns() // 1_000_000)


def report(
    result_file: Annotated[Path | None, typer.Argument(metavar="RESULT", help="JSON of a backtest")] = None,
    run: RunOption = None,
    live: Annotated[bool, typer.Option("--live", help="Of the account that trades now, paper or live")] = False,
    out: Annotated[Path, typer.Option(help="Folder")] = Path("reports"),
    data_dir: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a result as JSON, as a web page that stands alone, and its risk analysis as PDF; or the account's own.

    With --live: risk_analysis.pdf and live_performance.json of the engine that runs on the data folder.
    """
    if (result_file is not None) + (run is not None) + live != 1:
        raise typer.BadParameter("give a RESULT file, --run RUN_ID or --live", param_hint="RESULT")
    home = data_folder(data_dir)
    paths = [str(path) for path in (_live_files(home, out) if live else _run_files(home, result_file, run, out))]
    if as_json:
        typer.echo(json.dumps({"files": paths}))
        return
    for path in paths:
        console.print(f"Written to {path}", highlight=False)


def _run_files(home: Path, result_file: Path | None, run: str | None, out: Path) -> list[Path]:
    from engine.research.report_files import read_result, write_reports

    result = read_result(result_file) if result_file is not None else _result_of_run(home, str(run))
    return write_reports(result, out)


def _live_files(home: Path, out: Path) -> list[Path]:
    from engine.runtime.live_report_desk import RECORD_FILE, RISK_FILE, write_files
    from engine.runtime.remote import ask

    paper = ask(home, "report.live", {"format": "pdf"}, timeout_s=60.0)["pdf_base64"]
    record = ask(home, "report.live", {"format": "json"}, timeout_s=60.0)
    written = {RISK_FILE: base64.b64decode(paper), RECORD_FILE: json.dumps(record, indent=1, allow_nan=False).encode()}
    return write_files(out, written)


def _result_of_run(home: Path, run_id: str) -> dict[str, Any]:
    from engine.errors import Unreachable
    from engine.runtime.remote import ask

    try:
        answer: dict[str, Any] = ask(home, "run.result", {"run_id": run_id})
        return answer
    except Unreachable:
        return _stored_result(home, run_id)


def _stored_result(home: Path, run_id: str) -> dict[str, Any]:
    from engine.compose import folder_lock
    from engine.errors import CommandRefused
    from storage.database import Database

    with folder_lock(home):
        for record in (home / name for name in ("paper.duckdb", "live.duckdb") if (home / name).exists()):
            store = Database(record)
            try:
                rows = store.rows("SELECT result FROM runs WHERE run_id = ?", [run_id])
            finally:
                store.close()
            if rows and rows[0]["result"]:
                return dict(json.loads(rows[0]["result"]))
    raise CommandRefused(f"There is no finished run {run_id!r} in {home}.")


def show_goal(answer: dict[str, Any]) -> None:
    """Print an answer for people."""
    record, required = answer["record"], answer["required"]
    for sentence in answer["words"]:
        console.print(f"- {sentence}", highlight=False)
    table = Table("chance", "of paths", "5 % to 95 % over what the record may be", title=f"From {record['label']}")
    for row in answer["probabilities"]:
        table.add_row(row["label"], row["words"], f"{row['low']:.2%} to {row['high']:.2%}")
    for row in answer["closed_form"]:
        table.add_row(row["label"], row["words"], "closed form")
    if answer["probabilities"]:
        console.print(table)
    table = Table("no drawdown beyond the limit", "net Sharpe needed", "volatility allowed, a year", "leverage")
    for row in required["rows"]:
        times = "-" if row["leverage"] is None else f"{row['leverage']:.2f} x"
        table.add_row(f"{row['chance']:.0%} chance", f"{row['sharpe']:.2f}", f"{row['volatility']:.0%}", times)
    console.print(table)
    for sentence in (*answer["method"], *record["caveats"]):
        console.print(f"- {sentence}", highlight=False)

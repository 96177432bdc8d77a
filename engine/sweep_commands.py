"""The commands ``sweep`` and ``walkforward`` of the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from engine.strategy_commands import named_values
from engine.terminal import HomeOption, console, data_folder, errors

DataOption = Annotated[
    str | None, typer.Option(help="Parquet or CSV file, folder of SYMBOL.parquet, or a stored data set")
]
StrategyOption = Annotated[str, typer.Option(help="trend, ema-cross or a Python file")]
GridOption = Annotated[list[str] | None, typer.Option(help="name=first:last:step or name=a,b,c; may be repeated")]
ParamOption = Annotated[list[str] | None, typer.Option(help="k=v of a parameter that is not swept; may be repeated")]
SymbolsOption = Annotated[str | None, typer.Option(help="Comma-separated; all by default")]
StartOption = Annotated[str | None, typer.Option(help="First day, UTC")]
EndOption = Annotated[str | None, typer.Option(help="Last day, UTC")]
CashOption = Annotated[float, typer.Option(min=1, help="Opening cash")]
FundingOption = Annotated[str | None, typer.Option(help="Folder of funding rates, or a stored data set of them")]
CostsOption = Annotated[str, typer.Option(help="assumed, or own: as fitted to our own fills")]
RandomOption = Annotated[int | None, typer.Option("--random", min=1, help="Try so many combinations at random")]
SeedOption = Annotated[int, typer.Option(min=0, help="Of the random choice")]
ChooseOption = Annotated[str | None, typer.Option("--choose-by", help="Figure that chooses the best")]
OutOption = Annotated[Path | None, typer.Option("--json", help="Write the result here")]
ResumeOption = Annotated[str | None, typer.Option(help="Go on with this run; nothing else need be given")]
BackendOption = Annotated[str, typer.Option(help="local or dask")]
AddressOption = Annotated[str, typer.Option(help="Of the Dask scheduler, such as tcp://127.0.0.1:8786")]
WorkersOption = Annotated[int, typer.Option(min=0, help="On this machine; 0: one for each core")]


def checked_costs(costs: str) -> str:
    """Return what ``--costs`` said when it is assumed or own; refuse it otherwise."""
    if costs not in ("assumed", "own"):
        raise typer.BadParameter(f"{costs!r} is neither assumed nor own", param_hint="--costs")
    return costs


def _given(
    home: Path, data: str | None, strategy: str, grid: list[str] | None, param: list[str] | None, symbols: str | None,
    funding: str | None, costs: str, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    from engine.datasets.store import located
    from engine.research.own_costs import chosen_costs

    if data is None:
        raise typer.BadParameter("say what to run on, or which run to resume", param_hint="--data")
    swept = named_values(grid or [], "--grid")
    params, origin = chosen_costs(home, checked_costs(costs), dict(named_values(param or [])), swept)
    return {name: value for name, value in more.items() if value is not None} | {
        "data": located(home, data).absolute(), "strategy": strategy, "grid": swept, "params": params, "costs": origin,
        "symbols": tuple(symbols.upper().split(",")) if symbols else (),
        "funding": None if funding is None else located(home, funding).absolute(),
    }  # fmt: skip


def _follow(what: str, run_id: str, work: Callable[[Callable[[float], None]], Any]) -> Any:
    """Run with a bar of progress on stderr; say how to go on when it is broken off."""
    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=errors, transient=True) as bar:
            task = bar.add_task(what, total=1.0)
            return work(lambda share: bar.update(task, completed=share))
    except KeyboardInterrupt:
        errors.print(f"Broken off. What is finished is kept: --resume {run_id}")
        raise SystemExit(130) from None


def _write(answer: dict[str, Any], path: Path | None, run_id: str) -> None:
    from engine.research.export import write_json

    if path is not None:
        write_json(answer, path)
        console.print(f"Written to {path}")
    errors.print(f"Run {run_id}")


def sweep(
    data: DataOption = None, strategy: StrategyOption = "ema-cross", grid: GridOption = None,
    param: ParamOption = None, symbols: SymbolsOption = None, start: StartOption = None, end: EndOption = None,
    cash: CashOption = 10_000.0, funding: FundingOption = None, costs: CostsOption = "assumed",
    n_random: RandomOption = None, seed: SeedOption = 0,
    choose_by: ChooseOption = None, json_path: OutOption = None, resume: ResumeOption = None,
    backend: BackendOption = "local", address: AddressOption = "", workers: WorkersOption = 0,
    data_dir: HomeOption = None,
) -> None:  # fmt: skip
    """Backtest many parameter sets over the same bars; each one counts as a trial."""
    from engine.research.plans import new_run_id, planned, resumed
    from engine.research.sweep import SweepConfig, run_sweep
    from engine.research.sweep_report import print_sweep

    home, where = data_folder(data_dir), {"backend": backend, "address": address, "workers": workers}
    run_id = resume or new_run_id("sw")
    if resume:
        config = resumed(SweepConfig, home, resume).model_copy(update=where)
    else:
        given = _given(
            home, data, strategy, grid, param, symbols, funding, costs, start=start, end=end, cash=cash,
            n_random=n_random, seed=seed,
            choose_by=choose_by,
        )  # fmt: skip
        config = planned(SweepConfig(**given, **where), home, run_id)
    result = _follow("Sweep", run_id, lambda report: run_sweep(config, report))
    print_sweep(result, console)
    _write(result.to_json(), json_path, run_id)


def walkforward(
    data: DataOption = None, strategy: StrategyOption = "ema-cross", grid: GridOption = None,
    param: ParamOption = None, symbols: SymbolsOption = None, start: StartOption = None, end: EndOption = None,
    cash: CashOption = 10_000.0, funding: FundingOption = None, costs: CostsOption = "assumed",
    n_random: RandomOption = None, seed: SeedOption = 0,
    choose_by: ChooseOption = None,
    train_days: Annotated[float, typer.Option(help="Length of each training stretch")] = 365.0,
    test_days: Annotated[float, typer.Option(help="Length of each traded stretch")] = 90.0,
    anchored: Annotated[bool, typer.Option("--anchored", help="Training begins at the first bar always")] = False,
    purge_days: Annotated[float, typer.Option(help="Left out at the end of training")] = 1.0,
    embargo_days: Annotated[float, typer.Option(help="Left out besides, before trading begins")] = 0.0,
    json_path: OutOption = None, resume: ResumeOption = None, backend: BackendOption = "local",
    address: AddressOption = "", workers: WorkersOption = 0, data_dir: HomeOption = None,
) -> None:  # fmt: skip
    """Choose parameters on one stretch of time, trade them on the next, and go on."""
    from engine.research.plans import new_run_id, planned, resumed
    from engine.research.walkforward import WalkForwardConfig, run_walk_forward
    from engine.research.walkforward_report import print_walk_forward

    home, where = data_folder(data_dir), {"backend": backend, "address": address, "workers": workers}
    run_id = resume or new_run_id("wf")
    if resume:
        config = resumed(WalkForwardConfig, home, resume).model_copy(update=where)
    else:
        given = _given(
            home, data, strategy, grid, param, symbols, funding, costs, start=start, end=end, cash=cash,
            n_random=n_random, seed=seed,
            choose_by=choose_by, train_days=train_days, test_days=test_days, anchored=anchored,
            purge_days=purge_days, embargo_days=embargo_days,
        )  # fmt: skip
        config = planned(WalkForwardConfig(**given, **where), home, run_id)
    result = _follow("Walk-forward", run_id, lambda report: run_walk_forward(config, report))
    print_walk_forward(result, console)
    _write(result.to_json(), json_path, run_id)

"""The commands ``train`` and ``models`` of the command line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from engine.domain import NS_PER_S
from engine.errors import DataError, ModelError, WorkstationError
from engine.terminal import REFUSED, HomeOption, JsonOption, console, data_folder, errors

models_app = typer.Typer(name="models", help="Trained models: what there is, what it has shown, which set is in force.")

HOUR_S = 3_600
VersionArgument = Annotated[str, typer.Argument(help="As `models list` shows it")]
ReasonOption = Annotated[str, typer.Option(help="Kept with the change")]


def train(
    data: Annotated[str, typer.Option(help="Parquet or CSV file, folder of SYMBOL.parquet, or a stored data set")],
    models: Annotated[str | None, typer.Option(help="Comma-separated, forecasters and agents; all by default")] = None,
    symbols: Annotated[str | None, typer.Option(help="Comma-separated; all by default")] = None,
    start: Annotated[str | None, typer.Option(help="First day, UTC")] = None,
    end: Annotated[str | None, typer.Option(help="Last day, UTC")] = None,
    funding: Annotated[str | None, typer.Option(help="Folder of funding rates, or a stored data set of them")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The first; that of the learners that will be used")] = 0,
    seeds: Annotated[int, typer.Option(min=1, max=10, help="How often what is random is taught and judged")] = 3,
    as_json: JsonOption = False,
    data_dir: HomeOption = None,
) -> None:
    """Train models on hourly bars, judge them on the last fifth, which they have not seen, and keep them as a set.

    Prints and writes every figure of every model, agent and baseline, with intervals and the spread over seeds. The
    first set is in force at once, with the weights that its judged bars earned: none without skill. A later one
    challenges it.
    """
    from models.beside import wanted_of
    from models.fit import Cancelled
    from models.train import TrainRequest, train_and_store

    home = data_folder(data_dir)
    try:
        names = _listed(models)
        chosen = wanted_of(names, seeds)
        minutes = max(1, round(chosen.seconds / 60.0))
        listed = ", ".join((*chosen.forecasters, *chosen.agents))
        errors.print(f"{listed}; {seeds} seeds where something is random: about {minutes} min of one core")
        wanted = tuple(name.upper() for name in _listed(symbols))
        request = TrainRequest(
            data=_place(home, data), names=names, symbols=wanted, start=start, end=end,
            funding=None if funding is None else _place(home, funding), seed=seed, seeds=seeds,
            reason="trained at the command line", actor="command line",
        )  # fmt: skip
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=errors, transient=True) as bar:
            task = bar.add_task("Inputs", total=1.0)

            def report(name: str, share: float, losses: dict[str, float]) -> bool:
                of = f"{name}, seed {losses['seed']:.0f}" if "seed" in losses else name
                bar.update(task, completed=share, description=of)
                return True

            answer = train_and_store(home, request, time.time_ns(), report)
    except (KeyboardInterrupt, Cancelled):
        errors.print("Broken off: nothing is kept, and the set in force stays.")
        raise SystemExit(130) from None
    except WorkstationError as error:
        raise _refused(error) from None
    _tell(answer, as_json)


def _tell(answer: dict[str, Any], as_json: bool) -> None:
    """Print what a training found, from what it wrote."""
    if as_json:
        console.print_json(json.dumps(answer | {"evidence": _evidence(answer["written"])}, allow_nan=False))
        return
    if answer["written"] is None:
        _print_members(answer)
    else:
        console.out(Path(answer["written"]).read_text(encoding="utf-8"), highlight=False)
        console.print(f"All of this: {answer['written']}, and as JSON beside it.", soft_wrap=True)
    _print_set(answer)


def _evidence(written: str | None) -> dict[str, Any] | None:
    return None if written is None else dict(json.loads(Path(written).with_suffix(".json").read_bytes()))


@models_app.command("list")
def list_command(as_json: JsonOption = False, data_dir: HomeOption = None) -> None:
    """Every trained set, its role, and what it weighs."""
    from models.roles import read_roles
    from models.train import listed_sets

    home = data_folder(data_dir)
    try:
        rows = listed_sets(home)
        roles = read_roles(home)
    except ModelError as error:
        raise _refused(error) from None
    if as_json:
        console.print_json(json.dumps({"sets": rows, "history": roles.history}, allow_nan=False))
        return
    if not rows:
        console.print("No model has been trained yet: python -m engine train --data PATH")
        return
    table = Table(
        Column("version", no_wrap=True), "role", "trained", "bars until", "expires", "symbols", "in the forecast",
        "of a decision",
    )  # fmt: skip
    for row in rows:
        weights = ", ".join(f"{name} {100 * share:.0f} %" for name, share in row["weights"].items() if share > 0.0)
        table.add_row(
            row["version"], row["role"], _day(row["ts_trained"]), _day(row["ts_last"]), _day(row["ts_expires"]),
            str(len(row["symbols"])), weights or "none: no member had skill",
            f"{100 * row['share']:.0f} %",
        )  # fmt: skip
    console.print(table)


@models_app.command("show")
def show_command(version: VersionArgument, as_json: JsonOption = False, data_dir: HomeOption = None) -> None:
    """What the members of one set showed on the bars that judged them."""
    from models.train import described_set

    try:
        answer = described_set(data_folder(data_dir), version)
    except ModelError as error:
        raise _refused(error) from None
    if as_json:
        console.print_json(json.dumps(answer, allow_nan=False))
    else:
        _print_members(answer)
        _print_set(answer)


@models_app.command("promote")
def promote_command(version: VersionArgument, reason: ReasonOption, data_dir: HomeOption = None) -> None:
    """Put a set into force although its evidence may not suffice."""
    from models.roles import promote
    from models.train import described_set

    home = data_folder(data_dir)
    try:
        described_set(home, version)
        promote(home, version, time.time_ns(), reason, "command line")
    except ModelError as error:
        raise _refused(error) from None
    console.print(f"{version} is in force.")


@models_app.command("rollback")
def rollback_command(reason: ReasonOption, data_dir: HomeOption = None) -> None:
    """Put the set before the present one into force again."""
    from models.roles import roll_back

    try:
        roles = roll_back(data_folder(data_dir), time.time_ns(), reason, "command line")
    except ModelError as error:
        raise _refused(error) from None
    console.print(f"{roles.champion} is in force again.")


@models_app.command("retire")
def retire_command(
    name: Annotated[str, typer.Argument(help="A set's version, or a learner such as lstm in whatever set")],
    reason: ReasonOption,
    undo: Annotated[bool, typer.Option("--undo", help="Allow it again")] = False,
    data_dir: HomeOption = None,
) -> None:
    """Use a set or a learner no more, or again. Nothing is deleted; a running engine notices within seconds."""
    from models.roles import restore, retire
    from models.train import retirable

    home = data_folder(data_dir)
    try:
        what = retirable(home, name)
        roles = (restore if undo else retire)(home, name, time.time_ns(), reason, "command line")
    except WorkstationError as error:
        raise _refused(error) from None
    force = f"In force: {roles.champion}." if roles.champion else "No set is in force: decisions follow the rule alone."
    console.print(f"{what} {name} is {'allowed again' if undo else 'retired'}. {force}")


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _place(home: Path, data: str) -> Path:
    from engine.datasets.store import located

    path = located(home, data).absolute()
    if not path.exists():
        raise DataError(f"there is no file, folder or stored data set {data!r}")
    return path


def _refused(error: WorkstationError) -> SystemExit:
    errors.print(f"{str(error)[:1].upper()}{str(error)[1:]}", style="red")
    return SystemExit(REFUSED)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _day(ts: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(ts / NS_PER_S))


def _print_members(answer: dict[str, Any]) -> None:
    """Print one row a member: direction and gain at one hour and a day, and what it weighs."""
    table = Table(
        "model", "right at 1 h", "right at 24 h", "gain at 1 h", "gain at 24 h", "80 % held at 24 h", "weight"
    )
    for row in answer["models"]:
        figures = row["metrics"]
        cells = [
            _share(figures.get(f"{name}_{horizon}"))
            for name, horizon in (
                ("accuracy", 1), ("accuracy", 24), ("log_loss_gain", 1), ("log_loss_gain", 24), ("issued_80", 24),
            )
        ]  # fmt: skip
        table.add_row(row["name"], *cells, "" if row["weight"] is None else f"{100 * row['weight']:.0f} %")
    console.print(table)
    console.print(
        f"Judged from {_day(answer['ts_judged'])} to {_day(answer['ts_last'])}, which no member had learned from. "
        "Means over seeds; ± is one standard error by days. Gain: the base rate's log-loss minus the model's, in "
        "percent; above zero is better. Weights make the forecast."
    )


def _print_set(answer: dict[str, Any]) -> None:
    """Print which role a set has, and what it counts in a decision."""
    console.print(f"{answer['version']} is {answer['role']}.")
    console.print(f"Share of a decision: {100 * answer['share']:.0f} %. {_sentence(answer['why_share'])}")
    for name, why in answer["failed"].items():
        errors.print(f"{name} failed: {why}", style="red")


def _share(figure: dict[str, float] | None) -> str:
    return "unknown" if figure is None else f"{100 * figure['mean']:.2f} ± {100 * figure['spread']:.2f} %"

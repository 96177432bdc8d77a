"""The command line's part about a user's own strategies: a new file from a template, and trying one out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from engine.terminal import JsonOption, console

strategy_app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Your own strategies: a new file, and trying one out."
)


def named_values(pairs: list[str], option: str = "--param") -> dict[str, str]:
    """Return ``name=value`` words as a dict.

    Raises
    ------
    typer.BadParameter
        A word without a name or an equals sign.
    """
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{pair!r} is not of the form name=value", param_hint=option)
        found[name.strip()] = value.strip()
    return found


@strategy_app.command()
def new(
    path: Annotated[Path, typer.Argument(help="Python file to write")],
    vectorised: Annotated[bool, typer.Option(help="signals(past) for whole arrays instead of on_bar(past)")] = False,
) -> None:
    """Write a strategy that runs as it is, to be changed."""
    from engine.strategies.template import write_template

    write_template(path, vectorised=vectorised)
    console.print(f"Written to {path}. Try it out: python -m engine strategy check {path}")


@strategy_app.command()
def check(
    path: Annotated[Path, typer.Argument(help="Python file with a class Strategy")],
    param: Annotated[list[str] | None, typer.Option(help="name=value for its __init__, may be repeated")] = None,
    symbols: Annotated[str | None, typer.Option(help="Comma-separated; those that it will trade")] = None,
    as_json: JsonOption = False,
) -> None:
    """Try a strategy out on made-up bars: does it load, run, decide, repeat, and fast enough? Exit code 1 when not."""
    from engine.research.config import number_of
    from engine.research.strategy_check import SYMBOLS, check_strategy

    params = {name: number_of(value) for name, value in named_values(param or []).items()}
    listed = tuple(word.strip().upper() for word in symbols.split(",")) if symbols else SYMBOLS
    checks = check_strategy(path, params, listed)
    if as_json:
        typer.echo(json.dumps({"checks": checks}, indent=2))
    else:
        table = Table("check", "", "detail")
        for item in checks:
            table.add_row(item["name"], "[green]ok[/]" if item["ok"] else "[red]not ok[/]", item["detail"])
        console.print(table)
    if not all(item["ok"] for item in checks):
        raise typer.Exit(1)

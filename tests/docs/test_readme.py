"""What README and the other documents name exists: commands, options, files, tables of the record."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from engine.__main__ import KILL_LEVELS, app
from storage.schema import metadata

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted({ROOT / "README.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").rglob("*.md")})
COMMANDS = typer.main.get_command(app).commands
README = (ROOT / "README.md").read_text()


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def options_of(command: str) -> set[str]:
    """Return a command's options; of a group, those of its commands."""
    parts = [COMMANDS[command], *getattr(COMMANDS[command], "commands", {}).values()]
    return {flag for part in parts for parameter in part.params for flag in parameter.opts}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text())
    assert not [link for link in links if not (document.parent / link).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_exist_with_their_options(document: Path) -> None:
    for command, rest in re.findall(r"python -m engine ([a-z-]+)([^`\n]*)", document.read_text()):
        assert command in COMMANDS, f"python -m engine {command} in {name_of(document)}"
        unknown = set(re.findall(r"(?<![\w-])(--[a-z-]+)", rest.split("#")[0])) - options_of(command)
        assert not unknown, f"python -m engine {command} has no {unknown}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_scripts_exist(document: Path) -> None:
    named = set(re.findall(r"python ((?:scripts|benchmarks)/\w+\.py)", document.read_text()))
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_table_of_commands_is_complete() -> None:
    named = set(re.findall(r"^\| `python -m engine ([a-z-]+)", README, flags=re.MULTILINE))
    assert named == set(COMMANDS)


def test_options_in_the_table_exist() -> None:
    rows = re.findall(r"^\| `python -m engine ([a-z-]+)[^|]*`\s*\|(.*)\|$", README, flags=re.MULTILINE)
    assert len(rows) == len(COMMANDS)
    for command, text in rows:
        assert set(re.findall(r"`(--[a-z-]+)", text)) <= options_of(command), command


def test_commands_with_json_take_it() -> None:
    sentence = next(line for line in README.split("\n\n") if "take `--json`" in line).split("take `--json`")[0]
    named = re.findall(r"`([a-z]+)`", sentence)
    assert len(named) == 6
    assert all("--json" in options_of(command) for command in named)


def test_kill_levels_are_named_as_they_are() -> None:
    row = next(line for line in README.splitlines() if line.startswith("| `python -m engine kill LEVEL`"))
    assert set(re.findall(r"`(\w+)`", row.split("|", 2)[2])) == set(KILL_LEVELS)


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^make (\w+)", README, flags=re.MULTILINE))
    assert targets == {"run", "test"}
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_folders_in_the_tree_exist_with_what_is_said_to_be_in_them() -> None:
    tree = README.split("## Where things are")[1].split("```")[1]
    for folder, said in re.findall(r"^(\w+)/ +(.*)$", tree, flags=re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder
        assert not [name for name in re.findall(r"(\w+)/", said) if not (ROOT / folder / name).is_dir()], folder
    pages = re.search(r"^pages/ .*: (.*)$", tree, flags=re.MULTILINE)
    assert pages is not None
    assert set(pages.group(1).split()) == {path.stem for path in (ROOT / "pages").glob("*.py")}


def test_defaults_of_the_loss_limits_are_as_stated() -> None:
    from engine.settings import SystemConfig

    assert f"{SystemConfig().max_daily_loss:.0%}".replace("%", " %") + " loss in a day" in README
    assert f"{SystemConfig().max_total_drawdown:.0%}".replace("%", " %") + " drawdown halts" in README


def test_exported_tables_in_the_runbook_exist() -> None:
    named = re.findall(r"engine export (\w+)", (ROOT / "docs" / "runbook.md").read_text())
    assert named
    assert set(named) <= set(metadata.tables)


def test_every_direct_dependency_has_its_reason() -> None:
    text = (ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text()
    pinned = re.findall(r"^([a-z-]+)==", (ROOT / "requirements.txt").read_text(), flags=re.MULTILINE)
    table = "\n".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| "))
    assert len(pinned) > 20
    assert not [name for name in pinned if not re.search(rf"(?<![\w-]){name}(?![\w-])", table)]

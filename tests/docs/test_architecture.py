"""docs/architecture.md describes the tree that is there, and the import rules it states hold."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text()
FOLDERS = ("app", "engine", "storage", "pages", "models")
REFRESH = "run python scripts/list_modules.py"
PAGE_MAY_IMPORT = {"app", "engine.domain"}
CORE_MAY_IMPORT = {"numpy", "numba", "engine.core", "engine.domain", "engine.limits", "engine.underlyings"}


def listed() -> dict[str, str]:
    return dict(re.findall(r"^- `([^`]+\.py)`: (.*)$", DOCUMENT, flags=re.MULTILINE))


def present() -> dict[str, Path]:
    return {str(path.relative_to(ROOT)): path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= (
                {node.module or ""} if node.module != "engine" else {f"engine.{alias.name}" for alias in node.names}
            )
    return names


def foreign(names: set[str], allowed: set[str]) -> set[str]:
    """Names outside the standard library that are not in ``allowed`` or below something in it."""
    return {
        name
        for name in names
        if name.split(".")[0] not in sys.stdlib_module_names
        and not any(name == root or name.startswith(f"{root}.") for root in allowed)
    }


def test_every_module_is_listed() -> None:
    missing = sorted(set(present()) - set(listed()))
    assert not missing, f"not in docs/architecture.md: {missing}; {REFRESH}"


def test_every_listed_module_exists() -> None:
    gone = sorted(set(listed()) - set(present()))
    assert not gone, f"in docs/architecture.md but not in the tree: {gone}; {REFRESH}"


def test_each_line_is_the_modules_own_sentence() -> None:
    stale = []
    for name, path in present().items():
        said = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].split())
        if listed().get(name) != said.replace("``", "`"):
            stale.append(name)
    assert not stale, f"described differently by their own docstring: {stale}; {REFRESH}"


def test_every_path_named_in_the_text_exists() -> None:
    text = DOCUMENT.split("<!-- modules: begin -->")[0]
    named = set(re.findall(r"`((?:app|pages|engine|storage|benchmarks|scripts|tests|docs)/[\w./-]+)`", text))
    assert named, "the pattern finds no path at all"
    assert not [name for name in named if not (ROOT / name).exists()]


def test_jobs_in_the_table_are_the_jobs_that_run() -> None:
    source = (ROOT / "engine" / "runtime" / "engine.py").read_text()
    scheduled = set(re.findall(r'\badd\(.*id="([\w-]+)"\)', source))
    table = DOCUMENT.split("APScheduler runs these jobs")[1].split("**Screen.**")[0]
    assert scheduled
    assert scheduled == {
        name for row in re.findall(r"^\| (`.*?) \|", table, flags=re.M) for name in re.findall(r"`([\w-]+)`", row)
    }


@pytest.mark.parametrize("path", sorted((ROOT / "pages").glob("*.py")), ids=lambda path: path.name)
def test_pages_import_only_the_screen(path: Path) -> None:
    assert not foreign(imported(path), PAGE_MAY_IMPORT | {"streamlit", "pandas"})


@pytest.mark.parametrize("path", sorted((ROOT / "engine" / "core").glob("*.py")), ids=lambda path: path.name)
def test_core_imports_only_the_vocabulary(path: Path) -> None:
    assert not foreign(imported(path), CORE_MAY_IMPORT)


def test_foreign_imports_are_found() -> None:
    assert foreign({"math", "numpy.typing", "engine.domain", "engine.domains", "ccxt.pro"}, CORE_MAY_IMPORT) == {
        "engine.domains", "ccxt.pro",
    }  # fmt: skip


def test_import_contracts_hold() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    command = str(tool) if tool.exists() else shutil.which("lint-imports")
    assert command, "import-linter is not installed: pip install -r requirements-dev.txt"
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert re.search(r"Contracts: \d+ kept, 0 broken", done.stdout)

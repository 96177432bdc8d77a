"""Sizes and shapes of the code, so that it stays readable: modules, pages, functions, and what a page may contain."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULE_LINES = 400
PAGE_LINES = 150
FUNCTION_LINES = 50
COMPILED_LOOP_LINES = 80
PACKAGES = ("app", "engine", "storage", "pages", "models")

# Functions that may be longer than FUNCTION_LINES, with the reason. A new entry needs one.
LONG_FUNCTIONS: dict[str, str] = {}

# Modules that may be longer than MODULE_LINES, with the reason.
LONG_MODULES = {"engine/domain.py": "the whole vocabulary on one page: records and enums, no logic"}

# Libraries that belong behind the client: a page shows what it is given.
NOT_IN_A_PAGE = {
    "duckdb", "sqlalchemy", "pyarrow", "numpy", "ccxt", "torch", "numba", "requests", "aiohttp", "storage",
}  # fmt: skip
SQL = ("select ", "insert ", "update ", "delete from ")


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def pages() -> list[Path]:
    return sorted((ROOT / "pages").glob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without decorators and docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    is_docstring = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and type(first.value.value) is str
    )
    return lines - ((first.end_lineno or 0) - first.lineno + 1) if is_docstring else lines


def is_compiled(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    names = [ast.unparse(decorator) for decorator in function.decorator_list]
    return any(name.startswith(("njit", "kernel", "numba.njit")) for name in names)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_module_is_small_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    limit = MODULE_LINES if name_of(path) not in LONG_MODULES else MODULE_LINES + 50
    assert len(text.splitlines()) <= limit, f"{name_of(path)} is longer than {limit} lines: split it"
    assert ast.get_docstring(ast.parse(text)), f"{name_of(path)} does not say in its first line what it is for"


def test_functions_are_short() -> None:
    too_long = []
    for path in modules():
        for function in functions(ast.parse(path.read_text())):
            limit = COMPILED_LOOP_LINES if is_compiled(function) else FUNCTION_LINES
            name = f"{name_of(path)}:{function.name}"
            if code_lines(function) > limit and name not in LONG_FUNCTIONS:
                too_long.append(f"{name} has {code_lines(function)} lines, limit {limit}")
    assert not too_long, "\n".join(too_long)


def test_exceptions_are_still_needed() -> None:
    found = {
        f"{name_of(path)}:{function.name}": code_lines(function)
        for path in modules()
        for function in functions(ast.parse(path.read_text()))
    }
    stale = [name for name in LONG_FUNCTIONS if found.get(name, 0) <= FUNCTION_LINES]
    stale += [name for name in LONG_MODULES if len((ROOT / name).read_text().splitlines()) <= MODULE_LINES]
    assert not stale, f"no longer long, remove from the exceptions: {stale}"


@pytest.mark.parametrize("path", pages(), ids=name_of)
def test_page_is_thin(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= PAGE_LINES
    assert not imported(tree) & NOT_IN_A_PAGE, f"{path.name} imports {imported(tree) & NOT_IN_A_PAGE}"
    assert not arithmetic(tree), f"{path.name} calculates at line {arithmetic(tree)}: that belongs to app or the engine"
    assert not sql(tree), f"{path.name} holds SQL at line {sql(tree)}"
    assert not catch_all(tree), f"{path.name} catches everything at line {catch_all(tree)}"


def imported(tree: ast.AST) -> set[str]:
    """Top-level names of everything imported."""
    plain = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    from_ = {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return plain | from_


def arithmetic(tree: ast.AST) -> list[int]:
    """Lines with arithmetic on numbers. Joining text, and repeating an ``s`` for a plural, is not arithmetic."""
    operators = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, operators)]


def sql(tree: ast.AST) -> list[int]:
    """Lines with a text that starts like a statement and names a table."""
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [
        node.lineno
        for node in texts
        if node.value.lower().startswith(SQL)
        and any(word in node.value.lower() for word in (" from ", " into ", " set "))
    ]


def catch_all(tree: ast.AST) -> list[int]:
    """Lines of bare and all-catching ``except``."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type is not None else "Exception"
            if caught in ("Exception", "BaseException"):
                found.append(node.lineno)
    return found


def test_the_checks_can_fail() -> None:
    bad = ast.parse(
        "import duckdb\nx = (a - b) / c\nq = 'SELECT * FROM t'\ntry:\n    pass\nexcept Exception:\n    pass\n"
        "@njit(cache=True)\ndef f():\n    '''Say.\n\n    More.\n    '''\n    return 1\n"
    )
    assert imported(bad) & NOT_IN_A_PAGE == {"duckdb"}
    assert arithmetic(bad) == [2, 2]
    assert sql(bad) == [3]
    assert catch_all(bad) == [6]
    (function,) = functions(bad)
    assert is_compiled(function)
    assert code_lines(function) == 2

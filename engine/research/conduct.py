"""What the source of a user's strategy gives away: doors out of the room in which it is handed the past alone.

Nothing is forbidden: a file with such a door runs. But what comes in through it cannot be checked, so it is told, and
it stands in the way of promotion. Modules are known by a list of those that a rule needs: every other one may open
anything, and a module that lies beside the file is part of neither its version nor the copy that trades.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path

KNOWN = frozenset([
    "__future__", "abc", "bisect", "calendar", "cmath", "collections", "contextlib", "copy", "dataclasses",
    "datetime", "decimal", "enum", "fractions", "functools", "heapq", "itertools", "math", "numba", "numbers",
    "numpy", "operator", "pandas", "random", "re", "scipy", "sklearn", "statistics", "statsmodels", "string",
    "textwrap", "time", "types", "typing", "typing_extensions", "warnings", "zoneinfo",
])  # fmt: skip
"""Modules that compute. Their parts that open something are in ``FILES`` and ``PARTS``."""

FOR_STRATEGIES = ("engine.strategies.user", "engine.strategies.answers", "engine.domain")
OUTSIDE = frozenset([
    "os", "io", "pathlib", "glob", "shutil", "socket", "requests", "urllib", "http", "aiohttp", "httpx", "websockets",
    "ccxt", "subprocess", "multiprocessing", "threading", "asyncio", "concurrent", "duckdb", "sqlite3", "pyarrow",
    "polars", "shelve", "tempfile", "mmap", "posix", "fileinput", "linecache", "pickle", "joblib", "zipfile", "gzip",
    "bz2", "lzma", "tarfile",
])  # fmt: skip
INSIDES = frozenset([
    "gc", "inspect", "ctypes", "sys", "importlib", "builtins", "engine", "storage", "app", "runpy", "pkgutil",
    "marshal", "code",
])  # fmt: skip
PARTS = frozenset(["datasets", "ctypeslib", "f2py", "npyio", "DataSource", "hub", "distutils", "testing", "__dict__"])
"""Parts of known modules that open files or lead to what does."""

FILES = frozenset([
    "open", "fromfile", "loadtxt", "genfromtxt", "fromregex", "memmap", "open_memmap", "urlopen", "urlretrieve",
    "ExcelFile", "HDFStore", "loadmat", "mmread", "read_text", "read_bytes", "read_csv", "read_table", "read_fwf",
    "read_parquet", "read_feather", "read_orc", "read_json", "read_pickle", "read_excel", "read_sql", "read_hdf",
    "read_html", "read_xml", "read_clipboard",
])  # fmt: skip
READERS = ("read_", "load_", "fetch_")  # how functions of known modules that open something begin
LOADS = frozenset(["load", "loads"])
FRAMES = frozenset([
    "_getframe", "f_back", "f_locals", "f_globals", "tb_frame", "gi_frame", "get_objects", "get_referrers",
    "__builtins__", "__globals__", "__subclasses__", "__loader__", "__spec__", "__code__", "__mro__", "__base__",
    "__bases__", "__getattribute__",
])  # fmt: skip
CLOCKS = frozenset([
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns",
    "time.process_time", "time.gmtime", "time.localtime", "time.ctime", "time.strftime", "datetime.datetime.now",
    "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today", "pandas.Timestamp.now",
    "pandas.Timestamp.utcnow", "pandas.Timestamp.today", "pandas.to_datetime.now", "uuid.uuid4", "uuid.uuid1",
])  # fmt: skip
SEEDED = frozenset(["default_rng", "RandomState", "Random", "Generator", "PCG64", "SeedSequence"])
DYNAMIC = frozenset(["eval", "exec", "compile", "__import__", "globals", "breakpoint", "input"])
WHOLE_ENGINE = "a way into the engine that runs it"
ELSEWHERE = "a way to files, connections or other processes"

Told = Iterator[tuple[int, str]]


class _Source:
    """A parsed file with what its names stand for: ``np`` for numpy, ``grab`` for numpy.load."""

    def __init__(self, tree: ast.Module) -> None:
        self.nodes = list(ast.walk(tree))
        self.parent = {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}
        self.bound = self._bound()
        self.names: dict[str, str] = {}
        self.modules: set[str] = set()
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    full = alias.name if alias.asname else alias.name.split(".")[0]
                    self.names[alias.asname or full] = full
                    self.modules.add(alias.asname or full)
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                self.names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        for _ in range(3):  # names that stand for names that stand for names
            for node in self.nodes:
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name | ast.Attribute):
                    self._follow(node)

    def _bound(self) -> set[str]:
        stored = {node.id for node in self.nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
        stored |= {node.arg for node in self.nodes if isinstance(node, ast.arg)}
        defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        return stored | {node.name for node in self.nodes if isinstance(node, defined)}

    def _follow(self, node: ast.Assign) -> None:
        full = self.full(node.value)
        for target in node.targets:
            if full and isinstance(target, ast.Name):
                self.names[target.id] = full
                if isinstance(node.value, ast.Name) and node.value.id in self.modules:
                    self.modules.add(target.id)

    def full(self, node: ast.AST) -> str:
        """Return what a name or a chain of attributes stands for; empty where it does not begin with an import."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, "")
        if isinstance(node, ast.Attribute):
            base = self.full(node.value)
            return f"{base}.{node.attr}" if base else ""
        return ""

    def is_passed_on(self, node: ast.Name) -> bool:
        """Return whether a module is used as a value, after which nobody can read what is called on it."""
        if node.id not in self.modules or not isinstance(node.ctx, ast.Load):
            return False
        above = self.parent.get(node)
        plain = isinstance(above, ast.Assign) and all(isinstance(target, ast.Name) for target in above.targets)
        return not plain and not (isinstance(above, ast.Attribute) and above.value is node)


def conduct(path: Path) -> tuple[str, ...]:
    """Return a sentence for each door that the source of a strategy opens, in the order of lines.

    Parameters
    ----------
    path : Path
        A Python file that could be loaded.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ()
    source = _Source(tree)
    makers = (_imports, _references, _calls, _lasting)
    found = dict.fromkeys(sorted({pair for maker in makers for pair in maker(source)}))
    return tuple(f"Line {line} of the strategy {what}: what comes in there cannot be checked." for line, what in found)


def _imports(source: _Source) -> Told:
    for node in source.nodes:
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node.lineno, f"imports {'.' * node.level}{node.module or ''}, a file that is no part of this version"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from _imported(node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from _imported(node.lineno, node.module)
            for alias in node.names:
                yield from _reached(node.lineno, f"{node.module}.{alias.name}", alias.name)
                if alias.name == "*":
                    yield (
                        node.lineno,
                        f"imports every name of {node.module}, so that nobody can read what they stand for",
                    )


def _imported(line: int, name: str) -> Told:
    top = name.split(".")[0]
    if name.startswith(FOR_STRATEGIES):
        yield from _reached(line, name, name)
    elif top in OUTSIDE:
        yield line, f"imports {top}, {ELSEWHERE}"
    elif top in INSIDES:
        yield line, f"imports {top}, {WHOLE_ENGINE}"
    elif top not in KNOWN:
        yield line, f"imports {top}, which is not among the modules that only compute, nor a part of this version"
    else:
        yield from _reached(line, name, name)


def _reached(line: int, full: str, shown: str) -> Told:
    """Say what a name from a known module leads to, if that is more than numbers."""
    if full.startswith(FOR_STRATEGIES):
        parts = full.split(".")[2:]
    elif full.split(".")[0] in KNOWN:
        parts = full.split(".")[1:]
    else:
        return  # told where it is imported
    for part in parts:
        if part in INSIDES:
            yield line, f"reaches {part} through {shown}, {WHOLE_ENGINE}"
        elif part in OUTSIDE | PARTS:
            yield line, f"reaches {part} through {shown}, {ELSEWHERE}"
    if parts and (parts[-1] in FILES | LOADS or parts[-1].startswith(READERS)):
        yield line, f"opens a file ({shown})"


def _references(source: _Source) -> Told:
    for node in source.nodes:
        if not isinstance(node, ast.Attribute | ast.Name):
            continue
        name = node.attr if isinstance(node, ast.Attribute) else node.id
        if name in FRAMES:
            yield node.lineno, f"uses {name}, {WHOLE_ENGINE}"
        full, shown = source.full(node), ast.unparse(node)
        if full in CLOCKS:
            yield node.lineno, f"asks the clock ({shown}), which says something else in every run"
        elif full and isinstance(node.ctx, ast.Load):
            yield from _reached(node.lineno, full, shown)
        if isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
            continue
        if source.is_passed_on(node):
            yield node.lineno, f"hands {name} on as a value, so that nobody can read what is called on it"
        if name in source.bound or name in source.names or not hasattr(builtins, name):
            continue
        if name in DYNAMIC:
            yield node.lineno, f"runs code that is not in the file ({name})"
        elif name == "open":
            yield node.lineno, "opens a file (open)"


def _calls(source: _Source) -> Told:
    calls = [node for node in source.nodes if isinstance(node, ast.Call)]
    seeds = any(source.full(call.func) in ("random.seed", "numpy.random.seed") for call in calls)
    for call in calls:
        name, full = ast.unparse(call.func), source.full(call.func)
        last = name.rsplit(".", 1)[-1]
        if last in FILES:
            yield call.lineno, f"opens a file ({name})"
        elif isinstance(call.func, ast.Attribute) and last in ("eval", "exec"):
            yield call.lineno, f"runs code that is not in the file ({name})"
        elif _draws(full, call) and not seeds:
            yield call.lineno, f"draws random numbers without a fixed seed ({name})"
        elif last == "setflags":
            yield call.lineno, "changes the flags of arrays, which are read-only for a reason"
        elif last in ("getattr", "vars") and call.args and source.full(call.args[0]):
            yield (
                call.lineno,
                f"looks {ast.unparse(call.args[0])} through by name, so that nobody can read what it finds",
            )


def _draws(full: str, call: ast.Call) -> bool:
    last = full.rsplit(".", 1)[-1]
    if not full.startswith(("random.", "numpy.random.")) or last == "seed":
        return False
    return last not in SEEDED or (not call.args and not call.keywords)


def _lasting(source: _Source) -> Told:
    for node in source.nodes:
        if isinstance(node, ast.Global):
            yield node.lineno, f"keeps {', '.join(node.names)} outside itself, where an earlier run can leave something"

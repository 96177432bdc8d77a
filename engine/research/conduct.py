"""What the source of a user's strategy gives away: doors out of the room in which it is handed the past alone.

Nothing is forbidden: a file with such a door runs. But what comes in through it cannot be checked, so it is told, and
it stands in the way of promotion.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

FILES = frozenset(
    [
        "open",
        "fromfile",
        "loadtxt",
        "genfromtxt",
        "memmap",
        "read_parquet",
        "read_csv",
        "read_table",
        "read_feather",
        "read_json",
        "read_pickle",
        "read_text",
        "read_bytes",
        "read_excel",
        "read_sql",
        "read_hdf",
        "urlopen",
        "urlretrieve",
    ]
)
LOADERS = frozenset(["np.load", "numpy.load", "pickle.load", "joblib.load", "json.load", "torch.load"])
OUTSIDE = frozenset(
    [
        "os",
        "io",
        "pathlib",
        "glob",
        "shutil",
        "socket",
        "requests",
        "urllib",
        "http",
        "aiohttp",
        "httpx",
        "websockets",
        "ccxt",
        "subprocess",
        "multiprocessing",
        "duckdb",
        "sqlite3",
        "pyarrow",
        "polars",
        "shelve",
        "tempfile",
        "mmap",
    ]
)
INSIDES = frozenset(["gc", "inspect", "ctypes", "sys", "importlib", "builtins", "engine", "storage", "app"])
FOR_STRATEGIES = ("engine.strategies", "engine.domain")
FRAMES = frozenset(
    [
        "_getframe",
        "f_back",
        "f_locals",
        "f_globals",
        "tb_frame",
        "get_objects",
        "get_referrers",
        "__builtins__",
        "__globals__",
    ]
)
CLOCKS = frozenset(
    [
        "time.time",
        "time.time_ns",
        "time.monotonic",
        "time.perf_counter",
        "datetime.now",
        "datetime.utcnow",
        "datetime.today",
        "date.today",
        "datetime.datetime.now",
        "datetime.datetime.utcnow",
        "datetime.date.today",
        "uuid.uuid4",
        "uuid.uuid1",
    ]
)
SEEDED = frozenset(["default_rng", "RandomState", "Random", "Generator", "PCG64", "SeedSequence"])
DYNAMIC = frozenset(["eval", "exec", "compile", "__import__"])


def _dotted(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        named = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        named = [node.module]
    else:
        return []
    return [name.split(".")[0] for name in named if not name.startswith(FOR_STRATEGIES)]


def _draws(name: str, call: ast.Call, unseeded: set[str]) -> bool:
    last = name.rsplit(".", 1)[-1]
    if last in SEEDED:
        return not call.args and not call.keywords
    return name.startswith(("np.random.", "numpy.random.", "random.")) or name in unseeded


def _told(tree: ast.AST) -> Iterator[tuple[int, str]]:
    unseeded = {
        alias.asname or alias.name
        for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module in ("random", "numpy.random")
        for alias in node.names
    } - SEEDED  # fmt: skip
    seeds = any(isinstance(node, ast.Call) and _dotted(node.func).endswith("random.seed") for node in ast.walk(tree))
    for node in ast.walk(tree):
        for module in _modules(node):
            if module in OUTSIDE:
                yield node.lineno, f"imports {module}, a way to files, connections or other processes"  # type: ignore[attr-defined]
            if module in INSIDES:
                yield node.lineno, f"imports {module}, a way into the engine that runs it"  # type: ignore[attr-defined]
        if isinstance(node, ast.Global):
            yield node.lineno, f"keeps {', '.join(node.names)} outside itself, where an earlier run can leave something"
        if isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            if name in FRAMES:
                yield node.lineno, f"uses {name}, a way into the engine that runs it"
        if not isinstance(node, ast.Call):
            continue
        name = _dotted(node.func)
        last = name.rsplit(".", 1)[-1]
        if last in FILES or name in LOADERS:
            yield node.lineno, f"opens a file ({name})"
        elif name in DYNAMIC:
            yield node.lineno, f"runs code that is not in the file ({name})"
        elif name in CLOCKS:
            yield node.lineno, f"asks the clock ({name}), which says something else in every run"
        elif _draws(name, node, unseeded) and not seeds:
            yield node.lineno, f"draws random numbers without a fixed seed ({name})"
        elif last == "setflags":
            yield node.lineno, "changes the flags of arrays, which are read-only for a reason"


def conduct(path: Path) -> tuple[str, ...]:
    """Return a sentence for each door that the source of a strategy opens, in the order of lines.

    Parameters
    ----------
    path : Path
        A Python file that could be loaded.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError):
        return ()
    found = dict.fromkeys(sorted(set(_told(tree))))
    return tuple(f"Line {line} of the strategy {what}: what comes in there cannot be checked." for line, what in found)

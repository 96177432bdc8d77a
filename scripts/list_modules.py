"""Writes the list of modules in docs/architecture.md from the modules' own first sentences.

    python scripts/list_modules.py [--check]

With ``--check`` nothing is written; the exit code is 1 when the list in the document is not the one of the tree.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "architecture.md"
PACKAGES = ("app", "pages", "engine", "storage", "models")
BEGIN, END = "<!-- modules: begin -->", "<!-- modules: end -->"


def modules() -> list[Path]:
    """Return every module, by package in the order of ``PACKAGES``, each folder's own file first."""
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"), key=order)]


def order(path: Path) -> tuple[str, bool, str]:
    """Sort by folder, and within it the package's own file first."""
    return (str(path.parent), path.name != "__init__.py", path.name)


def first_sentence(path: Path) -> str:
    """Return the first paragraph of a module's docstring on one line."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("``", "`")


def listing() -> str:
    """Return the list as Markdown: one heading a folder, one line a module."""
    lines: list[str] = []
    folder = None
    for path in modules():
        if path.parent != folder:
            folder = path.parent
            lines += ["", f"### {folder.relative_to(ROOT)}/", ""]
        lines.append(f"- `{path.relative_to(ROOT)}`: {first_sentence(path)}")
    return "\n".join(lines[1:])


def split(document: str) -> tuple[str, str, str]:
    """Return what is before, inside and after the markers."""
    before, rest = document.split(BEGIN)
    inside, after = rest.split(END)
    return before, inside.strip("\n"), after


def main() -> None:
    before, inside, after = split(DOCUMENT.read_text())
    if "--check" in sys.argv[1:]:
        if inside != listing():
            print("docs/architecture.md does not list the modules as they are: run python scripts/list_modules.py")
            raise SystemExit(1)
        return
    DOCUMENT.write_text(f"{before}{BEGIN}\n{listing()}\n{END}{after}")


if __name__ == "__main__":
    main()

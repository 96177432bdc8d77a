"""What a report is made of, before it becomes a screen, a web page or paper. Plain JSON throughout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

Cell = str | tuple[str, str]
"""Text, or text with a tone: gain, loss, warn, mute, or heat levels g1 to g3 and l1 to l3."""


class Table(NamedTuple):
    """Rows of written cells under headings."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""
    wide: tuple[int, ...] = (0,)  # columns of words, written from the left


class Line(NamedTuple):
    """One curve: its points are ``[ts_ms, value]``."""

    label: str
    colour: str
    points: list[list[float]]
    filled: bool = False


class Chart(NamedTuple):
    """Curves over time on one axis."""

    title: str
    unit: str  # of the axis: "USDT", "%", "× equity"
    lines: list[Line]
    log: bool = False
    split_ms: int | None = None  # where the out-of-sample part begins


class Section(NamedTuple):
    """One part of the report."""

    name: str  # short and stable: a page picks its parts by it
    title: str
    words: Sequence[str] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    computed: bool = True


class Badge(NamedTuple):
    """A word that must be seen first, with its tone."""

    text: str
    tone: str
    meaning: str = ""


class Document(NamedTuple):
    """A whole report."""

    title: str
    subtitle: str
    badges: list[Badge]
    sections: list[Section]

    def section(self, name: str) -> Section | None:
        """Return a section by name."""
        return next((section for section in self.sections if section.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "title": self.title, "subtitle": self.subtitle, "badges": [badge._asdict() for badge in self.badges],
            "sections": [
                section._asdict() | {
                    "words": list(section.words),
                    "tables": [table._asdict() for table in section.tables],
                    "charts": [chart._asdict() | {"lines": [line._asdict() for line in chart.lines]}
                               for chart in section.charts],
                }
                for section in self.sections
            ],
        }  # fmt: skip


NOT_COMPUTED = "Not computed for this run."


def missing(name: str, title: str) -> Section:
    """Return a section for something that this result does not hold: said, not left out."""
    return Section(name, title, [NOT_COMPUTED], computed=False)


def gathered(doc: Document) -> Document:
    """Return a document whose empty sections are named in one last section: on paper, boxes of nothing are noise."""
    empty = [section for section in doc.sections if list(section.words) == [NOT_COMPUTED]]
    if not empty:
        return doc
    names = ", ".join(section.title for section in empty)
    words = [f"{names}. This result was made without them; run the backtest again to have them."]
    kept = [section for section in doc.sections if section not in empty]
    return doc._replace(sections=[*kept, Section("absent", "Not computed for this run", words, computed=False)])


def cell(value: Cell) -> tuple[str, str]:
    """Return a cell's text and tone."""
    return (value, "") if isinstance(value, str) else (value[0], value[1])

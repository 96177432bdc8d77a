"""The report on paper. reportlab is loaded on first use only."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from engine.research.report_html import FOOTER
from engine.research.report_parts import Chart, Document, Section, Table, cell, gathered
from engine.research.report_plot import shapes

WIDTH, CHART_HEIGHT = 503.0, 140.0
INK, SOFT, LINE = "#1d2430", "#5b6575", "#d9dee7"
TONES = {"gain": "#0f7b55", "loss": "#c03546", "warn": "#9a6a0b", "mute": SOFT}
HEATS = {"g1": "#e4f4ec", "g2": "#bfe5d1", "g3": "#8fd1b0", "l1": "#fbe6e8", "l2": "#f4c2c8", "l3": "#e9939d"}
PLAIN = {"−": "-", "–": "-", "σ": "sigma", "μ": "mu", "≥": ">=", "≤": "<=", "→": "to", "\u202f": " ", "…": "..."}


def pdf_bytes(doc: Document) -> bytes:
    """Return a document as a PDF file."""
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer

    styles = _styles()
    story: list[Any] = [
        Paragraph(_plain(doc.title), styles["title"]), Paragraph(_plain(doc.subtitle), styles["soft"]), Spacer(1, 4),
        Paragraph(" &nbsp; ".join(f'<font color="{TONES.get(badge.tone, INK)}">[{_plain(badge.text)}]</font>'
                                  for badge in doc.badges), styles["body"]),
    ]  # fmt: skip
    for section in gathered(doc).sections:
        story += _section(section, styles)
    target = BytesIO()
    margin = 14 * mm
    paper = SimpleDocTemplate(
        target, pagesize=A4, leftMargin=margin, rightMargin=margin, topMargin=margin, bottomMargin=16 * mm,
        title=_plain(doc.title), author="Astrolabe", pageCompression=0, invariant=1,
    )  # fmt: skip
    paper.build(story, onFirstPage=_foot, onLaterPages=_foot)
    return target.getvalue()


def _foot(canvas: Any, paper: Any) -> None:
    canvas.setFont("Helvetica", 6.5)
    canvas.setFillColor(SOFT)
    canvas.drawString(paper.leftMargin, 22, _plain(FOOTER))
    canvas.drawRightString(paper.pagesize[0] - paper.rightMargin, 22, f"Page {canvas.getPageNumber()}")


def _styles() -> dict[str, Any]:
    from reportlab.lib.styles import ParagraphStyle

    body = ParagraphStyle("body", fontName="Helvetica", fontSize=8.5, leading=11.5, textColor=INK, spaceAfter=3)
    return {
        "body": body,
        "soft": ParagraphStyle("soft", body, textColor=SOFT),
        "title": ParagraphStyle("title", body, fontName="Helvetica-Bold", fontSize=16, leading=20),
        "head": ParagraphStyle("head", body, fontName="Helvetica-Bold", fontSize=11, leading=14, spaceBefore=9),
        "small": ParagraphStyle("small", body, fontName="Helvetica-Bold", textColor=SOFT, fontSize=8, spaceBefore=4),
        "cell": ParagraphStyle("cell", body, fontSize=7, leading=8.6, spaceAfter=0),
        "note": ParagraphStyle("note", body, fontSize=7, leading=9, textColor=SOFT),
    }


def _section(section: Section, styles: dict[str, Any]) -> list[Any]:
    from reportlab.platypus import KeepTogether, Paragraph, Spacer

    bullet = section.name in ("summary", "critique")
    words = [Paragraph(("• " if bullet else "") + _plain(text), styles["body" if section.computed else "soft"])
             for text in section.words]  # fmt: skip
    parts: list[Any] = []
    for chart in section.charts:
        key = "" if len(chart.lines) == 1 else ": " + ", ".join(
            f'<font color="{line.colour}">{_plain(line.label)}</font>' for line in chart.lines
        )  # fmt: skip
        title = Paragraph(_plain(f"{chart.title}, {chart.unit}") + key, styles["small"])
        parts.append(KeepTogether([title, _drawing(chart)]))
    for table in section.tables:
        if table.title:
            parts.append(Paragraph(_plain(table.title), styles["small"]))
        parts += [_table(table, styles), Spacer(1, 2)]
        if table.note:
            parts.append(Paragraph(_plain(table.note), styles["note"]))
    # a heading stays with what follows it
    first = [Paragraph(_plain(section.title), styles["head"]), *words[:3]]
    return [KeepTogether(first), *words[3:], *parts]


def _table(table: Table, styles: dict[str, Any]) -> Any:
    from reportlab.lib.colors import HexColor
    from reportlab.platypus import LongTable, Paragraph, TableStyle

    def written(text: str, column: int) -> Any:
        return Paragraph(_plain(text), styles["cell"]) if column in table.wide else _plain(text, escaped=False)

    head = [_plain(name, escaped=False) for name in table.columns]
    has_head = any(head)
    rows = [head] if has_head else []
    look: list[tuple[Any, ...]] = [
        ("FONT", (0, 0), (-1, -1), "Helvetica", 7), ("TEXTCOLOR", (0, 0), (-1, -1), HexColor(INK)),
        ("ALIGN", (0, 0), (-1, -1), "RIGHT"), ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
        ("LINEBELOW", (0, 0), (-1, -1), 0.3, HexColor(LINE)),
        *(("ALIGN", (column, 0), (column, -1), "LEFT") for column in table.wide),
        *((f"{side}PADDING", (0, 0), (-1, -1), 2) for side in ("TOP", "BOTTOM", "LEFT", "RIGHT")),
        *(("LEFTPADDING", (column, 0), (column, -1), 12) for column in table.wide if column),
    ]  # fmt: skip
    if has_head:
        look += [("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 7), ("TEXTCOLOR", (0, 0), (-1, 0), HexColor(SOFT))]
    for line in table.rows:
        at = len(rows)
        rows.append([written(cell(item)[0], column) for column, item in enumerate(line)])
        for column, item in enumerate(line):
            tone = cell(item)[1]
            if tone in HEATS:
                look.append(("BACKGROUND", (column, at), (column, at), HexColor(HEATS[tone])))
            elif tone in TONES:
                look.append(("TEXTCOLOR", (column, at), (column, at), HexColor(TONES[tone])))
    return LongTable(rows, colWidths=_widths(table), repeatRows=1 if has_head else 0, style=TableStyle(look),
                     hAlign="LEFT")  # fmt: skip


def _widths(table: Table) -> list[float]:
    """Give each column what its longest text needs, words at most 180 points, and fit the whole to the page."""
    needs = []
    for column, name in enumerate(table.columns):
        texts = [name, *(cell(row[column])[0] for row in table.rows if column < len(row))]
        longest = max(len(text) for text in texts)
        needs.append(min(max(4.0 * longest + 8, 24.0), 190.0 if column in table.wide else 120.0))
    factor = WIDTH / sum(needs)
    return [need * min(factor, 1.6) for need in needs]


def _drawing(chart: Chart) -> Any:
    from reportlab.graphics.shapes import Drawing, Polygon, PolyLine, String
    from reportlab.lib.colors import HexColor

    drawing = Drawing(WIDTH, CHART_HEIGHT)
    for shape in shapes(chart, WIDTH, CHART_HEIGHT):
        flat = [value for x, y in shape.points for value in (x, CHART_HEIGHT - y)]  # paper counts from below
        colour = HexColor(shape.colour)
        if shape.kind == "text":
            drawing.add(String(flat[0], flat[1], _plain(shape.text, escaped=False), fontName="Helvetica", fontSize=7,
                               fillColor=colour, textAnchor=shape.anchor))  # fmt: skip
        elif shape.kind == "area":
            drawing.add(Polygon(flat, fillColor=colour, fillOpacity=0.16, strokeColor=None))
        else:
            drawing.add(PolyLine(flat, strokeColor=colour, strokeWidth=0.7 * shape.width))
    return drawing


def _plain(text: str, *, escaped: bool = True) -> str:
    """Return text that the built-in fonts can show; markup characters escaped where markup is read."""
    for char, plain in PLAIN.items():
        text = text.replace(char, plain)
    text = text.encode("cp1252", "replace").decode("cp1252")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") if escaped else text

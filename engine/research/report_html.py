"""The report as one web page: style and charts inside it, nothing fetched from anywhere."""

from __future__ import annotations

from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

from engine.research.report_parts import Chart, Document, cell, gathered
from engine.research.report_plot import shapes

if TYPE_CHECKING:
    from jinja2 import Template

WIDTH, HEIGHT = 920.0, 230.0
FOLDED = ("gate", "trades", "configuration")  # long, and seldom the question

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ doc.title }}</title><style>
:root{--ink:#1d2430;--soft:#5b6575;--line:#d9dee7;--gain:#0f7b55;--loss:#c03546;--warn:#9a6a0b}
*{box-sizing:border-box}body{margin:0;background:#f5f7fa;color:var(--ink);font:14px/1.5 system-ui,sans-serif}
main{max-width:1010px;margin:0 auto;padding:28px 24px 60px}h1{margin:0;font-size:24px}
h2{font-size:17px;margin:0 0 8px}h3{font-size:13px;margin:14px 0 4px;color:var(--soft);font-weight:600}
.sub{color:var(--soft);margin:2px 0 12px}.badges{display:flex;flex-wrap:wrap;gap:6px;margin-bottom:18px}
.badge{border:1px solid;border-radius:4px;padding:1px 8px;font-size:12.5px;background:#fff}
section{background:#fff;border:1px solid var(--line);border-radius:8px;padding:16px 18px;margin:0 0 14px}
section.absent{background:transparent;border-style:dashed;color:var(--soft)}
p{margin:0 0 6px;max-width:78ch}ul{margin:0 0 8px;padding-left:20px}.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:13px}
th{color:var(--soft);font-weight:600;text-align:right;border-bottom:1px solid var(--line);padding:4px 8px}
td{text-align:right;padding:3px 8px;border-bottom:1px solid #eef1f5;white-space:nowrap}
.w{text-align:left;white-space:normal}td+.w,th+.w{padding-left:20px}summary{font-size:17px;font-weight:600;cursor:pointer}.note{color:var(--soft);font-size:12px;margin-top:4px}
.narrow{width:auto;min-width:320px}.gain{color:var(--gain)}.loss{color:var(--loss)}.warn{color:var(--warn)}.mute{color:var(--soft)}
.g1{background:#e4f4ec}.g2{background:#bfe5d1}.g3{background:#8fd1b0}
.l1{background:#fbe6e8}.l2{background:#f4c2c8}.l3{background:#e9939d}
svg{width:100%;height:auto;display:block}svg text{font:10px system-ui,sans-serif}
.key{font-size:12px;color:var(--soft)}.key b{font-weight:600}
footer{color:var(--soft);font-size:12px;margin-top:20px}@media print{body{background:#fff}section{break-inside:avoid}}
</style></head><body><main>
<h1>{{ doc.title }}</h1><p class="sub">{{ doc.subtitle }}</p>
<div class="badges">{% for b in doc.badges %}
<span class="badge {{ b.tone }}" title="{{ b.meaning }}">{{ b.text }}</span>{% endfor %}</div>
{% for s in doc.sections %}<section{% if not s.computed %} class="absent"{% endif %}>
{% if s.name in folded %}<details><summary>{{ s.title }}</summary>{% else %}<h2>{{ s.title }}</h2>{% endif %}
{% if s.name in listed %}<ul>{% for w in s.words %}<li>{{ w }}</li>{% endfor %}</ul>
{% else %}{% for w in s.words %}<p>{{ w }}</p>{% endfor %}{% endif %}
{% for c in s.charts %}<h3>{{ c.title }}, {{ c.unit }}</h3>{{ svg(c) }}
{% if c.lines|length > 1 %}<div class="key">{% for l in c.lines %}<b style="color:{{ l.colour }}">{{ l.label }}</b>
{% endfor %}</div>{% endif %}{% endfor %}
{% for t in s.tables %}{% if t.title %}<h3>{{ t.title }}</h3>{% endif %}
<div class="wide"><table{% if t.columns|length < 3 %} class="narrow"{% endif %}>
{% if t.columns|join %}<tr>{% for c in t.columns %}<th{% if loop.index0 in t.wide %} class="w"{% endif %}>{{ c }}</th>
{% endfor %}</tr>{% endif %}
{% for row in t.rows %}<tr>{% for item in row %}{% set text, tone = cell(item) %}<td class="{{ tone }}
{%- if loop.index0 in t.wide %} w{% endif %}">{{ text }}</td>{% endfor %}</tr>{% endfor %}
</table></div>{% if t.note %}<div class="note">{{ t.note }}</div>{% endif %}{% endfor %}
{% if s.name in folded %}</details>{% endif %}</section>{% endfor %}
<footer>{{ footer }}</footer></main></body></html>
"""
FOOTER = (
    "Made by Astrolabe from one result file. All times UTC, all money in the quote currency, after costs. A backtest "
    "is not a promise, and this is not advice."
)


def html_page(doc: Document) -> str:
    """Return a document as one web page that needs nothing else."""
    from markupsafe import Markup

    def svg(chart: Chart) -> Markup:
        return Markup(chart_svg(chart))  # our own shapes; every text in them is escaped

    return _template().render(
        doc=gathered(doc), svg=svg, cell=cell, footer=FOOTER, listed=("summary", "critique"), folded=FOLDED
    )


@cache
def _template() -> Template:
    from jinja2 import Environment

    environment: Any = Environment(autoescape=True, trim_blocks=True)
    template: Template = environment.from_string(TEMPLATE)
    return template


def chart_svg(chart: Chart) -> str:
    """Return a chart as an SVG element."""
    parts = [f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{escape(chart.title)}">']
    for shape in shapes(chart, WIDTH, HEIGHT):
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
        if shape.kind == "text":
            x, y = shape.points[0]
            parts.append(f'<text x="{x:.1f}" y="{y:.1f}" fill="{shape.colour}" text-anchor="{shape.anchor}">'
                         f"{escape(shape.text)}</text>")  # fmt: skip
        elif shape.kind == "area":
            parts.append(f'<polygon points="{places}" fill="{shape.colour}" fill-opacity="0.16"/>')
        else:
            parts.append(f'<polyline points="{places}" fill="none" stroke="{shape.colour}" '
                         f'stroke-width="{shape.width:g}" stroke-linejoin="round"/>')  # fmt: skip
    return "".join([*parts, "</svg>"])

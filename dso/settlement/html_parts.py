"""Parts of the pages that participants get: style, tables, cards, bars; no script, no font."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from data.units import MICRO_PER_UNIT
from dso.settlement.exact import divide_half_even

STYLE: Final = """
:root{color-scheme:light dark;--ink:#15202b;--soft:#4b5a69;--page:#f3f5f8;--sheet:#fff;\
--card:#eef1f5;--rule:#cfd7df;--accent:#0a5ba8;--get:#0b62b3;--pay:#a85400;--mark:#fdf3dc}
@media(prefers-color-scheme:dark){:root{--ink:#e9eef3;--soft:#aab8c6;--page:#0e141b;\
--sheet:#17202a;--card:#1f2a36;--rule:#33424f;--accent:#7bbcf7;--get:#6fb4f2;--pay:#f0a24e;\
--mark:#3a3118}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
main{margin:0 auto;padding:1.5rem clamp(1rem,4vw,3rem) 3rem;max-width:62rem;\
background:var(--sheet);min-height:100vh}
header{border-bottom:3px solid var(--accent);padding-bottom:1rem;margin-bottom:1rem}
.over{color:var(--accent);font-weight:600;font-size:.9rem;margin:0}
h1{font-size:1.7rem;line-height:1.2;margin:.1rem 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.2rem 0 .5rem}
p{margin:.25rem 0}.soft,footer{color:var(--soft);font-size:.9rem;overflow-wrap:anywhere}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(14rem,1fr));gap:1rem 2rem;\
margin:1rem 0}
.two p{margin:0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.2rem,1fr));gap:.6rem;\
margin:1.25rem 0}
.card{background:var(--card);border:1px solid var(--rule);border-radius:.5rem;padding:.6rem .8rem}
.card b{display:block;font-size:1.15rem;white-space:nowrap;font-variant-numeric:tabular-nums;\
line-height:1.3}
.card.main{border-color:var(--accent);border-width:2px}.card.main b{font-size:1.35rem}
.note{background:var(--mark);border:1px solid var(--rule);border-left:4px solid var(--pay);\
border-radius:.3rem;padding:.6rem .9rem;margin:.6rem 0;overflow-wrap:anywhere}
.table{overflow-x:auto;border:1px solid var(--rule);border-radius:.5rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .75rem;text-align:right;border-bottom:1px solid var(--rule);\
white-space:nowrap;vertical-align:top}
th{background:var(--card);font-weight:600}
th:first-child,td:first-child{text-align:left}
small{display:block;color:var(--soft);white-space:normal;min-width:11rem}
tr:last-child td{border-bottom:0}tfoot td{font-weight:600;border-top:2px solid var(--rule)}
figure{margin:1rem 0}figcaption{color:var(--soft);font-size:.9rem;margin-bottom:.4rem}
.plot{display:grid;grid-template-columns:auto 1fr;gap:0 .5rem;font-size:.8rem;color:var(--soft)}
.scale{display:flex;flex-direction:column;justify-content:space-between;text-align:right;\
font-variant-numeric:tabular-nums}
.plot svg{width:100%;height:8rem;display:block;border-left:1px solid var(--rule)}
.ends{grid-column:2;display:flex;justify-content:space-between}
.get{fill:var(--get)}.pay{fill:var(--pay)}.zero{stroke:var(--ink);stroke-width:1}
footer{margin-top:2.5rem;border-top:1px solid var(--rule);padding-top:.75rem}
@media(max-width:40rem){th,td{padding:.35rem .5rem;font-size:.9rem}small{min-width:8rem}}
@media print{body,main{background:#fff}main{padding:0;max-width:none}.table{overflow:visible}}
"""


def eur(amount_micro_eur: int, decimals: int = 2) -> str:
    """Write micro-EUR as EUR with a fixed number of decimals, half-even, thousands apart.

    Examples
    --------
    >>> eur(1_234_567_890), eur(-4_000), eur(-4_000, 4)
    ('1,234.57', '0.00', '-0.0040')
    """
    scaled = divide_half_even(amount_micro_eur * 10**decimals, MICRO_PER_UNIT)
    whole, fraction = divmod(abs(scaled), 10**decimals)
    return f"{'-' if scaled < 0 else ''}{whole:,}.{fraction:0{decimals}d}"


def kilo(energy_wh: int) -> str:
    """Write Wh as kWh (or W as kW), exactly.

    Examples
    --------
    >>> kilo(1_234_567), kilo(-50)
    ('1,234.567', '-0.050')
    """
    return eur(energy_wh * (MICRO_PER_UNIT // 1_000), 3)


def instant(at: datetime) -> str:
    """Write an instant for people: day and time, UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def page(title: str, body: Sequence[str]) -> bytes:
    """Return a page that needs nothing from outside; it is ready as soon as it is read."""
    return (
        '<!DOCTYPE html>\n<html lang="en" data-ready="true"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    ).encode()


def head(over: str, title: str, lines: Iterable[str]) -> str:
    """Return the head of a letter: what it is, whom it is for, what it covers."""
    text = "".join(f'<p class="soft">{escape(line)}</p>' for line in lines)
    return f'<header><p class="over">{escape(over)}</p><h1>{escape(title)}</h1>{text}</header>'


def cards(entries: Iterable[tuple[str, str]]) -> str:
    """Return the figures to be seen first; the first of them is the main one."""
    text = "".join(
        f'<div class="{"card" if place else "card main"}">{escape(name)}'
        f"<b>{escape(value)}</b></div>"
        for place, (name, value) in enumerate(entries)
    )
    return f'<div class="cards">{text}</div>'


def table(
    title: str, header: Sequence[str], rows: Iterable[Sequence[str]], foot: Sequence[str] = ()
) -> str:
    """Return a headed table that scrolls inside its own frame.

    Cells are escaped; what follows a line break in one is shown small under the rest.
    """

    def cell(text: str) -> str:
        name, _, small = text.partition("\n")
        return f"<td>{escape(name)}{f'<small>{escape(small)}</small>' if small else ''}</td>"

    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in header)
    body = "\n".join("<tr>" + "".join(map(cell, row)) + "</tr>" for row in rows)
    closing = f"<tfoot><tr>{''.join(map(cell, foot))}</tr></tfoot>" if foot else ""
    return (
        f'<h2>{escape(title)}</h2>\n<div class="table" tabindex="0" role="region" '
        f'aria-label="{escape(title)}">'
        f"<table><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody>{closing}</table></div>"
    )


def bar_chart(caption: str, bars: Sequence[tuple[str, int]]) -> str:
    """Return amounts over time as bars, what is received upwards and what is paid downwards.

    Parameters
    ----------
    caption : str
        What is shown, with its unit; it is the chart's text for those who do not see it.
    bars : sequence of (label, amount [micro-EUR])
        In the order of time.
    """
    if len(bars) < 2:
        return ""
    highest = max(0, *(amount for _, amount in bars))
    lowest = min(0, *(amount for _, amount in bars))
    span = highest - lowest
    if not span:
        return ""
    zero = 1000 * highest // span
    shapes = []
    for place, (label, amount) in enumerate(bars):
        height = 1000 * abs(amount) // span
        top = zero - height if amount > 0 else zero
        kind = "get" if amount > 0 else "pay"
        shapes.append(
            f'<rect class="{kind}" x="{10 * place + 1}" y="{top}" width="8" height="{height}">'
            f"<title>{escape(label)}: {eur(amount)} EUR</title></rect>"
        )
    width = 10 * len(bars)
    return (
        f"<figure><figcaption>{escape(caption)}</figcaption>"
        f'<div class="plot"><div class="scale"><span>{eur(highest)}</span>'
        f"<span>{eur(lowest)}</span></div>"
        f'<svg viewBox="0 0 {width} 1000" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(caption)}">{"".join(shapes)}'
        f'<line class="zero" x1="0" x2="{width}" y1="{zero}" y2="{zero}" '
        'vector-effect="non-scaling-stroke"/></svg>'
        f'<div class="ends"><span>{escape(bars[0][0])}</span>'
        f"<span>{escape(bars[-1][0])}</span></div></div></figure>"
    )

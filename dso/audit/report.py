"""The audit report: one page to print and sign, from what was checked just now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Final

from dso.audit.explain import CHECKS, contents
from dso.audit.replay import ReplayReport, RunReplay
from ledger_adapter.verify.bundle import Report

_STYLE: Final = """
@page { size: A4; margin: 18mm 16mm; }
body { font: 10.5pt/1.45 "Source Sans 3", "Segoe UI", Arial, sans-serif; color: #1b1f24;
  max-width: 178mm; margin: 24px auto; padding: 0 16px; }
h1 { font-size: 19pt; margin: 0 0 2mm; } h2 { font-size: 12.5pt; margin: 8mm 0 2mm;
  border-bottom: 0.4pt solid #9aa4af; padding-bottom: 1mm; break-after: avoid; }
p.about { color: #4a5563; margin: 0 0 5mm; }
.verdict { border: 0.8pt solid; border-left-width: 4mm; padding: 3mm 5mm; font-size: 12pt;
  font-weight: 600; break-inside: avoid; } .verdict p { margin: 0.5mm 0; font-weight: 400;
  font-size: 10.5pt; }
.good { border-color: #1a7f4b; } .bad { border-color: #b3261e; } .open { border-color: #8a6d00; }
table { border-collapse: collapse; width: 100%; font-size: 9.5pt; }
th, td { text-align: left; padding: 1mm 2mm; border-bottom: 0.3pt solid #c5ccd3;
  vertical-align: top; } td.number, th.number { text-align: right;
  font-variant-numeric: tabular-nums; } table.narrow { width: 60%; }
td:first-child { white-space: nowrap; } tr { break-inside: avoid; }
thead th { color: #4a5563; }
code { font: 9pt "Source Code Pro", Consolas, monospace; overflow-wrap: anywhere; }
ul { margin: 1mm 0 3mm; padding-left: 5mm; } .columns { display: grid;
  grid-template-columns: 1fr 1fr; gap: 6mm; break-inside: avoid; } h3 { font-size: 10.5pt;
  margin: 2mm 0 0; }
.signature { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: 8mm; margin-top: 18mm;
  break-inside: avoid; } .signature div { border-top: 0.5pt solid #1b1f24; padding-top: 1mm;
  color: #4a5563; font-size: 9pt; }
"""


def build_report(
    bundle: Path,
    report: Report,
    *,
    key_text: str,
    replay: ReplayReport | None = None,
    cosigners: Sequence[str] = (),
) -> bytes:
    """Write the page; it needs no network and carries no time, so equal findings are equal bytes.

    Parameters
    ----------
    bundle : Path
        The bundle.
    report : Report
        Outcome of its verification.
    key_text : str
        Key it was checked against.
    replay : ReplayReport or None
        Outcome of the replay; None: it was not run.
    cosigners : sequence of str
        Names that cosigned the head, of those the auditor trusts.
    """
    rows = [
        ("Log", report.origin or "unknown"),
        ("Leaves under the head", f"{report.size:,}"),
        ("Root (SHA-256)", _code(report.root)),
        ("Key it was checked against", _code(key_text.strip())),
        ("Cosigned by", ", ".join(cosigners) or "nobody the auditor named"),
    ]
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>Audit of {escape(bundle.name)}</title><style>{_STYLE}</style></head><body>",
        "<h1>Audit report</h1>",
        f"<p class='about'>{escape(_about(bundle, report))}</p>",
        _verdict(report, replay),
        "<h2>What was checked against what</h2>",
        "<table>",
        *(f"<tr><th>{name}</th><td>{_cell(text)}</td></tr>" for name, text in rows),
        "</table>",
        "<h2>Verification</h2>",
        _verification(report),
        "<h2>Replay</h2>",
        _replay(replay),
        "<h2>What this proves and what it does not</h2>",
        *_claims(report, replay, cosigners),
        (
            "<div class='signature'><div>Auditor</div><div>Place and date</div>"
            "<div>Signature</div></div>"
        ),
        "</body></html>",
    ]
    return "\n".join(parts).encode()


def _about(bundle: Path, report: Report) -> str:
    return ", ".join(contents(bundle)[:2]) if report.holds else f"bundle {bundle.name}"


def _verdict(report: Report, replay: ReplayReport | None) -> str:
    if not report.holds:
        first, others = report.failures[0], len(report.failures) - 1
        more = f" and {others} more" if others else ""
        return _box("bad", "The bundle does not hold.", f"{first}{more}")
    if replay is None:
        return _box(
            "open", "The bundle holds. It was not run again.", "Prices may be wrong and signed."
        )
    if not replay.holds:
        wrong = [run.name for run in replay.runs if not run.comparison.holds]
        text = f"Signed, but not what the inputs give: {', '.join(wrong)}."
        if any(run.comparison.notes for run in replay.runs):
            text += " Versions differ from those of the bundle: repeat with those, then judge."
        return _box("bad", "The bundle holds, its results do not.", text)
    if replay.left_out:
        text = f"Not run again: {', '.join(replay.left_out)}."
        return _box("open", "The bundle holds, and so do the runs that were repeated.", text)
    return _box("good", "The bundle holds, and so do its results.", _totals(replay.runs))


def _box(kind: str, title: str, text: str) -> str:
    return f"<div class='verdict {kind}'>{escape(title)}<p>{escape(text)}</p></div>"


def _totals(runs: Iterable[RunReplay]) -> str:
    found = [run.comparison for run in runs]
    return (
        f"{sum(c.prices for c in found):,} prices and {sum(c.awards for c in found):,} awards "
        f"computed again in {len(found)} runs."
    )


def _verification(report: Report) -> str:
    if report.failures:
        items = "".join(
            f"<li>{_code(item.file)}: {escape(item.what)}</li>" for item in report.failures
        )
        return f"<ul>{items}</ul>"
    names = {
        "files": "files compared with the manifest", "bytes": "bytes in them",
        "batches": "batches found in the log", "proofs": "proofs checked",
        "opened_records": "committed records opened",
        "unopened_batches": "batches whose records stay closed",
        "unmatched_digests": "posted digests without their files",
    }  # fmt: skip
    rows = "".join(
        f"<tr><td>{text}</td><td class='number'>{report.counts[name]:,}</td></tr>"
        for name, text in names.items()
    )
    return f"<table class='narrow'>{rows}</table>"


def _replay(replay: ReplayReport | None) -> str:
    if replay is None:
        return "<p>Not run (<code>dso audit report --replay</code> does).</p>"
    rows = []
    for run in replay.runs:
        found = run.comparison
        outcome = "equal bytes" if found.identical else f"within {found.worst:.1e}"
        if not found.holds:
            outcome = "<br>".join(escape(text) for text in (*found.notes, *found.differences))
        counts = "".join(
            f"<td class='number'>{value:,}</td>" if value else "<td class='number'>-</td>"
            for value in (found.prices, found.awards, run.trading_periods)
        )
        rows.append(f"<tr><td>{escape(run.name)}</td>{counts}<td>{outcome}</td></tr>")
    head = (
        "<thead><tr><th>Run</th><th class='number'>prices</th><th class='number'>awards</th>"
        "<th class='number'>periods traded</th><th>computed again</th></tr></thead>"
    )
    return f"<table>{head}{''.join(rows)}</table>"


def _claims(report: Report, replay: ReplayReport | None, cosigners: Sequence[str]) -> Iterable[str]:
    """Yield what the checks that passed prove; a check that failed proves nothing."""
    outcomes = [(CHECKS[0], report.holds)]
    if replay is not None:
        outcomes.append((CHECKS[1], replay.holds and not replay.left_out))
    if cosigners:
        outcomes.append((CHECKS[2], True))
    for check, passed in outcomes:
        if not passed:
            yield f"<h3>{escape(check.name)}: not shown</h3><p>Nothing is claimed from it.</p>"
            continue
        yield (
            f"<h3>{escape(check.name)}</h3><div class='columns'>"
            f"<div>It proves{_list(check.proves)}</div>"
            f"<div>It does not prove{_list(check.leaves_open)}</div></div>"
        )


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _cell(text: str) -> str:
    return text if text.startswith("<code>") else escape(text)

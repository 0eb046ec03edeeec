"""Put a measurement into docs/benchmarks.md: one section each, replaced as a whole."""

from __future__ import annotations

from typing import Final

from benchmarks.machine import REPOSITORY
from data.canonical import write_atomically

DOCUMENT: Final = REPOSITORY / "docs" / "benchmarks.md"


def replace_section(title: str, body: str) -> None:
    """Replace the section ``## title`` of the document, or add it at its end."""
    text = DOCUMENT.read_text(encoding="utf-8")
    head, *sections = text.split("\n## ")
    kept = {section.partition("\n")[0]: section.partition("\n")[2] for section in sections}
    kept[title] = f"\n{body}\n"
    parts = [
        head.rstrip("\n"),
        *(f"## {name}\n\n{_without_blank_ends(text)}" for name, text in kept.items()),
    ]
    write_atomically(DOCUMENT, ("\n\n".join(parts) + "\n").encode("utf-8"))


def _without_blank_ends(text: str) -> str:
    """Drop blank lines at both ends and keep the first line's indent: it may be a listing."""
    return text.strip("\n").rstrip()

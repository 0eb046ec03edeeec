"""What every page of ours has: templates, the plot library, data islands, a closed policy."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dso.report import numbers
from dso.report.colours import THEMES

TEMPLATES: Final = Path(__file__).parent / "templates"


def render_closed_page(
    template: str, *, folder: Path, script: str, style: str, context: Mapping[str, object]
) -> bytes:
    """Render a page that holds everything it needs and may fetch nothing.

    Parameters
    ----------
    template : str
        Name of the template in ``folder``; it extends ``base.html.j2``.
    folder : Path
        Where the template, its script and its extra style are; shared ones are found as well.
    script : str
        Name of the page's own script; it runs after ``page.js``.
    style : str
        Name of a style sheet beyond ``report.css``, or the empty string.
    context : mapping
        What the template shows.

    Returns
    -------
    bytes
        HTML, UTF-8. Its content security policy lets only its own scripts run, by their
        SHA-256, and lets nothing be fetched.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "fixed": numbers.fixed,
        "significant": numbers.significant,
        "shortened": numbers.shortened,
        "eur_cents": numbers.eur_cents,
        "eur_exact": numbers.eur_exact,
    }
    plotly = plotly_script()
    scripts = [TEMPLATES / "page.js", folder / script]
    own = "\n".join(path.read_text("utf-8") for path in scripts)
    styles = [TEMPLATES / "report.css", *([folder / style] if style else [])]
    html = environment.get_template(template).render(
        **context,
        themes=THEMES,
        style="\n".join(path.read_text("utf-8") for path in styles),
        plotly=plotly,
        script=own,
        script_hashes=[csp_hash(plotly), csp_hash(own)],
    )
    return html.encode("utf-8")


def island(content: Mapping[str, object]) -> str:
    """JSON that is safe inside a script element whatever the names in it."""
    text = json.dumps(
        content, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def plotly_script() -> str:
    """Return Plotly's own browser script, shipped in its Python package."""
    from importlib.resources import files

    script = files("plotly").joinpath("package_data/plotly.min.js").read_text("utf-8")
    if "</script" in script:
        raise RuntimeError("plotly.min.js cannot stand inside a page")
    return script


def csp_hash(script: str) -> str:
    """Return a script's hash as a content security policy names it."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"

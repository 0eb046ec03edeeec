"""Read a page of ours independently of its templates."""

from __future__ import annotations

import re
from html.parser import HTMLParser


class PageReader(HTMLParser):
    """Collects ids, addresses, words, and the content of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.islands: dict[str, str] = {}
        self._script: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if named.get("id"):
            self.ids.append(str(named["id"]))
        self.addresses += [str(named[key]) for key in ("src", "href") if named.get(key)]
        if tag in ("script", "style"):
            self._script = str(named.get("id", tag))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self.words.append(data)
        else:
            self.islands[self._script] = self.islands.get(self._script, "") + data

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

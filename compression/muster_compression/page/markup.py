"""HTML as values: what is ``Html`` is markup already, everything else is text and is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import NewType

Html = NewType("Html", str)

Content = Html | str | float | int | None


def escaped(value: object) -> Html:
    """Text for any place of the page, attributes too; without control characters, which no encoding of HTML takes."""
    text = "".join(char for char in str(value) if char in "\n\t" or char.isprintable())
    return Html(html.escape(text, quote=True))


def element(name: str, *content: Html, **attributes: object) -> Html:
    """``<name attributes>content</name>``; ``class_`` stands for class, other underscores for hyphens."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"' for key, value in attributes.items() if value != ""
    )
    return Html(f"<{name}{given}>{''.join(content)}</{name}>")


def void(name: str, **attributes: object) -> Html:
    """An element without content, as SVG has many."""
    return Html(element(name, **attributes).removesuffix(f"></{name}>") + "/>")


def joined(parts: Iterable[Html]) -> Html:
    """One after another."""
    return Html("".join(parts))


def section(title: str, *content: Html) -> Html:
    """A heading and what is below it; nothing without content."""
    if not any(content):
        return Html("")
    return element("section", element("h2", escaped(title)), *content)


def table(head: Sequence[str], rows: Iterable[Sequence[Html]]) -> Html:
    """Cells are markup already; nothing without rows."""
    body = [element("tr", *(element("td", cell) for cell in row)) for row in rows]
    if not body:
        return Html("")
    titles = element("tr", *(element("th", escaped(title), scope="col") for title in head))
    return element(
        "div", element("table", element("thead", titles), element("tbody", *body)), class_="wide", tabindex="0"
    )

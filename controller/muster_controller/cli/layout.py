"""Rows as lines: a table where it fits, else a block per item; nothing is cut off and no value is broken in two."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

UNKNOWN = "-"
_GAP = "  "
_BETWEEN = " · "
_SHORT = 24  # cells; a longer value gets a line of its own
_DEEP = 4  # the indent of what is too long to stand beside its title
_WORD = re.compile(r" *[^ ]+")  # with the spaces before it


@dataclass(frozen=True, slots=True)
class Line:
    """A line of output; a head is set in bold where that can be."""

    text: str
    is_head: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A value as it is shown. Several parts (the rungs of a ladder) stand below each other where room is short."""

    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        return ", ".join(self.parts)

    @property
    def is_known(self) -> bool:
        return self.text != UNKNOWN


def lines_of(
    titles: Sequence[str], rows: Sequence[Sequence[Cell]], width: int | None, heads: int = 1
) -> tuple[Line, ...]:
    """``rows`` as a table when it fits into ``width`` cells (None = any width), else as blocks.

    ``heads`` says how many leading columns name an item.
    """
    table = _table(titles, rows)
    if width is None or all(cell_len(line.text) <= width for line in table):
        return table
    return tuple(line for row in rows for line in _block(titles, row, width, heads))


def fields_of(fields: Mapping[str, Cell], width: int | None) -> tuple[Line, ...]:
    """One item: a line per field, longer values below each other at the same indent."""
    indent = max((cell_len(title) for title in fields), default=0) + len(_GAP)
    found = []
    for title, value in fields.items():
        start = title + " " * (indent - cell_len(title))
        if width is None or indent + cell_len(value.text) <= width:
            found.append(Line(start + value.text))
        else:
            found += [Line(text) for text in _hung(start, value, width)]
    return tuple(found)


def harmless(text: str) -> str:
    """``text`` without anything that steers a terminal: devices write names and reasons, too. Lines stay lines."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)


def wrapped(text: str, width: int | None, indent: int = 0) -> str:
    """``text`` broken at spaces only; further lines start after ``indent`` spaces. A longer word stays whole."""
    if width is None:
        return text
    lines, line = list[str](), ""
    for word in _WORD.findall(text):
        if line.strip() and cell_len(line + word) > width:
            lines.append(line)
            line = " " * indent + word.lstrip()
        else:
            line += word
    return "\n".join([*lines, line])


def _table(titles: Sequence[str], rows: Sequence[Sequence[Cell]]) -> tuple[Line, ...]:
    texts = [list(titles), *([cell.text for cell in row] for row in rows)]
    widths = [max(cell_len(text[column]) for text in texts) for column in range(len(titles))]
    lines = []
    for number, row in enumerate(texts):
        padded = (text + " " * (width - cell_len(text)) for text, width in zip(row, widths, strict=True))
        lines.append(Line(_GAP.join(padded).rstrip(), is_head=number == 0))
    return tuple(lines)


def _block(titles: Sequence[str], row: Sequence[Cell], width: int, heads: int) -> Iterator[Line]:
    """A head that names the item, then what is known of it: short values side by side, long ones on their own."""
    named = [cell.text for cell in row[:heads] if cell.is_known]
    head = _GAP.join(named) or UNKNOWN
    if cell_len(head) <= width:
        yield Line(head, is_head=True)
    else:
        for number, text in enumerate(named):
            lines = wrapped(text if number == 0 else _GAP + text, width, _DEEP).split("\n")
            yield from (Line(line, is_head=True) for line in lines)
    beside = _GAP
    for title, value in zip(titles[heads:], row[heads:], strict=True):
        if not value.is_known:
            continue
        item = f"{title.lower()} {value.text}"
        is_short = len(value.parts) == 1 and cell_len(value.text) <= _SHORT and cell_len(_GAP + item) <= width
        if is_short and beside.strip() and cell_len(beside + _BETWEEN + item) <= width:
            beside += _BETWEEN + item
            continue
        if beside.strip():
            yield Line(beside)
        beside = _GAP
        if is_short:
            beside += item
        else:
            yield from (Line(text) for text in _hung(f"{_GAP}{title.lower()}{_GAP}", value, width))
    if beside.strip():
        yield Line(beside)


def _hung(start: str, value: Cell, width: int) -> Iterator[str]:
    """``start`` and the value's parts, each on lines of its own at one indent; below ``start`` when they are long."""
    indent = cell_len(start)
    first = start
    if indent + max(cell_len(word) for part in value.parts for word in part.split()) > width:
        yield start.rstrip()
        indent = _DEEP
        first = " " * indent
    for number, part in enumerate(value.parts):
        prefix = first if number == 0 else " " * indent
        yield from wrapped(prefix + part, width, indent).split("\n")

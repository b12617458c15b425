"""Data on standard output, for people or for programs; everything else on standard error."""

from __future__ import annotations

import csv
import datetime
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from rich.console import Console

from muster_controller.cli.layout import UNKNOWN, Cell, Line, fields_of, harmless, lines_of
from muster_protos.errors import UsageError

Row = Mapping[str, Any]


class Format(Enum):
    """What ``-o`` takes."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


class PlainConsole(Console):
    """Shows texts letter by letter: no markup, no emoji, and nothing in them steers the terminal."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's, for texts that others wrote."""
        super().print(*(harmless(item) if isinstance(item, str) else item for item in objects), **options)


def out() -> Console:
    """Standard output; plain when it is not a terminal or NO_COLOR is set. Nothing is broken or cut off in a pipe."""
    return PlainConsole(file=sys.stdout, highlight=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def err() -> Console:
    """Standard error."""
    return PlainConsole(file=sys.stderr, highlight=False, emoji=False, soft_wrap=True)


def terminal_width() -> int | None:
    """How many cells a line may have; None in a pipe, where lines are as long as they need to be."""
    return out().width if sys.stdout.isatty() else None


def emit(
    rows: Iterable[Row],
    output: Format,
    columns: Mapping[str, str],
    empty: str = "nothing here yet",
    heads: int = 1,
) -> None:
    """Write ``rows``: the chosen ``columns`` (title -> dotted key) in tables and CSV, everything in JSON.

    A table that is too wide for the terminal becomes a block per row, under the first ``heads`` columns.
    """
    found = list(rows)
    match output:
        case Format.JSON:
            print(json.dumps(found, indent=2))
        case Format.JSONL:
            for row in found:
                print(json.dumps(row, separators=(",", ":")))
        case Format.CSV:
            print(_csv(found, columns), end="")
        case Format.TABLE:
            _table(found, columns, empty, heads)


def emit_one(row: Row, output: Format, columns: Mapping[str, str]) -> None:
    """Write one thing: a two-column table, or the same as one row of a list."""
    if output is Format.JSON:
        print(json.dumps(row, indent=2))
        return
    if output is not Format.TABLE:
        emit([row], output, columns)
        return
    fields = {title: shown_cell(cell(row, key), key) for title, key in columns.items()}
    write_lines(fields_of(fields, terminal_width()))


def cell(row: Row, key: str) -> Any:
    """The value under a dotted key; None where something on the way is absent."""
    value: Any = row
    for part in key.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def shown(value: Any, key: str = "") -> str:
    """A value for people; units and times come from the key's suffix."""
    if value is None or value == "":
        return UNKNOWN
    if key == "at_ns" or key.endswith(("_at_ns", "seen_ns")):
        return iso_time(value)
    if key.endswith(("ram_bytes", "disk_free_bytes")) and isinstance(value, int):
        return f"{value / 2**30:.1f} GiB"
    if key.endswith("_bytes") and isinstance(value, int):
        return shown_bytes(value)
    if key.endswith("_offset_ns") and isinstance(value, int):
        return f"{value / 1e9:.1f} s"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return " ".join(f"{name}={item}" for name, item in value.items()) or "-"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(shown(item) for item in value) or "-"
    return str(value)


def shown_cell(value: Any, key: str = "") -> Cell:
    """The same for a table; each item of a list is a part of its own."""
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return Cell(tuple(_one_line(shown(item)) for item in value))
    return Cell((_one_line(shown(value, key)),))


def write_lines(lines: Iterable[Line]) -> None:
    """To standard output as they are: broken nowhere."""
    console = out()
    for line in lines:
        console.print(line.text, style="bold" if line.is_head else None, markup=False, soft_wrap=True)


def iso_time(ns: int) -> str:
    """ISO 8601 in UTC, to the second; "-" for never."""
    if not ns:
        return "-"
    return datetime.datetime.fromtimestamp(ns / 1e9, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def shown_bytes(size: int) -> str:
    """B, kB or MB, powers of ten as in UX of files."""
    for unit, factor in (("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}" if size / factor < 100 else f"{size / factor:.0f} {unit}"
    return f"{size} B"


def milliseconds(ns: int | None) -> float | None:
    return None if ns is None else ns / 1e6


def parse_pairs(pairs: Sequence[str], what: str) -> dict[str, str]:
    """``["a=b"]`` as a mapping. UsageError on anything else."""
    found = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UsageError(f'expected {what} as key=value, found "{pair}"')
        found[key] = value
    return found


def table_lines(rows: Sequence[Row], columns: Mapping[str, str], width: int | None, heads: int = 1) -> tuple[Line, ...]:
    """``rows`` as a table, or as blocks when it is wider than ``width``."""
    cells = [[shown_cell(cell(row, key), key) for key in columns.values()] for row in rows]
    return lines_of(tuple(columns), cells, width, heads)


def _table(rows: Sequence[Row], columns: Mapping[str, str], empty: str, heads: int) -> None:
    if not rows:
        err().print(empty, style="dim")
        return
    write_lines(table_lines(rows, columns, terminal_width(), heads))


def _one_line(text: str) -> str:
    """What devices say goes to a terminal: without escape sequences and characters that turn the line around."""
    line = " ".join(text.split())
    return (line if line.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in line)) or UNKNOWN


def _csv(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([title.lower().replace(" ", "_") for title in columns])
    for row in rows:
        writer.writerow([_plain(cell(row, key), key) for key in columns.values()])
    return buffer.getvalue()


def _plain(value: Any, key: str) -> Any:
    if value is None or (isinstance(value, str | int | float) and not key.endswith("_at_ns")):
        return value
    return shown(value, key)

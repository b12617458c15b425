"""Answers a mistyped name with the names it may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from muster_protos.errors import NotFoundError


def unknown(what: str, found: str, known: Iterable[str]) -> NotFoundError:
    """One line: what was looked for, the nearest known names, or how to list them."""
    names = sorted(set(known))
    matches = difflib.get_close_matches(found, names, n=3, cutoff=0.5)
    if matches:
        hint = "did you mean " + " or ".join(f'"{name}"' for name in matches) + "?"
    elif names:
        hint = f"known: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
    else:
        hint = f"there is no {what} yet"
    return NotFoundError(f'no {what} "{found[:80]}"; {hint}')


def unknown_id(what: str, found: str, listing: str) -> NotFoundError:
    """For ids that are drawn at random: another one is never what was meant."""
    return NotFoundError(f'no {what} "{found[:80]}"; list them with: {listing}')

"""Static facts of device classes, one JSON file each (why JSON: docs/adr/0003-profiles-format.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from muster_protos.errors import InvalidInputError
from muster_protos.model import DeviceFacts

GENERIC = "generic"
_FOLDER = Path(__file__).parent
_NAMES = ("phone", "pi", "jetson", GENERIC)


@dataclass(frozen=True, slots=True)
class EmulationLimits:
    """What makes a host pass for a device of the class. Declared, not derived from any one device."""

    cpu_quota_cores: float  # 0.25 = a quarter of one host core for the whole device
    memory_limit_bytes: int | None  # of the whole device, or of each process where no control group can do that


@dataclass(frozen=True, slots=True)
class Profile:
    """A class of devices and what to expect of it."""

    name: str
    title: str
    soc: str
    cpu_model: str
    cores: int
    ram_bytes: int
    accelerator: str
    runtimes: tuple[str, ...]  # "<runtime>/<provider>" that one may expect to work
    links: tuple[str, ...]
    match: tuple[str, ...]  # lower-case pieces of board, SoC or operating system names
    sources: tuple[str, ...]
    emulation: EmulationLimits | None  # None = such a device cannot be emulated


def profile_names() -> tuple[str, ...]:
    """Every profile that exists, most specific first."""
    return _NAMES


def emulated_profile_names() -> tuple[str, ...]:
    """Profiles that a host can pass for."""
    return tuple(name for name in _NAMES if load_profile(name).emulation is not None)


def load_profile(name: str) -> Profile:
    """Read one profile.

    Raises:
        InvalidInputError: there is none of that name.
    """
    if name not in _NAMES:
        raise InvalidInputError(f"expected a profile among {', '.join(_NAMES)}, found {name[:80]!r}")
    return parse_profile((_FOLDER / f"{name}.json").read_text("utf-8"))


def load_emulated_profile(name: str) -> Profile:
    """Read a profile that a host can pass for.

    Raises:
        InvalidInputError: there is none of that name, or such a device cannot be emulated.
    """
    known = emulated_profile_names()
    if name not in known:
        raise InvalidInputError(f"expected a profile to emulate among {', '.join(known)}, found {name[:80]!r}")
    return load_profile(name)


def parse_profile(text: str) -> Profile:
    """A profile from its JSON text.

    Raises:
        InvalidInputError: it is no JSON object with exactly the fields of ``Profile``.
    """
    try:
        content = json.loads(text)
        limits = content.pop("emulation")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in content.items()
        }
        return Profile(**values, emulation=None if limits is None else EmulationLimits(**limits))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        expected = ", ".join(field.name for field in fields(Profile))
        raise InvalidInputError(f"expected a profile with the fields {expected}; {error!r}") from error


def match_profile(facts: DeviceFacts, board_model: str = "") -> Profile:
    """The profile whose words occur in the device's board, SoC, accelerator or system name; ``generic`` otherwise."""
    text = " ".join((board_model, facts.soc, facts.accelerator, facts.os)).lower()
    for name in _NAMES:
        profile = load_profile(name)
        if any(word in text for word in profile.match):
            return profile
    return load_profile(GENERIC)

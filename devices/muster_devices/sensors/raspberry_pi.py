"""The Raspberry Pi firmware's throttle word.

Source: https://www.raspberrypi.com/documentation/computers/os.html#get_throttled; the sysfs file is raspberrypi-linux
drivers/firmware/raspberrypi.c, a hexadecimal number without prefix.
"""

from __future__ import annotations

from pathlib import Path

from muster_devices.tree import find, read_text

_NOW = {
    0: "under-voltage",
    1: "arm frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
_SINCE_BOOT_SHIFT = 16


def read_throttled(root: Path = Path("/")) -> int | None:
    """The raw word, or None on another board."""
    for path in find(root, "sys/devices/platform/soc*/soc*firmware/get_throttled"):
        try:
            return int(read_text(root, path) or "", 16)
        except ValueError:
            continue
    return None


def throttle_flags(word: int) -> tuple[str, ...]:
    """What holds the board back just now."""
    return tuple(text for bit, text in _NOW.items() if word >> bit & 1)


def flags_since_boot(word: int) -> tuple[str, ...]:
    """What has held it back at some time since boot."""
    return tuple(text for bit, text in _NOW.items() if word >> (bit + _SINCE_BOOT_SHIFT) & 1)

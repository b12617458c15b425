"""The name of the CPU: x86 tells it, ARM only numbers it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from muster_devices.tree import read_text

# MIDR implementer and part numbers; source: util-linux sys-utils/lscpu-arm.c and Arm's technical reference manuals.
_PARTS = {
    (0x41, 0xB76): "ARM1176",
    (0x41, 0xC07): "Cortex-A7",
    (0x41, 0xC08): "Cortex-A8",
    (0x41, 0xC09): "Cortex-A9",
    (0x41, 0xC0F): "Cortex-A15",
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510",
    (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD48): "Cortex-X2",
    (0x41, 0xD4D): "Cortex-A715",
    (0x41, 0xD4E): "Cortex-X3",
    (0x41, 0xD80): "Cortex-A520",
    (0x41, 0xD81): "Cortex-A720",
    (0x41, 0xD82): "Cortex-X4",
    (0x4E, 0x003): "Denver 2",
    (0x4E, 0x004): "Carmel",
    (0x51, 0x800): "Kryo 2xx Gold",
    (0x51, 0x801): "Kryo 2xx Silver",
    (0x51, 0x802): "Kryo 3xx Gold",
    (0x51, 0x803): "Kryo 3xx Silver",
    (0x51, 0x804): "Kryo 4xx Gold",
    (0x51, 0x805): "Kryo 4xx Silver",
}


def cpu_model(root: Path = Path("/")) -> str:
    """The CPU's name; the different cores of a big.LITTLE chip joined with `` + ``; "" when nothing tells."""
    names: list[str] = []
    for block in _processors(root):
        name = block.get("model name") or _arm_name(block)
        if name and name not in names:
            names.append(name)
    return " + ".join(names)


def _processors(root: Path) -> Iterator[dict[str, str]]:
    for text in (read_text(root, "proc/cpuinfo") or "").split("\n\n"):
        pairs = (line.partition(":") for line in text.splitlines())
        yield {key.strip(): value.strip() for key, _, value in pairs}


def _arm_name(block: dict[str, str]) -> str:
    try:
        implementer, part = int(block["CPU implementer"], 16), int(block["CPU part"], 16)
    except (KeyError, ValueError):
        return ""
    return _PARTS.get((implementer, part), f"ARM implementer {implementer:#x} part {part:#x}")

"""How people write waves: "25%", a number of devices, or "all"; each says how far the rollout has then reached."""

from __future__ import annotations

from collections.abc import Sequence

from muster_protos.errors import InvalidInputError


def ratios_of(waves: Sequence[str], devices: int) -> tuple[float, ...]:
    """Shares of the fleet reached, in (0, 1]. InvalidInputError on anything else."""
    return tuple(_ratio(wave.strip(), devices) for wave in waves)


def _ratio(wave: str, devices: int) -> float:
    if wave == "all":
        return 1.0
    number, is_share = (wave[:-1], True) if wave.endswith("%") else (wave, False)
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if is_share and 0 < value <= 100:
        return value / 100
    if not is_share and value.is_integer() and value >= 1:
        return min(1.0, value / max(1, devices))
    raise InvalidInputError(f'expected a wave such as 25%, 3 or all, found "{wave[:40]}"')

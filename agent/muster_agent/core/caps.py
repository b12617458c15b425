"""The slow loop: which rung may be the highest, from heat, throttling, battery and memory. Pure.

A cap lowers at once and lifts only after 30 s without a cause (SELECTION: hysteresis >= 30 s), so that a device at
its limit does not swing. Missing sensors cap nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

HYSTERESIS_NS = 30_000_000_000
HOT_READINGS = 3  # in a row; one spike is not heat
HEADROOM_CELSIUS = 5.0  # below the trip point counts as hot
LOW_BATTERY_RATIO = 0.15
EMPTY_BATTERY_RATIO = 0.05
LOW_MEMORY_RATIO = 0.08


@dataclass(frozen=True, slots=True)
class Readings:
    """One look at the device; None = no such sensor."""

    temperature_celsius: float | None = None
    trip_celsius: float | None = None  # where the device begins to throttle by itself
    throttle_flags: tuple[str, ...] = ()
    battery_ratio: float | None = None
    is_charging: bool | None = None
    available_bytes: int | None = None
    ram_bytes: int | None = None
    cpu_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class CapState:
    """The cap in force, as steps down from the best rung."""

    steps_down: int = 0
    reason: str = ""
    hot_readings: int = 0
    calm_since_ns: int | None = None  # monotonic; None while there is a cause


@dataclass(frozen=True, slots=True)
class Cap:
    """What a ladder of some length may use."""

    highest_rung: int
    reason: str


def next_cap(state: CapState, readings: Readings, now_ns: int) -> CapState:
    """The cap after one more reading; ``now_ns`` is monotonic."""
    hot = state.hot_readings + 1 if _is_hot(readings) else 0
    wanted, reason = _causes(readings, hot)
    if wanted > state.steps_down or (wanted == state.steps_down and wanted > 0):
        return CapState(wanted, reason, hot, None)
    if state.steps_down == 0:
        return CapState(0, "", hot, None)
    calm_since_ns = now_ns if state.calm_since_ns is None else state.calm_since_ns
    if now_ns - calm_since_ns >= HYSTERESIS_NS:
        steps_down = max(wanted, state.steps_down - 1)
        return CapState(steps_down, reason or (state.reason if steps_down else ""), hot, now_ns if steps_down else None)
    return CapState(state.steps_down, state.reason, hot, calm_since_ns)


def cap_for(state: CapState, rungs: int) -> Cap:
    """The cap on a ladder of ``rungs`` rungs; the cheapest is always allowed."""
    return Cap(max(0, min(state.steps_down, rungs - 1)), state.reason)


def _is_hot(readings: Readings) -> bool:
    if readings.temperature_celsius is None or readings.trip_celsius is None:
        return False
    return readings.temperature_celsius > readings.trip_celsius - HEADROOM_CELSIUS  # NaN compares false


def _causes(readings: Readings, hot_readings: int) -> tuple[int, str]:
    """Steps down from the best rung, and the strongest cause."""
    causes: list[tuple[int, str]] = [(0, "")]
    if readings.throttle_flags:
        causes.append((1, f"the device throttles: {', '.join(readings.throttle_flags)}"))
    if hot_readings >= HOT_READINGS:
        causes.append((1 + hot_readings // 10, f"hot: {readings.temperature_celsius:.0f} C"))
    if readings.battery_ratio is not None and readings.is_charging is not True:
        if readings.battery_ratio <= EMPTY_BATTERY_RATIO:
            causes.append((64, f"battery at {readings.battery_ratio:.0%}"))
        elif readings.battery_ratio <= LOW_BATTERY_RATIO:
            causes.append((1, f"battery at {readings.battery_ratio:.0%}"))
    if readings.available_bytes is not None and readings.ram_bytes:
        ratio = readings.available_bytes / readings.ram_bytes
        if ratio < LOW_MEMORY_RATIO:
            causes.append((1, f"memory: {ratio:.0%} available"))
    return max(causes, key=lambda cause: cause[0])

"""Decisions: which configuration each device gets, and why not another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from muster.bench import configuration_text
from muster.connection import Connection
from muster.rollouts import Rollout, start_rollout
from muster.view import View
from muster_protos.errors import InfeasibleError, NotFoundError, UsageError


class Decision(View):
    """What was decided for one device; never changed after it was stored."""

    @property
    def device_id(self) -> str:
        return str(self.fields["device_id"])

    @property
    def is_feasible(self) -> bool:
        return self.fields["chosen"] is not None

    @property
    def chosen(self) -> str | None:
        chosen = self.fields["chosen"]
        return None if chosen is None else configuration_text(chosen)

    @property
    def ladder(self) -> list[str]:
        """Best to cheapest."""
        return [configuration_text(rung) for rung in self.fields["ladder"]]

    @property
    def candidates(self) -> list[Mapping[str, Any]]:
        return list(self.fields["candidates"])

    @property
    def nearest_miss(self) -> str:
        return str(self.fields["nearest_miss"])

    def explain(self) -> str:
        """The choice, then a line per candidate: its figures and what ruled it out."""
        head = self.chosen or f"nothing satisfies the policy; nearest miss: {self.nearest_miss}"
        emulated = " (emulated)" if self.fields["is_emulated"] else ""
        return "\n".join([f"{self.device_id}{emulated}: {head}", *(_line(c) for c in self.candidates)])


class Plan:
    """The decisions for a set of devices, ready to be rolled out."""

    def __init__(
        self,
        connection: Connection,
        model: str,
        policy_yaml: str,
        decisions: Sequence[Decision],
        *,
        is_stored: bool = True,
    ) -> None:
        self._connection = connection
        self._model = model
        self.is_stored = is_stored
        self.policy_yaml = policy_yaml
        self.decisions = tuple(decisions)

    @property
    def infeasible(self) -> tuple[Decision, ...]:
        return tuple(decision for decision in self.decisions if not decision.is_feasible)

    @property
    def is_feasible(self) -> bool:
        """At least one device has a choice."""
        return len(self.infeasible) < len(self.decisions)

    def decision(self, device: str) -> Decision:
        for decision in self.decisions:
            if decision.device_id == device:
                return decision
        known = ", ".join(decision.device_id for decision in self.decisions)
        raise NotFoundError(f'no decision for device "{device}"; decided for: {known}')

    def explain(self, device: str | None = None) -> str:
        """For one device, or for all."""
        chosen = self.decisions if device is None else (self.decision(device),)
        return "\n".join(decision.explain() for decision in chosen)

    def check(self) -> None:
        """InfeasibleError with the nearest miss when no device has a choice."""
        if not self.is_feasible:
            misses = "; ".join(f"{d.device_id}: {d.nearest_miss or 'no measurement'}" for d in self.infeasible[:3])
            raise InfeasibleError(f"no variant of {self._model} satisfies the policy; nearest miss: {misses}")

    def rollout(self, canary: int = 0, waves: Sequence[float | str] = (), **options: Any) -> Rollout:
        """Roll the feasible choices out: a canary count, then waves as shares (0.25) or text ("25%", "all").

        Raises:
            UsageError: the plan is a dry run.
        """
        if not self.is_stored:
            raise UsageError("expected stored decisions to roll out, found those of a dry run; select without dry_run")
        self.check()
        devices = [decision.device_id for decision in self.decisions if decision.is_feasible]
        return start_rollout(self._connection, self._model, devices, canary=canary, waves=waves, **options)


def _line(candidate: Mapping[str, Any]) -> str:
    figures = [f"p95 {_figure(candidate['p95_ms'], 'ms')}", f"memory {_figure(candidate['peak_memory_mib'], 'MiB')}"]
    if candidate["quality"] is not None:
        figures.insert(0, f"{candidate['quality_kind']} {candidate['quality']:.4f}")
    return f"  {configuration_text(candidate['configuration'])}: {candidate['verdict']} ({', '.join(figures)})"


def _figure(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:.3g} {unit}"

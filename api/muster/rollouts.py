"""Rollouts: decisions into force, wave by wave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from muster.connection import Connection
from muster.view import View
from muster.waiting import wait_for
from muster_protos.errors import PermanentError

_OVER = frozenset({"succeeded", "failed", "aborted", "rolled_back"})


class RolloutView(View):
    """A rollout and each device's part of it."""

    @property
    def state(self) -> str:
        return str(self.fields["rollout"]["state"])

    @property
    def reason(self) -> str:
        return str(self.fields["rollout"]["reason"])

    @property
    def deployments(self) -> list[Mapping[str, Any]]:
        return list(self.fields["deployments"])

    @property
    def is_over(self) -> bool:
        return self.state in _OVER


class Rollout:
    """A handle on a rollout; letting go of it does not stop it."""

    def __init__(self, connection: Connection, rollout_id: str) -> None:
        self._connection = connection
        self.rollout_id = rollout_id
        self.url = f"{connection.url}/v1/rollouts/{rollout_id}"

    def view(self) -> RolloutView:
        return RolloutView(self._connection.get(f"/v1/rollouts/{self.rollout_id}"))

    def pause(self, reason: str = "") -> RolloutView:
        """No further wave; ``reason`` is kept and shown, here as below."""
        return self._steer("pause", reason)

    def approve(self, reason: str = "") -> RolloutView:
        """Start the next wave, after this one is through."""
        return self._steer("approve", reason)

    def resume(self, reason: str = "") -> RolloutView:
        """Lift any hold."""
        return self._steer("resume", reason)

    def abort(self, reason: str = "") -> RolloutView:
        """Start no more devices and take back what is not committed; what is committed stays."""
        return self._steer("abort", reason)

    def rollback(self, reason: str = "") -> RolloutView:
        """Every device back to what it served before; look at ``bare_after_rollback`` first."""
        return self._steer("rollback", reason)

    def bare_after_rollback(self) -> list[str]:
        """The devices that would serve nothing of the model: this rollout was its first there."""
        found = self._connection.get(f"/v1/rollouts/{self.rollout_id}/rollback")
        return [str(device_id) for device_id in found["bare_device_ids"]]

    def wait(
        self, timeout_s: float | None = None, on_change: Callable[[RolloutView], None] | None = None
    ) -> RolloutView:
        """Wait for its end.

        Raises:
            PermanentError: it did not succeed; the message says why.
            WaitTimeoutError: ``timeout_s`` went by; it goes on.
        """
        view = wait_for(
            self.view, lambda view: view.is_over or view.state == "paused", self.rollout_id, timeout_s, on_change
        )
        if view.state not in ("succeeded", "paused"):
            raise PermanentError(f"rollout {self.rollout_id} {view.state}: {view.reason}")
        return view

    def _steer(self, action: str, reason: str) -> RolloutView:
        path = f"/v1/rollouts/{self.rollout_id}/{action}"
        return RolloutView(self._connection.post(path, {"reason": reason} if reason else None))


def start_rollout(
    connection: Connection,
    model: str,
    devices: Sequence[str],
    canary: int = 0,
    waves: Sequence[float | str] = (),
    **options: Any,
) -> Rollout:
    """``options``: labels, canary_labels, policy_yaml, deadline_s, error_threshold_ratio, ... as REST takes them."""
    body = {"model": model, "devices": [*devices], "canary": canary, "waves": [_wave(w) for w in waves], **options}
    fields = connection.post("/v1/rollouts", body)
    return Rollout(connection, str(fields["rollout"]["rollout_id"]))


def _wave(wave: float | str) -> str:
    """0.25 is a quarter, 1.0 is everything, 3 is three devices, text is taken as it is."""
    if isinstance(wave, str):
        return wave
    if isinstance(wave, int):
        return str(wave)
    return "all" if wave == 1.0 else f"{wave * 100:g}%"

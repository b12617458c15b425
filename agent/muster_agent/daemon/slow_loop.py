"""Once a second: caps from the sensors, what the guard did, telemetry, and whether a trial has proved healthy."""

from __future__ import annotations

import logging

from muster_agent.core import transitions
from muster_agent.core.caps import Cap, CapState, Readings, cap_for, next_cap
from muster_agent.core.known import Live
from muster_agent.core.wanted import same_grant
from muster_agent.daemon.moment import Moment
from muster_agent.daemon.outbox import Outbox
from muster_agent.daemon.parts import Parts, Settings
from muster_protos.model import LocalCap, LocalStatus, Telemetry

log = logging.getLogger(__name__)

PERIOD_NS = 1_000_000_000
_LONGEST_GAP_NS = 10 * PERIOD_NS  # between two looks; a machine that slept in between has proved nothing in its sleep
_SAMPLED_MODELS = 16  # in a period; the controller takes 20 samples a second of a device
_DEVICE_SAMPLE_EVERY = 5  # periods between whole-device samples


class SlowLoop:
    """Belongs to the daemon's loop."""

    def __init__(self, parts: Parts, settings: Settings, moment: Moment, outbox: Outbox) -> None:
        self._parts = parts
        self._settings = settings
        self._moment = moment
        self._outbox = outbox
        self._state = CapState()
        self._caps: dict[str, tuple[str, Cap]] = {}  # by model: the deployment that was told, and what
        self._up_ns: dict[str, int] = {}  # for how long, by deployment
        self._seen_ns: int | None = None  # when that was counted last
        self._periods = 0
        self._next_ns = 0

    @property
    def next_ns(self) -> int:
        """When it wants to run again, monotonic."""
        return self._next_ns

    def turn(self) -> None:
        """Do a period's work when it is due."""
        now_ns = self._parts.clock.monotonic_ns()
        if now_ns < self._next_ns:
            return
        self._next_ns = now_ns + PERIOD_NS
        self._periods += 1
        readings = self._parts.sensors.read()
        self._state = next_cap(self._state, readings, now_ns)
        samples: list[Telemetry] = []
        gap_ns = 0 if self._seen_ns is None else min(now_ns - self._seen_ns, _LONGEST_GAP_NS)
        self._seen_ns = now_ns
        lives = {model_id: live for model_id in self._moment.live_ids() if (live := self._moment.live(model_id))}
        sampled = self._turn_of(tuple(lives))
        for model_id, live in lives.items():
            self._cap(model_id, live)
            self._mark_healthy(model_id, live, gap_ns)
            status = self._parts.served.status(model_id)
            if status is not None:
                self._moment.set_active(model_id, status.active_variant_id, status.resident_variant_ids)
                if model_id in sampled:
                    samples.append(self._sample(model_id, status))
        deployments = {live.grant.deployment_id for live in lives.values()}
        self._caps = {model_id: told for model_id, told in self._caps.items() if model_id in lives}
        self._up_ns = {key: up_ns for key, up_ns in self._up_ns.items() if key in deployments}
        if self._periods % _DEVICE_SAMPLE_EVERY == 1:
            samples.append(self._device_sample(readings))
        self._outbox.telemetry(samples)

    def _turn_of(self, model_ids: tuple[str, ...]) -> frozenset[str]:
        """The models that are sampled now: all, or by turns where they are many."""
        if len(model_ids) <= _SAMPLED_MODELS:
            return frozenset(model_ids)
        first = self._periods * _SAMPLED_MODELS % len(model_ids)
        return frozenset((model_ids + model_ids)[first : first + _SAMPLED_MODELS])

    def _cap(self, model_id: str, live: Live) -> None:
        """Tell a model that came up what the cap is, and every model when it moves."""
        deployment_id = live.grant.deployment_id
        cap = cap_for(self._state, len(live.variant_ids))
        told_deployment_id, told = self._caps.get(model_id, ("", Cap(0, "")))
        if (deployment_id, cap.highest_rung) == (told_deployment_id, told.highest_rung):
            return
        self._caps[model_id] = (deployment_id, cap)
        self._parts.served.cap(model_id, LocalCap(cap.highest_rung, cap.reason))
        if cap.highest_rung != told.highest_rung:
            reason = cap.reason or "the cause is gone"
            self._outbox.event("rung.capped", model_id=model_id, reason=f"highest rung {cap.highest_rung}: {reason}")

    def _mark_healthy(self, model_id: str, live: Live, gap_ns: int) -> None:
        deployment_id = live.grant.deployment_id
        up_ns = self._up_ns[deployment_id] + gap_ns if deployment_id in self._up_ns else 0
        self._up_ns[deployment_id] = up_ns
        if up_ns < self._settings.healthy_after_s * 1e9:
            return
        record = self._parts.state.serving().get(model_id)
        if record is None or record.target is None or (record.trial_starts == 0 and record.before_good is None):
            return
        if same_grant(record.target.grant, live.grant):
            self._parts.state.put_serving(transitions.healthy(record))

    def _sample(self, model_id: str, status: LocalStatus) -> Telemetry:
        finished = status.answered + status.failed + status.shed
        return Telemetry(
            at_ns=self._parts.clock.now_ns(),
            model_id=model_id,
            variant_id=status.active_variant_id,
            requests_per_s=status.requests_per_s,
            p50_ns=status.p50_ns,
            p95_ns=status.p95_ns,
            slo_missed_ratio=status.slo_missed / finished if finished else None,
            queue_length=status.queue_length,
            slowdown_ratio=status.slowdown_ratio,
        )

    def _device_sample(self, readings: Readings) -> Telemetry:
        return Telemetry(
            at_ns=self._parts.clock.now_ns(),
            cpu_ratio=readings.cpu_ratio,
            available_bytes=readings.available_bytes,
            temperature_celsius=readings.temperature_celsius,
            battery_ratio=readings.battery_ratio,
        )

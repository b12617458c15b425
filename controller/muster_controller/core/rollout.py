"""What a rollout does next. Pure: the service asks after every report and on a timer, and applies the answer.

Invariants:
- a wave starts only when enough of the one before is committed (``success_threshold_ratio``);
- more failures than ``error_threshold_ratio``, in the active wave or in all, stop the rollout at once: what is not
  committed is taken back, what has not been started never is;
- silence is failure: every started deployment has a deadline, never further away than ``deadline_s``;
- a cancelled deployment (superseded by a newer rollout, or its device left before its wave) counts neither way;
- what has ended never moves again, but for a rollback, which a person asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from muster_controller.core.deployments import counts, has_failed, is_failure, is_settled, is_underway
from muster_controller.core.entities import Deployment, Rollout, RolloutState
from muster_protos.errors import ConflictError
from muster_protos.model import DeploymentState

_NS_PER_S = 10**9
_OPEN = (RolloutState.RUNNING, RolloutState.PAUSED)
_CLOCK_TOLERANCE_NS = 60 * _NS_PER_S


@dataclass(frozen=True, slots=True)
class StartWave:
    """Grant the wave's deployments to their devices; those of it that have begun stay as they are."""

    wave: int


@dataclass(frozen=True, slots=True)
class Commit:
    """These have been seen healthy: tell their devices to keep them."""

    deployment_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FailSilent:
    """These missed their deadline."""

    deployment_ids: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Redate:
    """The clock was set back since these started: their time begins now."""

    deployment_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """The wave is through; a person shall look before the next one."""

    reason: str


@dataclass(frozen=True, slots=True)
class Complete:
    """Every wave is through."""


@dataclass(frozen=True, slots=True)
class Abort:
    """Stop at once and take back what is not committed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Nobody wants any of it any more."""

    reason: str


Action = StartWave | Commit | FailSilent | Redate | Pause | Complete | Abort | Withdraw


def next_step(rollout: Rollout, deployments: Sequence[Deployment], now_ns: int) -> tuple[Action, ...]:
    """What to do now, in order; empty when there is nothing to do but wait. ``apply`` each, then ask again.

    A fresh rollout (``active_wave`` -1) starts its first wave. A paused one still commits, fails the silent and aborts.
    """
    if rollout.state not in _OPEN:
        return ()
    if deployments and not any(counts(item) for item in deployments):
        return (Withdraw(deployments[0].reason),)
    started = [item for item in deployments if item.wave <= rollout.active_wave and counts(item)]
    redated = tuple(sorted(item.deployment_id for item in started if _is_too_far_off(item, rollout.deadline_s, now_ns)))
    if redated:
        return (Redate(redated),)
    silent = tuple(sorted(item.deployment_id for item in started if _is_silent(item, now_ns)))
    if silent:
        return (FailSilent(silent, f"no success within {rollout.deadline_s} s"),)
    active = [item for item in started if item.wave == rollout.active_wave]
    reason = _abort_reason(rollout, started, active)
    if reason:
        return (Abort(reason),)
    healthy = tuple(sorted(item.deployment_id for item in started if _is_healthy(item)))
    actions: tuple[Action, ...] = (Commit(healthy),) if healthy else ()
    if rollout.state is RolloutState.RUNNING:
        actions += _advance(rollout, started, active)
    return actions


def apply(
    rollout: Rollout, deployments: Sequence[Deployment], action: Action, now_ns: int
) -> tuple[Rollout, tuple[Deployment, ...]]:
    """(the rollout after ``action``, the deployments that changed)."""
    match action:
        case StartWave(wave):
            changed = _change(
                deployments,
                lambda item: item.wave == wave and item.started_at_ns == 0 and not is_settled(item),
                lambda item: _started(item, rollout.deadline_s, now_ns),
            )
            return replace(rollout, active_wave=wave), changed
        case Commit(ids):
            return rollout, _change(
                deployments, lambda item: item.deployment_id in ids, lambda item: _told(item, now_ns)
            )
        case FailSilent(ids, reason):
            return rollout, _change(
                deployments, lambda item: item.deployment_id in ids, lambda item: _silent(item, reason, now_ns)
            )
        case Redate(ids):
            deadline_ns = now_ns + rollout.deadline_s * _NS_PER_S
            return rollout, _change(
                deployments,
                lambda item: item.deployment_id in ids,
                lambda item: replace(item, grant=replace(item.grant, deadline_ns=deadline_ns)),
            )
        case Pause(reason):
            return replace(rollout, state=RolloutState.PAUSED, reason=reason), ()
        case Complete():
            return replace(rollout, state=RolloutState.SUCCEEDED, reason=""), ()
        case Abort(reason):
            return _stop(rollout, deployments, RolloutState.FAILED, reason, now_ns)
        case Withdraw(reason):
            return _stop(rollout, deployments, RolloutState.ABORTED, reason, now_ns)


def join(rollout: Rollout, deployment: Deployment) -> tuple[Rollout, Deployment]:
    """A device that came later is part of the last wave: after everybody who has to prove the release first."""
    if rollout.state not in _OPEN:
        raise ConflictError(f"expected an open rollout, found it {_found(rollout)}")
    *before, last = rollout.waves
    return replace(rollout, waves=(*before, (*last, deployment.device_id))), replace(deployment, wave=len(before))


def pause(rollout: Rollout, reason: str = "paused by a person") -> Rollout:
    """Hold it: no further wave until ``resume``; what is under way goes on."""
    if rollout.state is not RolloutState.RUNNING:
        raise ConflictError(f"expected a running rollout, found it {_found(rollout)}")
    return replace(rollout, state=RolloutState.PAUSED, reason=reason)


def resume(rollout: Rollout, deployments: Sequence[Deployment], now_ns: int) -> tuple[Rollout, tuple[Deployment, ...]]:
    """Go on, past the wave after which it paused."""
    if rollout.state is not RolloutState.PAUSED:
        raise ConflictError(f"expected a paused rollout, found it {_found(rollout)}")
    running = replace(rollout, state=RolloutState.RUNNING, reason="")
    if is_through(rollout, deployments) and rollout.active_wave + 1 < len(rollout.waves):
        return apply(running, deployments, StartWave(rollout.active_wave + 1), now_ns)
    return running, ()


def abort(
    rollout: Rollout, deployments: Sequence[Deployment], reason: str, now_ns: int
) -> tuple[Rollout, tuple[Deployment, ...]]:
    """Cancel: works in every state of an open rollout, whatever its devices do; they learn it when they are back.

    What is committed stays, the rest is taken back. Aborting twice is aborting once.
    """
    if rollout.state is RolloutState.ABORTED:
        return rollout, ()
    if rollout.state not in _OPEN:
        raise ConflictError(
            f"expected an open rollout, found it {_found(rollout)}: nothing of it is under way; "
            f"what it committed goes back with: muster rollout rollback {rollout.rollout_id}"
        )
    return _stop(rollout, deployments, RolloutState.ABORTED, reason, now_ns)


def roll_back(
    rollout: Rollout, deployments: Sequence[Deployment], reason: str, now_ns: int
) -> tuple[Rollout, tuple[Deployment, ...]]:
    """Take everything back, the committed, too: each device returns to what it had before."""
    if rollout.state is RolloutState.ROLLED_BACK:
        raise ConflictError(
            f"expected a rollout that is not rolled back yet, found it {_found(rollout)}; "
            f"to put it into force again: muster rollout start {rollout.model_id}:{rollout.model_version}"
        )
    started = _end(
        deployments,
        lambda item: item.started_at_ns > 0 and not has_failed(item),
        DeploymentState.ROLLED_BACK,
        reason,
        now_ns,
    )
    waiting = _cancel_waiting(deployments, reason, now_ns)
    return replace(rollout, state=RolloutState.ROLLED_BACK, reason=reason), (*started, *waiting)


def is_through(rollout: Rollout, deployments: Sequence[Deployment]) -> bool:
    """Whether enough of the active wave is committed."""
    return _is_through(rollout, [item for item in deployments if item.wave == rollout.active_wave and counts(item)])


def _found(rollout: Rollout) -> str:
    return f"{rollout.state.value} ({rollout.reason})" if rollout.reason else rollout.state.value


def _advance(rollout: Rollout, started: Sequence[Deployment], active: Sequence[Deployment]) -> tuple[Action, ...]:
    if rollout.active_wave < 0:
        return (StartWave(0),)
    if any(item.started_at_ns == 0 and not is_settled(item) for item in active):  # joined after the wave was started
        return (StartWave(rollout.active_wave),)
    if not _is_through(rollout, active):
        return ()
    if rollout.active_wave + 1 < len(rollout.waves):
        if rollout.pauses_after_wave:
            return (Pause(f"wave {rollout.active_wave + 1} of {len(rollout.waves)} is through: approve to go on"),)
        return (StartWave(rollout.active_wave + 1),)
    return (Complete(),) if all(is_settled(item) for item in started) else ()


def _is_through(rollout: Rollout, active: Sequence[Deployment]) -> bool:
    """Enough of the wave is committed; an empty wave is."""
    committed = sum(item.state is DeploymentState.COMMITTED for item in active)
    return committed >= rollout.success_threshold_ratio * len(active) - 1e-9


def _abort_reason(rollout: Rollout, started: Sequence[Deployment], active: Sequence[Deployment]) -> str:
    wave = f"wave {rollout.active_wave + 1}"
    # The active wave alone, so that earlier successes do not dilute it; all of them, so that late failures count.
    for meant, name in ((active, wave), (started, f"waves 1 to {rollout.active_wave + 1}")):
        failed = sum(is_failure(item) for item in meant)
        if failed > rollout.error_threshold_ratio * len(meant) + 1e-9:
            return f"{failed} of {len(meant)} devices of {name} failed; {_first_failure(meant)}"
    if active and all(is_settled(item) for item in active) and not _is_through(rollout, active):
        return f"too few devices of {wave} succeeded; {_first_failure(active)}"
    return ""


def _first_failure(deployments: Sequence[Deployment]) -> str:
    failed = [item for item in deployments if is_failure(item)]
    first = min(failed, key=lambda item: (item.updated_at_ns, item.deployment_id))
    return f"the first, {first.device_id}: {first.reason or first.state.value}"


def _is_silent(deployment: Deployment, now_ns: int) -> bool:
    return is_underway(deployment) and 0 < deployment.grant.deadline_ns <= now_ns


def _is_too_far_off(deployment: Deployment, deadline_s: int, now_ns: int) -> bool:
    furthest_ns = now_ns + deadline_s * _NS_PER_S + _CLOCK_TOLERANCE_NS
    return is_underway(deployment) and deployment.grant.deadline_ns > furthest_ns


def _is_healthy(deployment: Deployment) -> bool:
    """Active after its self-test, up without complaint, and not yet told to stay."""
    is_up = deployment.state is DeploymentState.ACTIVATED and not deployment.reason
    return is_up and not deployment.grant.is_committed


def _started(deployment: Deployment, deadline_s: int, now_ns: int) -> Deployment:
    grant = replace(deployment.grant, deadline_ns=now_ns + deadline_s * _NS_PER_S)
    return replace(deployment, grant=grant, started_at_ns=now_ns, updated_at_ns=now_ns)


def _silent(deployment: Deployment, reason: str, now_ns: int) -> Deployment:
    """Failed, with how far it was known to be."""
    known = f"{deployment.state.value}: {deployment.reason}" if deployment.reason else deployment.state.value
    return replace(
        deployment, state=DeploymentState.FAILED, reason=f"{reason}; last heard: {known}", updated_at_ns=now_ns
    )


def _told(deployment: Deployment, now_ns: int) -> Deployment:
    return replace(deployment, grant=replace(deployment.grant, is_committed=True), updated_at_ns=now_ns)


def _stop(
    rollout: Rollout, deployments: Sequence[Deployment], state: RolloutState, reason: str, now_ns: int
) -> tuple[Rollout, tuple[Deployment, ...]]:
    taken_back = _end(deployments, is_underway, DeploymentState.ROLLED_BACK, reason, now_ns)
    waiting = _cancel_waiting(deployments, reason, now_ns)
    return replace(rollout, state=state, reason=reason), (*taken_back, *waiting)


def _cancel_waiting(deployments: Sequence[Deployment], reason: str, now_ns: int) -> tuple[Deployment, ...]:
    return _end(
        deployments,
        lambda item: item.started_at_ns == 0 and not is_settled(item),
        DeploymentState.CANCELLED,
        reason,
        now_ns,
    )


def _end(
    deployments: Sequence[Deployment],
    is_meant: Callable[[Deployment], bool],
    state: DeploymentState,
    reason: str,
    now_ns: int,
) -> tuple[Deployment, ...]:
    return _change(deployments, is_meant, lambda item: replace(item, state=state, reason=reason, updated_at_ns=now_ns))


def _change(
    deployments: Sequence[Deployment],
    is_meant: Callable[[Deployment], bool],
    change: Callable[[Deployment], Deployment],
) -> tuple[Deployment, ...]:
    return tuple(change(item) for item in deployments if is_meant(item))

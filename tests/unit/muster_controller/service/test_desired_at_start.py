"""At a start each device's desired state is composed once: by its hello, or for those that stay away, afterwards."""

from __future__ import annotations

import pytest

from muster_controller.service.desired import DesiredStates
from muster_controller.testing_service import ServiceLab
from muster_protos.errors import ConflictError, MusterError, TemporaryError


@pytest.fixture
def composed(lab: ServiceLab, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices, in the order in which their states were composed."""
    found: list[str] = []
    compose = DesiredStates._refresh_once

    def noted(self: DesiredStates, device_id: str, held: tuple[int, int]) -> bool:
        found.append(device_id)
        return compose(self, device_id, held)

    for device_id in ("jetson", "phone", "pi"):
        lab.add_device(device_id)
    monkeypatch.setattr(DesiredStates, "_refresh_once", noted)
    return found


def test_who_came_back_meanwhile_is_not_composed_again(lab: ServiceLab, composed: list[str]) -> None:
    lab.service.desired.begin_refresh()
    lab.open_session("phone")
    lab.service.desired.refresh_rest()
    assert composed == ["phone", "jetson", "pi"]


def test_what_was_composed_before_the_recovery_had_begun_does_not_count(lab: ServiceLab, composed: list[str]) -> None:
    lab.service.desired.refresh("phone")
    lab.service.desired.begin_refresh()
    lab.service.desired.refresh_rest()
    assert composed == ["phone", "jetson", "phone", "pi"]


def test_a_rotation_composes_all_of_them_however_often(lab: ServiceLab, composed: list[str]) -> None:
    lab.service.desired.refresh_all()
    lab.service.desired.refresh_all()
    assert composed == ["jetson", "phone", "pi"] * 2


def test_one_device_that_fails_keeps_no_other_from_its_state(
    lab: ServiceLab, composed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "jetson", ConflictError("expected peace"))
    lab.service.desired.begin_refresh()
    lab.service.desired.refresh_rest()
    assert {"phone", "pi"} <= set(composed)
    lab.service.desired.refresh_rest()
    assert composed.count("pi") == 1, "expected nothing to be left"


def test_what_a_store_that_is_locked_has_left_is_composed_by_the_next_call(
    lab: ServiceLab, composed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.service.desired.begin_refresh()
    with monkeypatch.context() as locked:
        failing(locked, "phone", TemporaryError("the store is locked", 1.0))
        with pytest.raises(TemporaryError):
            lab.service.desired.refresh_rest()
    lab.service.desired.refresh_rest()
    assert composed == ["jetson", "phone", "pi"]


def test_it_ends_when_the_controller_does(lab: ServiceLab, composed: list[str]) -> None:
    lab.service.desired.begin_refresh()
    lab.service.desired.stop_refresh()
    lab.service.desired.refresh_rest()
    assert composed == []


def failing(monkeypatch: pytest.MonkeyPatch, failing_id: str, error: MusterError) -> None:
    compose = DesiredStates._refresh_once

    def raising(self: DesiredStates, device_id: str, held: tuple[int, int]) -> bool:
        if device_id == failing_id:
            raise error
        return compose(self, device_id, held)

    monkeypatch.setattr(DesiredStates, "_refresh_once", raising)

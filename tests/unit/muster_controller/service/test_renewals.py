from __future__ import annotations

import pytest

from muster_controller.testing_service import ServiceLab
from muster_protos.errors import NotAuthorisedError
from muster_protos.model import RenewRequest


def test_device_that_the_store_does_not_know_is_not_authorised(
    lab: ServiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab.authority, "check_renewal", lambda *_: ("pi", lab.clock.now_ns()))
    with pytest.raises(NotAuthorisedError, match="unknown; join it again"):
        lab.service.renewals.renew(RenewRequest(b"", b""))


def test_expired_device_that_asks_without_end_is_one_event_an_hour(
    lab: ServiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended_ns = lab.clock.now_ns() - 91 * 86_400 * 10**9
    monkeypatch.setattr(lab.authority, "check_renewal", lambda *_: ("pi", ended_ns))
    for _ in range(5):
        with pytest.raises(NotAuthorisedError, match="91 days ago"):
            lab.service.renewals.renew(RenewRequest(b"", b""))
    assert len(lab.service.events.list(kind="identity.expired")) == 1
    lab.clock.advance(3601)
    with pytest.raises(NotAuthorisedError, match="91 days ago"):
        lab.service.renewals.renew(RenewRequest(b"", b""))
    assert len(lab.service.events.list(kind="identity.expired")) == 2

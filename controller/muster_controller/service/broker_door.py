"""Renewals of devices whose certificate has run out and that reach nothing but a broker.

The rules are those of the join endpoint's door (``renewals.py``); only the way in differs.
"""

from __future__ import annotations

from muster_controller.ports import DeviceRevokedError
from muster_controller.service.renewals import Renewals
from muster_protos import codec
from muster_protos.broker_door import NONCE_BYTES, REMOVED
from muster_protos.errors import InvalidInputError, MusterError
from muster_protos.model import BrokerDoorAnswer, BrokerDoorAsk, Refusal
from muster_protos.mqtt.refusals import refusal_of

_MAX_ASK_BYTES = 256 * 1024


class BrokerDoor:
    """Answers asks; thread-safe, may block."""

    def __init__(self, renewals: Renewals) -> None:
        self._renewals = renewals

    def answer(self, _name: str, payload: bytes) -> bytes | None:
        """A challenge, a certificate or a refusal. Who asks is proven by the request's signature, not by ``_name``.

        Raises:
            InvalidInputError: the ask is malformed.
        """
        if len(payload) > _MAX_ASK_BYTES:
            raise InvalidInputError(f"expected a renewal of at most {_MAX_ASK_BYTES} bytes, found {len(payload)}")
        ask = codec.decode(BrokerDoorAsk, payload)
        if len(ask.nonce) != NONCE_BYTES:
            raise InvalidInputError(f"expected a nonce of {NONCE_BYTES} bytes, found {len(ask.nonce)}")
        try:
            body = self._renewals.challenge() if ask.request is None else self._renewals.renew(ask.request)
        except DeviceRevokedError as error:
            return codec.encode(BrokerDoorAnswer(ask.nonce, Refusal(0, REMOVED, str(error))))
        except MusterError as error:
            return codec.encode(BrokerDoorAnswer(ask.nonce, refusal_of(0, error)))
        return codec.encode(BrokerDoorAnswer(ask.nonce, body))

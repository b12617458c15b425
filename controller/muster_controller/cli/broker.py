"""The broker of `muster up --mqtt`: one of our own, or one that somebody else runs and that was looked at first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from muster_controller.adapters.broker_mosquitto import MosquittoBroker, find_mosquitto
from muster_controller.adapters.broker_mosquitto.broker import write_private
from muster_controller.adapters.broker_mosquitto.configuration import CRL
from muster_controller.adapters.broker_mosquitto.takeover import take_over_all
from muster_controller.adapters.broker_probe import BrokerUnderTest, probe_broker
from muster_controller.adapters.link_mqtt import MqttLink
from muster_controller.cli.broker_removals import BrokerRemovals
from muster_controller.ports import Authenticator, FleetAuthority
from muster_controller.service.broker_joins import BrokerAddress
from muster_controller.service.service import Service
from muster_protos.broker_names import CONTROLLER
from muster_protos.credentials import Credentials
from muster_protos.errors import NotFoundError, PermanentError, UsageError

OWN = "own"
DEFAULT_PORT = 8883
_PAUSE_S_PER_ENTRY = 0.02
_LONGEST_PAUSE_S = 60.0
_BYTES_PER_ENTRY = 53  # of a revocation list, PEM


@dataclass(frozen=True, slots=True)
class MqttOptions:
    """What was asked for: nothing, a broker of our own, or one at ``broker``."""

    broker: str = ""  # "", "own" or mqtts://HOST:PORT
    port: int = DEFAULT_PORT  # of our own
    ca: Path | None = None  # of the other one; None = the fleet's
    certificate: Path | None = None  # who we are there; None = the fleet's controller
    key: Path | None = None

    @property
    def is_own(self) -> bool:
        return self.broker == OWN

    def address(self) -> tuple[str, int]:
        """Host and port of a broker that exists.

        Raises:
            UsageError: not ``mqtts://HOST[:PORT]``.
        """
        expected = "expected --mqtt alone for a broker of our own, or --mqtt mqtts://HOST:8883"
        try:
            parts = urlsplit(self.broker)
            port = parts.port or DEFAULT_PORT
        except ValueError as error:
            raise UsageError(f"{expected}, found {self.broker[:80]!r}") from error
        is_plain = not parts.path.strip("/") and not parts.query and not parts.fragment and "@" not in parts.netloc
        if parts.scheme != "mqtts" or not parts.hostname or not is_plain:
            raise UsageError(f"{expected}, found {self.broker[:80]!r}")
        return parts.hostname, port

    def check(self) -> None:
        """Raises:
        UsageError: the options do not go together.
        """
        others = (self.ca, self.certificate, self.key)
        if self.broker in ("", OWN):
            if any(path is not None for path in others):
                raise UsageError("expected --mqtt mqtts://HOST:8883 with --mqtt-ca, --mqtt-cert and --mqtt-key")
            return
        self.address()
        if (self.certificate is None) != (self.key is None):
            raise UsageError("expected --mqtt-cert and --mqtt-key together, found one of them")

    def check_means(self) -> None:
        """Is there what it takes? Asked before anything is made.

        Raises:
            MissingExtraError: mosquitto is not installed.
            PermanentError: one of the files cannot be read; NotFoundError: it is not there.
        """
        if self.is_own:
            find_mosquitto()
        named = {"--mqtt-ca": self.ca, "--mqtt-cert": self.certificate, "--mqtt-key": self.key}
        for option, path in named.items():
            if path is not None:
                _read(path, option)


class FleetBroker:
    """The broker and the controller's link over it, as one part that starts and stops."""

    def __init__(
        self,
        options: MqttOptions,
        folder: Path,
        service: Service,
        authority: FleetAuthority,
        authenticator: Authenticator,
        device_host: str,
        address: str,
    ) -> None:
        """``address``: under which devices reach this host."""
        self._options = options
        self._folder = folder
        self._service = service
        self._authority = authority
        self._authenticator = authenticator
        self._fleet_id = service.fleets.fleet.fleet_id
        self._own = (
            MosquittoBroker(folder, authority, self._fleet_id, options.port, device_host, [address])
            if options.is_own
            else None
        )
        self._host, self._port = (address, options.port) if options.is_own else options.address()
        self._ca_pem = authority.ca_pem() if options.ca is None else _read(options.ca, "--mqtt-ca")
        self._link: MqttLink | None = None
        self._removals = BrokerRemovals(
            lambda device_id: service.live.get(device_id) is not None, self._end, self._pause_s
        )

    @property
    def url(self) -> str:
        """The link that devices use; after ``start``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"mqtts://{host}:{self._port}"

    @property
    def ca_pem(self) -> bytes:
        """Of the broker's own certificate, where that is not the fleet's; else b""."""
        return b"" if self._ca_pem == self._authority.ca_pem() else self._ca_pem

    @property
    def problem(self) -> str:
        """Why devices cannot use it just now; "" when they can."""
        if self._own is not None and self._own.pid is None:
            return f"mosquitto does not run: {self._own.problem}"
        return self._link.problem if self._link is not None else "it is not started"

    async def start(self) -> None:
        """Start our broker, or look at the other one; then connect.

        Raises:
            MissingExtraError: mosquitto is not installed.
            PermanentError: its port is taken.
            ConflictError: a device has the name that the controller has there.
            NotAuthorisedError: the other one does not keep devices apart, or does not let us in.
            UnreachableError: the other one does not answer.
        """
        credentials = await asyncio.to_thread(self._prepare)
        host = self._own.own_host if self._own is not None else self._host
        principal = _common_name(credentials.certificate)
        self._service.joining.reserve(principal)
        self._link = MqttLink(
            self._service.sessions,
            self._authenticator,
            self._fleet_id,
            host,
            self._port,
            self._credentials,
            principal=principal,
            answer_join=self._service.broker_joins.answer,
            answer_door=self._service.broker_door.answer,
        )
        await self._link.start()
        self._service.devices.follow(self.removed)

    def advertise(self) -> None:
        """Let devices join over it, once the joining knows all links."""
        self._service.broker_joins.advertise(BrokerAddress(self._host, self._port))

    async def stop(self) -> None:
        """Leave, and end our own broker."""
        self._service.broker_joins.advertise(None)
        self._removals.close()
        link, self._link = self._link, None
        if link is not None:
            await link.stop()
        if self._own is not None:
            await asyncio.to_thread(self._own.stop)

    def removed(self, device_id: str) -> None:
        """A device was removed: end its session at the broker and refuse its certificates, as soon as it was told."""
        self._removals.add(device_id)

    def _end(self, device_ids: Sequence[str]) -> None:
        """Shut those out that have not joined again meanwhile."""
        device_ids = self._still_out(device_ids)
        try:
            if self._own is not None:
                self._own.shut_out(*device_ids)
            else:
                self._write_crl()
                take_over_all(self._authority, device_ids, self._host, self._port, self._ca_pem)
        finally:
            if self._link is not None:  # last: a session that is ended leaves its will, which is retained
                for device_id in self._still_out(device_ids):
                    self._link.forget(device_id)

    def _still_out(self, device_ids: Sequence[str]) -> tuple[str, ...]:
        return tuple(device_id for device_id in device_ids if not self._service.devices.is_member(device_id))

    def _pause_s(self) -> float:
        """How long the broker is left alone after it has read the revocation list: 20 ms for each entry."""
        try:
            size_bytes = (self._folder / CRL).stat().st_size
        except OSError:
            return 0.0
        return min(_LONGEST_PAUSE_S, _PAUSE_S_PER_ENTRY * size_bytes / _BYTES_PER_ENTRY)

    def _prepare(self) -> Credentials:
        if self._own is not None:
            self._port = self._own.start()
            return self._credentials()
        credentials = self._credentials()
        under_test = BrokerUnderTest(
            self._host, self._port, self._ca_pem, credentials, _common_name(credentials.certificate)
        )
        probe_broker(under_test, self._authority, self._fleet_id)
        self._write_crl()
        return credentials

    def _write_crl(self) -> None:
        """The revocation list for the owner of the other broker."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self._folder / CRL, self._authority.revocation_list_pem())
        except OSError as error:
            raise PermanentError(f"expected a folder of our own at {self._folder}, found: {error.strerror}") from error

    def _credentials(self) -> Credentials:
        """The controller's own at the broker."""
        options = self._options
        if options.certificate is not None and options.key is not None:
            certificate, key = _read(options.certificate, "--mqtt-cert"), _read(options.key, "--mqtt-key")
        else:
            certificate, key = self._authority.issue_client_certificate(CONTROLLER)
        return Credentials(self._ca_pem, certificate, key)


def _read(path: Path, option: str) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"expected a PEM file for {option} at {path}, found nothing") from None
    except OSError as error:
        raise PermanentError(f"expected a PEM file for {option} at {path}, found: {error.strerror}") from error


def _common_name(certificate_pem: bytes) -> str:
    """Whom a broker takes the holder for."""
    try:
        names = x509.load_pem_x509_certificate(certificate_pem).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError as error:
        raise PermanentError("expected a PEM certificate for --mqtt-cert, found something else") from error
    if not names:
        raise PermanentError("expected a certificate with a common name for --mqtt-cert, found none")
    return str(names[0].value)

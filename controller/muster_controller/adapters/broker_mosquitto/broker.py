"""The broker: its folder, its start and end, and what revocation does to it."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import socket
import ssl
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from muster_controller.adapters.broker_mosquitto import configuration
from muster_controller.adapters.broker_mosquitto.acl import acl_text
from muster_controller.adapters.broker_mosquitto.configuration import Limits, configuration_text
from muster_controller.adapters.broker_mosquitto.process import (
    Patience,
    SupervisedProcess,
    end_orphan,
)
from muster_controller.adapters.broker_mosquitto.takeover import take_over_all
from muster_controller.ports import FleetAuthority
from muster_protos.broker_names import CONTROLLER
from muster_protos.credentials import Credentials
from muster_protos.errors import MissingExtraError, MusterError, PermanentError

INSTALL = "apt-get install --no-install-recommends mosquitto"
_ELSEWHERE = ("/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto")  # off a user's PATH
_TRIES = 5  # for a free port that is taken between our look and mosquitto's start
_LOG_BYTES = 4 * 1024 * 1024

_log = logging.getLogger(__name__)


class MosquittoBroker:
    """mosquitto for one fleet, in one private folder. ``start`` before use, ``stop`` after; may be started again."""

    def __init__(
        self,
        folder: Path,
        authority: FleetAuthority,
        fleet_id: str,
        port: int = 0,
        host: str = "127.0.0.1",
        names: Sequence[str] = (),
        limits: Limits = Limits(),  # noqa: B008 - frozen
        patience: Patience = Patience(),  # noqa: B008 - frozen
    ) -> None:
        """``port`` 0: any free one, kept over restarts. ``names``: under which devices reach this host."""
        self._folder = folder.absolute()
        self._authority = authority
        self._fleet_id = fleet_id
        self._port = port
        self._host = host
        self._names = names
        self._limits = limits
        self._patience = patience
        self._process: SupervisedProcess | None = None
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """The real one, after ``start``."""
        return self._port

    @property
    def own_host(self) -> str:
        """The address under which this process reaches the broker."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)

    @property
    def problem(self) -> str:
        """Why it does not run; "" when it does."""
        return self._process.problem if self._process is not None else "it is not started"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> int:
        """Write the configuration, start, and return the real port when devices can connect.

        Raises:
            MissingExtraError: mosquitto is not installed.
            PermanentError: the port is taken, the address is not ours, or the folder cannot be used.
        """
        program = find_mosquitto()
        end_broker_of_a_killed_controller(self._folder)
        is_free_choice = self._port == 0
        for left in reversed(range(_TRIES if is_free_choice else 1)):
            port = _free_port(self._host) if is_free_choice else self._port
            try:
                self._start(program, port)
            except MusterError as error:
                if left:
                    continue
                raise PermanentError(
                    f"expected mosquitto to listen on {self._host}:{port}, found: {self._last_words() or error}; "
                    f"stop what uses the port or choose another, and see {self._folder / configuration.LOG}"
                ) from error
            self._port = port
            break
        return self._port

    def stop(self) -> None:
        """End it; retained messages are kept on disk. Safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def kill(self) -> None:
        """SIGKILL it and return when it is gone; it comes back by itself. For tests."""
        if self._process is not None:
            self._process.kill()

    def credentials(self, principal: str = CONTROLLER) -> Credentials:
        """A fresh key and certificate for a principal that is no device; without end, like the CA that signed it."""
        certificate, key = self._authority.issue_client_certificate(principal)
        return Credentials(self._authority.ca_pem(), certificate, key)

    def revoke(self, device_id: str) -> None:
        """Refuse every certificate that the device was issued so far, and end its session. Raises as ``shut_out``."""
        self._authority.revoke_certificates(device_id)
        self.shut_out(device_id)

    def shut_out(self, *device_ids: str) -> None:
        """Refuse what the authority has revoked, and end the sessions of ``device_ids``.

        The order matters: first the broker learns the revocation list, then each session is taken over by a
        certificate of ours for the same id, and what the device tries next is refused.

        Raises:
            UnreachableError: the broker does not answer; the list holds from its next start on.
            PermanentError: the list cannot be written (a full disk); it is, at the next start.
        """
        with self._lock:
            try:
                self._write_crl()
            except OSError as error:
                raise PermanentError(f"expected to write {configuration.CRL}, found: {error.strerror}") from error
            if self._process is not None:
                self._process.hang_up()
        take_over_all(self._authority, device_ids, self.own_host, self._port)

    def answers(self) -> bool:
        """Whether our own mosquitto takes a connection at the port just now."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # the very certificate counts, which a listener of somebody else does not have
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(self._folder / _PROBE)
        try:
            with (
                socket.create_connection((self.own_host, self._port), 2.0) as stream,
                context.wrap_socket(stream) as secure,
            ):
                shown = secure.getpeercert(binary_form=True) or b""
                with contextlib.suppress(OSError):
                    secure.unwrap().close()  # in order, or mosquitto logs an error
        except OSError:
            return False
        return hashlib.sha256(shown).hexdigest() == self._shown_sha256

    def _start(self, program: str, port: int) -> None:
        self._port, previous = port, self._port
        try:
            self._write_files(port)
            command = [program, "-c", str(self._folder / configuration.CONFIGURATION)]
            process = SupervisedProcess(command, self._folder / _OUTPUT, self._look_after, self._patience)
            process.start(self.answers)
        except MusterError:
            self._port = previous
            raise
        self._process = process

    def _write_files(self, port: int) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            certificate, key = self._authority.issue_host_certificate([self.own_host, *self._names])
            self._shown_sha256 = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.decode())).hexdigest()
            text = configuration_text(self._folder, self._host, port, self._limits)
            probe = self.credentials()
            for name, content in (
                (configuration.CA, self._authority.ca_pem()),
                (configuration.CHAIN, certificate + self._authority.ca_pem()),
                (configuration.KEY, key),
                (configuration.ACL, acl_text(self._fleet_id).encode()),
                (configuration.CONFIGURATION, text.encode()),
                (_PROBE, probe.certificate + probe.key),
            ):
                write_private(self._folder / name, content)
            self._write_crl()
            self._look_after()
        except OSError as error:
            raise PermanentError(f"expected a folder of our own at {self._folder}, found: {error.strerror}") from error

    def _write_crl(self) -> None:
        write_private(self._folder / configuration.CRL, self._authority.revocation_list_pem())

    def _look_after(self) -> None:
        """Keep the log from growing: one older file is kept."""
        log = self._folder / configuration.LOG
        with contextlib.suppress(OSError):
            if log.stat().st_size > _LOG_BYTES:
                log.replace(log.with_suffix(".log.1"))
                if self._process is not None:
                    self._process.hang_up()  # it opens its log again

    def _last_words(self) -> str:
        for name in (configuration.LOG, _OUTPUT):
            with contextlib.suppress(OSError):
                lines = (self._folder / name).read_text(errors="replace").splitlines()
                errors = [line.partition("Error: ")[2] for line in lines[-20:] if "Error: " in line]
                if errors:
                    return errors[-1]
        return ""


_PROBE = "controller.pem"
_OUTPUT = "mosquitto.out"
_PID = "mosquitto.pid"


def end_broker_of_a_killed_controller(folder: Path) -> None:
    """It ends with its controller, but not in the same moment: wait for it, or its port is still taken."""
    end_orphan(folder / _PID, str(folder.absolute() / configuration.CONFIGURATION))


def find_mosquitto() -> str:
    """The program's path.

    Raises:
        MissingExtraError: it is not installed.
    """
    found = shutil.which("mosquitto") or next((path for path in _ELSEWHERE if os.access(path, os.X_OK)), None)
    if found is None:
        raise MissingExtraError(f"expected mosquitto for --mqtt, found none; run: {INSTALL}, or name a broker")
    return found


def write_private(path: Path, content: bytes) -> None:
    """Whole or not at all, 0600."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, 0), family=family) as taken:
            port: int = taken.getsockname()[1]
            return port
    except OSError as error:
        raise PermanentError(f"expected to listen on {host}, found: {error.strerror}") from error

"""Copies of what a device cannot do without: its desired state, its last good models and their ports.

They lie beside the database. A damaged one is rebuilt from them, so that a device keeps serving with no controller.
Each file is its own sha256 and then the content; a torn one counts as none.
"""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import suppress
from pathlib import Path

from muster_agent.core.known import ServingRecord
from muster_agent.core.wanted import WantedModel, read_model
from muster_devices.durable import remove_leftovers, replace_file
from muster_devices.failpoint import hit
from muster_protos import codec
from muster_protos.errors import InvalidInputError, TemporaryError
from muster_protos.model import DesiredState, SignedEnvelope

log = logging.getLogger(__name__)

_DIGEST_BYTES = 32


class StateCopies:
    """Three small files in ``folder``, replaced atomically; on a disk that takes nothing that raises TemporaryError."""

    def __init__(self, folder: Path) -> None:
        self._desired = folder / "desired.copy"
        self._last_good = folder / "last-good.copy"
        self._ports = folder / "ports.copy"
        self._written: dict[Path, bytes] = {}
        with suppress(OSError):  # a disk that is read-only
            for path in (self._desired, self._last_good, self._ports):
                remove_leftovers(folder, path.name)

    def keep_desired(self, envelope: SignedEnvelope) -> None:
        self._write(self._desired, codec.encode(envelope))

    def keep_last_good(self, records: dict[str, ServingRecord]) -> None:
        """Writes only what has changed: most moves of a record leave its last good model alone."""
        models = tuple(record.last_good.source for record in records.values() if record.last_good is not None)
        self._write(self._last_good, codec.encode(DesiredState(models=models)))
        self.keep_ports(records)

    def keep_ports(self, records: dict[str, ServingRecord]) -> None:
        """Where apps ask; a file of their own, since nobody signs them."""
        ports = {
            model_id: (record.http_port, record.grpc_port)
            for model_id, record in sorted(records.items())
            if record.http_port or record.grpc_port
        }
        self._write(self._ports, json.dumps(ports).encode())

    @property
    def has_ports(self) -> bool:
        """False beside a database that an earlier version kept."""
        return self._ports.exists()

    def desired(self) -> SignedEnvelope | None:
        content = self._read(self._desired)
        return None if content is None else codec.decode(SignedEnvelope, content)

    def last_good(self) -> tuple[ServingRecord, ...]:
        content = self._read(self._last_good)
        if content is None:
            return ()
        try:
            models = [read_model(model) for model in codec.decode(DesiredState, content).models]
        except InvalidInputError as error:
            log.error("the copy of the last good models is unusable: %s", error)
            return ()
        ports = self._read_ports()
        return tuple(_record(model, *ports.get(model.model_id, (0, 0))) for model in models)

    def _read_ports(self) -> dict[str, tuple[int, int]]:
        content = self._read(self._ports)
        try:
            found = json.loads(content) if content is not None else {}
            return {str(model_id): (_port(http), _port(grpc)) for model_id, (http, grpc) in found.items()}
        except (ValueError, TypeError, AttributeError) as error:
            log.error("the copy of the ports is unusable: %s", error)
            return {}

    def _write(self, path: Path, content: bytes) -> None:
        if self._written.get(path) == content:
            return
        hit("copy: begins")
        try:
            replace_file(path, hashlib.sha256(content).digest() + content)
        except OSError as error:
            raise TemporaryError(f"the copy {path.name} cannot be written: {error.strerror}", 1.0) from error
        self._written[path] = content

    def _read(self, path: Path) -> bytes | None:
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        return content if hashlib.sha256(content).digest() == digest else None


def _record(model: WantedModel, http_port: int, grpc_port: int) -> ServingRecord:
    return ServingRecord(model.model_id, last_good=model, http_port=http_port, grpc_port=grpc_port)


def _port(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 16:
        raise ValueError(f"expected a port, found {value!r}")
    return value

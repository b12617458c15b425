"""A device reads only the artifacts that its own desired state names."""

from __future__ import annotations

import threading

from muster_controller.service.context import Context
from muster_protos import codec
from muster_protos.errors import NotFoundError
from muster_protos.ids import check_sha256
from muster_protos.model import DesiredState, VariantManifest

MAX_CHUNK_BYTES = 256 * 1024


class DeviceArtifacts:
    """Artifact ranges for devices. The set of permitted sha256s is cached per desired version."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._permitted: dict[str, tuple[tuple[int, int], frozenset[str]]] = {}

    def read(self, device_id: str, sha256: str, offset: int, length: int) -> tuple[bytes, int]:
        """(at most ``length`` bytes from ``offset``, total size).

        Raises:
            NotFoundError: no such artifact, or none that this device has been asked to hold.
        """
        if check_sha256(sha256) not in self._permitted_for(device_id):
            raise NotFoundError(f"artifact {sha256[:12]} is not in the desired state of device {device_id}")
        total_bytes = self._context.artifacts.size(sha256)
        if not 0 <= offset <= total_bytes:
            raise NotFoundError(f"expected an offset of 0 to {total_bytes} into artifact {sha256[:12]}, found {offset}")
        wanted = min(length if length > 0 else MAX_CHUNK_BYTES, total_bytes - offset)
        return self._context.artifacts.read(sha256, offset, wanted), total_bytes

    def _permitted_for(self, device_id: str) -> frozenset[str]:
        row = self._context.store.desired(device_id)
        if row is None:
            return frozenset()
        key = (row.epoch, row.version)
        with self._lock:
            cached = self._permitted.get(device_id)
        if cached is not None and cached[0] == key:
            return cached[1]
        permitted = _named_in(codec.decode(DesiredState, row.envelope.payload))
        with self._lock:
            self._permitted[device_id] = (key, permitted)
        return permitted


def _named_in(state: DesiredState) -> frozenset[str]:
    manifests = [
        codec.decode(VariantManifest, envelope.payload) for model in state.models for envelope in model.manifests
    ]
    refs = [ref for m in manifests for ref in (m.artifact, m.golden, m.evaluation) if ref is not None]
    return frozenset(ref.sha256 for ref in refs)

"""How fast an artifact reaches a device's cache, against a bare stream of the same bytes.

    python benchmarks/transfer.py -o json
    [{"link": "grpc", "size_mib": 64, "mib_per_s": 0.0, "ratio_to_bare_stream": 0.0, "refetched_bytes_after_kill": 0}]

Both links, unless ``--link`` names one; ``-o markdown`` prints the rows of docs/results.md. MQTT goes through a
mosquitto with the configuration of ``muster up --mqtt``. The bare stream is the same for both, without a broker in
between: what the machine could do, not what MQTT could.

Three kinds of processes on loopback: a controller (the real links, store and artifact folder, and beside it a bare
gRPC service with the same mutual TLS that streams bytes from memory in 256 KiB messages), a device that runs the
agent's own fetch step into its cache (length, sha256, fsync and rename included), and a device that only receives the
bare stream and counts. The two alternate; ``mib_per_s`` is the median of the fetches, ``ratio_to_bare_stream`` the
median of each fetch over its neighbour. Connections are set up before the clock starts.

``refetched_bytes_after_kill``: a fetch behind a TCP proxy is killed (SIGKILL) half-way and a new process finishes it.
What crossed the wire twice is the bytes of both attempts less those of an undisturbed fetch through the same proxy.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
from rig.machine import tell_machine

from muster_agent.adapters.cache_folder import FolderCache
from muster_agent.adapters.clock_system import SystemClock
from muster_agent.adapters.link_grpc import Credentials, GrpcLink
from muster_agent.adapters.link_mqtt import MqttLink
from muster_agent.daemon.fetch import fetch
from muster_agent.daemon.outbox import Outbox
from muster_agent.daemon.parts import Parts, Settings
from muster_agent.identity_folder import IdentityFolder
from muster_agent.join import make_request
from muster_agent.testing_link import RecordingLinkSink
from muster_agent.testing_network import TcpProxy
from muster_protos.limits import CHUNK_BYTES
from muster_protos.model import ArtifactRef

DEVICE = "transfer"
LINKS = ("grpc", "mqtt")
LINK_TEXTS = {"grpc": "gRPC", "mqtt": "MQTT"}
MIB = 1024 * 1024
_READY_S = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", choices=["json", "table", "markdown"], default="table", dest="output")
    parser.add_argument("--link", action="append", choices=LINKS, help="default: every link")
    parser.add_argument("--sizes", default="4,64,256", help="MiB, separated by commas")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=None, help="where to put the files; a fresh folder by default")
    parser.add_argument("--role", choices=["controller", "device", "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--order", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        return _ROLES[options.role](json.loads(options.order))
    sizes = [int(size) for size in options.sizes.split(",")]
    tell_machine("grpcio")
    with tempfile.TemporaryDirectory(prefix="muster-transfer-", dir=options.folder) as name:
        rows = measure(Path(name), sizes, options.repetitions, options.link or LINKS)
    if options.output == "json":
        print(json.dumps(rows))
    elif options.output == "markdown":
        for row in rows:
            print(
                f"| {LINK_TEXTS[row['link']]} | {row['size_mib']} | {row['mib_per_s']:.0f} | "
                f"{row['ratio_to_bare_stream']:.2f} | {row['refetched_bytes_after_kill']:,} |"
            )
    else:
        for row in rows:
            print(
                f"{row['link']}  {row['size_mib']:5d} MiB  {row['mib_per_s']:8.1f} MiB/s  "
                f"{row['ratio_to_bare_stream']:.2f} of the bare stream  "
                f"{row['refetched_bytes_after_kill']} bytes twice after a kill"
            )
    return 0


def measure(folder: Path, sizes: Sequence[int], repetitions: int, links: Sequence[str]) -> list[dict[str, Any]]:
    """One row per link and size, MiB."""
    artifacts = {size: make_artifact(folder / f"{size}.bin", size * MIB) for size in sizes}
    key_path = folder / "device" / "key.pem"
    key_path.parent.mkdir()
    order = {
        "folder": str(folder / "controller"),
        "csr": make_request(key_path).decode(),
        "artifacts": {sha256: str(folder / f"{size}.bin") for size, sha256 in artifacts.items()},
        "has_broker": "mqtt" in links,
    }
    with start_role("controller", order) as controller:
        answer = json.loads(read_line(controller))
        device = {**answer, "key_path": str(key_path), "state": str(folder / "device" / "state")}
        return [
            measure_size(
                {**device, "link": link, "link_port": answer["ports"][link]}, size, artifacts[size], repetitions
            )
            for link in links
            for size in sizes
        ]


def measure_size(device: dict[str, Any], size_mib: int, sha256: str, repetitions: int) -> dict[str, Any]:
    order = {**device, "sha256": sha256, "size_bytes": size_mib * MIB}
    rates, ratios = [], []
    for repetition in range(repetitions + 1):
        bare_s = run_role("bare", order)
        fetch_s = run_role("device", order)
        if repetition:  # the first pair warms page cache and disk
            rates.append(size_mib / fetch_s)
            ratios.append(bare_s / fetch_s)
        print(
            f"{order['link']} {size_mib} MiB: fetch {size_mib / fetch_s:.0f}, bare {size_mib / bare_s:.0f} MiB/s",
            file=sys.stderr,
        )
    return {
        "link": order["link"],
        "size_mib": size_mib,
        "mib_per_s": round(statistics.median(rates), 1),
        "ratio_to_bare_stream": round(statistics.median(ratios), 3),
        "refetched_bytes_after_kill": count_refetched(order),
    }


def count_refetched(order: dict[str, Any]) -> int:
    """Bytes that crossed the wire twice because the first device was killed half-way."""
    proxy = TcpProxy(order["link_port"])
    try:
        proxied = {**order, "link_port": proxy.port}
        run_role("device", proxied)
        whole = proxy.returned_bytes
        with start_role("device", {**proxied, "kill_at": order["size_bytes"] // 2}) as process:
            if process.wait(_READY_S) >= 0:
                raise RuntimeError("expected the device to be killed half-way, found it finished")
        run_role("device", {**proxied, "keep": True})
        return max(0, proxy.returned_bytes - 2 * whole)
    finally:
        proxy.close()


def make_artifact(path: Path, size_bytes: int) -> str:
    """Incompressible bytes; their sha256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size_bytes // MIB):
            block = os.urandom(MIB)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


@contextmanager
def start_role(role: str, order: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, __file__, "--role", role, "--order", json.dumps(order)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stdin):
            if pipe is not None:
                pipe.close()


def run_role(role: str, order: dict[str, Any]) -> float:
    """Seconds that the role measured."""
    with start_role(role, order) as process:
        line = read_line(process)
        process.wait(_READY_S)
        return float(line)


def read_line(process: subprocess.Popen[bytes]) -> bytes:
    if process.stdout is None:
        raise RuntimeError("expected a pipe")
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"expected an answer, found exit {process.wait()}")
    return line


# --- the processes ---


def be_controller(order: dict[str, Any]) -> int:
    """Serve the artifacts over the real link and the same number of bytes over a bare stream, until stdin ends."""
    asyncio.run(_serve(order))
    return 0


async def _serve(order: dict[str, Any]) -> None:
    from muster_controller.adapters.artifacts_folder import FolderArtifactStore
    from muster_controller.adapters.identity_x509 import StoreAuthenticator, open_authority
    from muster_controller.adapters.link_grpc import GrpcLink as ControllerGrpcLink
    from muster_controller.adapters.store_sqlalchemy import open_store
    from muster_controller.core.entities import Device, Fleet
    from muster_controller.testing_link import RecordingSink
    from muster_protos.model import Inventory

    folder = Path(order["folder"])
    folder.mkdir()
    authority = open_authority(folder / "identity", "fleet-1")
    store = open_store(folder / "fleet.sqlite3")
    store.init_fleet(Fleet("fleet-1", "transfer", 1, time.time_ns()))
    certificate, serial, spki = authority.issue_device_certificate(order["csr"].encode(), DEVICE)
    store.put_device(Device(DEVICE, DEVICE, time.time_ns(), serial, spki, Inventory()))
    artifacts = FolderArtifactStore(folder / "artifacts")
    sizes = dict(artifacts.put(Path(path)) for path in order["artifacts"].values())

    class FolderSink(RecordingSink):
        """Artifacts from the controller's folder, for this one device."""

        def read_artifact(self, device_id: str, sha256: str, offset: int, length: int) -> tuple[bytes, int]:
            store.desired(device_id)  # what the service asks before each read
            return artifacts.read(sha256, offset, length), sizes[sha256]

    authenticator = StoreAuthenticator(store, "fleet-1", "unused")
    sink = FolderSink()
    link = ControllerGrpcLink(sink, authority, authenticator, port=0)
    ports = {"grpc": await link.start()}
    bare, bare_port = await _start_bare(authority)
    async with contextlib.AsyncExitStack() as stack:
        if order["has_broker"]:
            ports["mqtt"] = await _start_broker(stack, folder / "broker", authority, authenticator, sink)
        answer = {"ports": ports, "bare_port": bare_port, "ca": authority.ca_pem().decode()}
        print(json.dumps({**answer, "certificate": certificate.decode()}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await bare.stop(0)
        await link.stop()


async def _start_broker(
    stack: contextlib.AsyncExitStack, folder: Path, authority: Any, authenticator: Any, sink: Any
) -> int:
    """A mosquitto as ``muster up --mqtt`` sets it up, and the controller's link over it; its port."""
    from muster_controller.adapters.broker_mosquitto import MosquittoBroker
    from muster_controller.adapters.link_mqtt import MqttLink as ControllerMqttLink

    broker = MosquittoBroker(folder, authority, "fleet-1")
    port = broker.start()
    stack.callback(broker.stop)
    own = broker.credentials()
    link = ControllerMqttLink(sink, authenticator, "fleet-1", "127.0.0.1", port, lambda: own)
    await link.start()
    stack.push_async_callback(link.stop)
    return port


async def _start_bare(authority: Any) -> tuple[grpc.aio.Server, int]:
    message = os.urandom(CHUNK_BYTES)

    async def stream(request: bytes, _context: Any) -> Any:
        for _ in range(int(request) // CHUNK_BYTES):
            yield message

    certificate, key = authority.issue_host_certificate(())
    bare = grpc.aio.server()
    methods: dict[str, Any] = {"Stream": grpc.unary_stream_rpc_method_handler(stream)}
    bare.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare", methods),))
    security = grpc.ssl_server_credentials([(key, certificate)], authority.ca_pem(), require_client_auth=True)
    port = bare.add_secure_port("127.0.0.1:0", security)
    await bare.start()
    return bare, port


def be_bare(order: dict[str, Any]) -> int:
    """Receive the bare stream; print the seconds."""
    key = Path(order["key_path"]).read_bytes()
    security = grpc.ssl_channel_credentials(order["ca"].encode(), key, order["certificate"].encode())
    with grpc.secure_channel(f"127.0.0.1:{order['bare_port']}", security) as channel:
        grpc.channel_ready_future(channel).result(_READY_S)
        stream: Any = channel.unary_stream("/bare/Stream")
        began_s = time.perf_counter()
        received = sum(len(message) for message in stream(str(order["size_bytes"]).encode()))
        took_s = time.perf_counter() - began_s
    if received != order["size_bytes"]:
        raise RuntimeError(f"expected {order['size_bytes']} bytes, found {received}")
    print(took_s, flush=True)
    return 0


def be_device(order: dict[str, Any]) -> int:
    """Fetch into the cache as the agent does; print the seconds. ``kill_at``: die when so many bytes are on disk."""
    cache = FolderCache(Path(order["state"]))
    ref = ArtifactRef(order["sha256"], order["size_bytes"])
    if not order.get("keep"):
        cache.remove([ref.sha256])
    key = IdentityFolder(Path(order["key_path"]).parent).read_key()
    credentials = Credentials(order["ca"].encode(), order["certificate"].encode(), key)
    link: GrpcLink | MqttLink
    if order["link"] == "grpc":
        link = GrpcLink(f"grpcs://127.0.0.1:{order['link_port']}", lambda: credentials)
    else:
        link = MqttLink(f"mqtts://127.0.0.1:{order['link_port']}", "fleet-1", DEVICE, lambda: credentials)
    sink = RecordingLinkSink()
    link.start(sink)
    sink.wait_for(lambda: "online" in sink.calls, _READY_S)
    if "kill_at" in order:
        threading.Thread(target=_die_at, args=(cache, ref.sha256, order["kill_at"]), daemon=True).start()
    nothing = cast("Any", None)  # a fetch touches cache, link and clock only
    parts = Parts(nothing, cache, nothing, link, SystemClock(), *[nothing] * 5)
    outbox = Outbox(parts, Settings(DEVICE, "fleet-1", "boot"))
    began_s = time.perf_counter()
    fetch(ref, parts, outbox, threading.Event())
    took_s = time.perf_counter() - began_s
    link.close()
    print(took_s, flush=True)
    return 0


def _die_at(cache: FolderCache, sha256: str, size_bytes: int) -> None:
    while cache.partial_bytes().get(sha256, 0) < size_bytes:
        time.sleep(0.0005)
    os.kill(os.getpid(), 9)


_ROLES = {"controller": be_controller, "device": be_device, "bare": be_bare}

if __name__ == "__main__":
    sys.exit(main())

"""Malformed messages at the controller's live ports: gRPC with mutual TLS, REST, join. It must answer at the end.

MUSTER_FUZZ=<count> changes how many of the long run, MUSTER_FUZZ_SEED=<number> which.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import json
import logging
import os
import random
import resource
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from muster_agent.join import make_request
from muster_controller.adapters.identity_x509 import StoreAuthenticator
from muster_controller.adapters.join_https import JoinEndpoint
from muster_controller.adapters.link_grpc import GrpcLink
from muster_controller.cli.rest_endpoint import RestEndpoint
from muster_controller.core.entities import Device
from muster_controller.testing_service import ServiceLab
from muster_controller.web.app import create_app
from muster_protos import codec
from muster_protos.limits import SESSION_METADATA
from muster_protos.model import (
    AgentMessage,
    BenchmarkRecord,
    ControllerMessage,
    Event,
    Hello,
    Inventory,
    JoinRequest,
    LoadResult,
    Progress,
    Report,
    ReportAck,
    ReportedArtifact,
    ReportedServing,
    ReportedState,
    Telemetry,
)

LONG = int(os.environ.get("MUSTER_FUZZ", "20000"))
SEED = int(os.environ.get("MUSTER_FUZZ_SEED", "1"))
ADMIN = "admin-secret"
Spoilt = Callable[[random.Random, Sequence[bytes]], bytes]
MORE_MEMORY_BYTES = 400 << 20
TOO_LONG_S = 30.0

SEEDS = [
    codec.encode(AgentMessage(body))
    for body in (
        Hello(Inventory("pi", "0.1", "boot", labels={"a": "b"}), 1, 2, "run"),
        ReportedState("pi", 1, 2, artifacts=(ReportedArtifact("0" * 64),), serving=(ReportedServing("m", "d"),)),
        Telemetry(5, "m", "v", 1.0, 2, 3, 0.5),
        Progress("fetch", "id", 0.5, 1.0, "note"),
        Report("events", 0, 1, Event("e-1", "child.crashed", 5, "m", details={"a": "b"})),
        Report("req", 1, 2, BenchmarkRecord(1, "rec", "req", 1, reasons=("a", "b"))),
        Report("load", 1, 3, LoadResult("load", 1, "m", offered=5, answered_by={"v": 5})),
    )
]


class Gate:
    """A controller in memory behind its real ports, and one device with a certificate."""

    def __init__(self, folder: Path) -> None:
        self.lab = ServiceLab(folder)
        # gRPC looks at the certificates' dates
        self.lab.clock.advance((time.time_ns() - self.lab.clock.now_ns()) / 1e9)
        fleet = self.lab.store.fleet()
        assert fleet is not None
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda _, context: self.crashes.append(str(context)))
        self.crashes: list[str] = []
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        authenticator = StoreAuthenticator(self.lab.store, fleet.fleet_id, ADMIN)
        service, authority = self.lab.service, self.lab.authority
        self.link = GrpcLink(service.sessions, authority, authenticator, port=0)
        self.join = JoinEndpoint(service.sessions.join, authority, port=0)
        self.rest = RestEndpoint(create_app(service, authenticator), "127.0.0.1", 0)
        self.grpc_port, self.join_port, self.rest_port = (
            self.run(port.start()) for port in (self.link, self.join, self.rest)
        )
        csr = make_request(folder / "key.pem")
        certificate, serial, _ = authority.issue_device_certificate(csr, "pi")
        key_sha256 = authority.public_key_sha256(csr)
        self.lab.store.put_device(Device("pi", "pi", 1, serial, key_sha256, Inventory("pi")))
        self.credentials = grpc.ssl_channel_credentials(
            authority.ca_pem(), (folder / "key.pem").read_bytes(), certificate
        )
        self.tls = ssl.create_default_context(cadata=authority.ca_pem().decode())

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def close(self) -> None:
        for port in (self.link, self.join, self.rest):
            self.run(port.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()
        self.lab.close()


class Unexpected(logging.Handler):
    """Tracebacks in the log are crashes, too."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


@pytest.fixture
def log() -> Iterator[Unexpected]:
    kept = Unexpected()
    logging.getLogger().addHandler(kept)
    yield kept
    logging.getLogger().removeHandler(kept)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path)
    yield made
    made.close()


def talk(gate: Gate, draw: random.Random, spoilt: Spoilt, count: int) -> Counter[str]:
    """``count`` messages over one connection after the other; a stream that is refused is followed by the next."""
    told: Counter[str] = Counter()
    while told["grpc messages"] < count:
        with grpc.secure_channel(f"127.0.0.1:{gate.grpc_port}", gate.credentials) as channel:
            connect = channel.stream_stream("/muster.v1.Link/Connect")
            for _ in range(20):
                batch = [spoilt(draw, SEEDS) for _ in range(draw.randint(1, 40))]
                told["grpc messages"] += len(batch)
                told["grpc streams"] += 1
                try:
                    for _ in connect(iter(batch), timeout=TOO_LONG_S):
                        pass
                except grpc.RpcError as error:
                    told[f"grpc {error.code().name}"] += 1  # type: ignore[attr-defined]
            for method in ("Fetch", "Renew", "Nowhere"):
                told["grpc messages"] += 1
                try:
                    list(channel.unary_stream(f"/muster.v1.Link/{method}")(draw.randbytes(40), timeout=TOO_LONG_S))
                except grpc.RpcError as error:
                    told[f"grpc {error.code().name}"] += 1  # type: ignore[attr-defined]
    return told


PATHS = [
    *("/v1/tokens", "/v1/devices/other", "/v1/models", "/v1/models/m/variants", "/v1/models/m/compress", "/v1/pushes"),
    *("/v1/benchmarks", "/v1/decisions", "/v1/rollouts", "/v1/rollouts/r/pause", "/v1/loads", "/v1/records"),
    *("/v1/events", "/v1/uploads", "/v1/operations", "/v1/policies/m", "/healthz", "/v1/nowhere"),
    *("/v1/devices/%00", "/v1/devices/..%2f", "/v1/devices/a%2Bb"),
]
ODD = (None, True, -1, 2**63, 2**70, 1e300, "", "x" * 300, "\0", "../x", "a\u202eb", [], {}, [[]], {"a": None})
KEYS = [
    *("name", "note", "uses", "lifetime_s", "labels", "model", "devices", "variants", "policy_yaml", "tier", "seed"),
    *("percentiles", "threads", "phases", "device", "waves", "canary", "recipe", "floor", "source_upload", "rate_hz"),
    *("duration_ms", "remove_labels", "\ud800", "\0"),
]


def request_of(draw: random.Random) -> tuple[str, str, bytes]:
    body: Any = {draw.choice(KEYS): draw.choice(ODD) for _ in range(draw.randint(0, 6))}
    if draw.random() < 0.5:
        body |= {"model": "m", "device": "pi", "name": "m", "policy_yaml": draw.choice(("a: [", "x", "slo: {}", "- 1"))}
    content = json.dumps(body).encode()
    match draw.randrange(6):
        case 0:
            content = content[: draw.randrange(len(content) + 1)]
        case 1:
            content = draw.choice((b"[" * 5_000, b"1" * 6_000, b"\xff\xfe", b"NaN", b'"\\ud800"', b"{}" * 3))
    query = draw.choice(
        ("", "", "?limit=-1", "?cursor=%ff%00", "?after=99999999999999999999", "?label=%00", "?device=%ff")
    )
    method = draw.choice(("GET", "POST", "POST", "POST", "PATCH", "DELETE", "PUT", "HEAD"))
    return method, draw.choice(PATHS) + query, content


def ask(
    gate: Gate, count: int, is_join: bool, make: Callable[[], tuple[str, str, bytes]], headers: dict[str, str]
) -> Counter[str]:
    """``count`` requests over connections that are kept while the other side keeps them."""
    name, told = ("join" if is_join else "rest"), Counter[str]()

    def dial() -> http.client.HTTPConnection:
        if is_join:
            return http.client.HTTPSConnection("127.0.0.1", gate.join_port, timeout=TOO_LONG_S, context=gate.tls)
        return http.client.HTTPConnection("127.0.0.1", gate.rest_port, timeout=TOO_LONG_S)

    connection = dial()
    for _ in range(count):
        method, path, body = make()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            told[f"{name} {answer.status}"] += 1
            if answer.status >= 500 and answer.status != 503:
                told[f"crash: {method} {path} {body[:300]!r}"] += 1
        except (ConnectionError, http.client.HTTPException):
            told[f"{name} cut"] += 1
            connection.close()
            connection = dial()
    connection.close()
    told[f"{name} messages"] = count
    return told


def noise(gate: Gate, draw: random.Random, count: int) -> Counter[str]:
    """Bytes that are no TLS and no HTTP, at every port."""
    for _ in range(count):
        port = draw.choice((gate.grpc_port, gate.join_port, gate.rest_port))
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), TOO_LONG_S) as stream:
            stream.sendall(draw.choice((b"GET / HTTP/9\r\n", b"\x16\x03\x01\xff\xff", b"PRI * HTTP/2.0\r\n\r\n")))
            stream.sendall(draw.randbytes(draw.randint(1, 2_000)))
    return Counter({"noise messages": count})


def still_works(gate: Gate) -> None:
    """A good device, a good admin and a good join are answered as if nothing had been."""
    with grpc.secure_channel(f"127.0.0.1:{gate.grpc_port}", gate.credentials) as channel:
        report = Report("events", 0, 10**9, Event("e-last", "child.crashed", 1))
        said = iter([codec.encode(AgentMessage(Hello(Inventory("pi")))), codec.encode(AgentMessage(report))])
        gone = threading.Event()

        def stay() -> Iterator[bytes]:
            yield from said
            gone.wait(TOO_LONG_S)

        call = channel.stream_stream("/muster.v1.Link/Connect")(stay(), timeout=TOO_LONG_S)
        assert (SESSION_METADATA, "1") in list(call.initial_metadata()), call.details()
        for answer in call:
            body = codec.decode(ControllerMessage, answer).body
            if isinstance(body, ReportAck) and body.sequence == 10**9:
                assert body.rejected_reason == ""
                break
        gone.set()
        call.cancel()
    headers = {"Authorization": f"Bearer {ADMIN}"}
    assert ask(gate, 1, False, lambda: ("GET", "/v1/devices", b""), headers)["rest 200"] == 1
    token = gate.lab.service.tokens.new()
    secret = token.link.partition("#MST1.")[2].partition(".")[0]
    csr = make_request(gate.lab.folder / "second.pem")
    body = codec.encode(JoinRequest(secret, csr, Inventory("second"), "second"))
    assert ask(gate, 1, True, lambda: ("POST", "/v1/join", body), {})["join 200"] == 1


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [600, pytest.param(LONG, marks=pytest.mark.faults, id="long")])
def test_no_malformed_message_ends_or_stops_the_controller(
    gate: Gate, log: Unexpected, spoilt: Spoilt, count: int
) -> None:
    draw = random.Random(SEED)
    headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/json"}
    gc.collect()
    before_kib, started_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    told = talk(gate, draw, spoilt, count // 2)
    told += ask(gate, count * 3 // 10, False, lambda: request_of(draw), headers)
    told += ask(
        gate,
        count * 3 // 20,
        True,
        lambda: (
            draw.choice(("POST", "GET")),
            draw.choice(("/v1/join", "/v1/ca", "/v1/renew", "/x")),
            spoilt(draw, SEEDS),
        ),
        {},
    )
    told += noise(gate, draw, count // 20)
    still_works(gate)
    total = sum(number for name, number in told.items() if name.endswith(" messages"))
    crashes = [name for name in told if name.startswith("crash")] + gate.crashes + log.found
    took_s = time.monotonic() - started_s
    print(f"\n{total} malformed messages in {took_s:.0f} s (seed {SEED}), {len(crashes)} crashes")
    for name, number in sorted(told.items()):
        print(f"  {number:6d}  {name}")
    assert crashes == []
    assert told["grpc UNAVAILABLE"] < told["grpc streams"] / 10, "nearly all have got through to the controller"
    assert gate.lab.service.events.list(0, "pi", "message.rejected", 1), "and some to its rules"
    assert total >= count
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) * 1024 < MORE_MEMORY_BYTES

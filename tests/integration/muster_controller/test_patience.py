"""Slow and greedy peers at every HTTP port, with real sockets: each stage ends, and the others are still answered."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from muster_agent.serving.http_listen import HttpListener
from muster_controller.adapters.identity_x509 import X509Authority, open_authority
from muster_controller.adapters.join_https import JoinEndpoint
from muster_controller.cli.rest_endpoint import RestEndpoint
from muster_controller.testing_service import ServiceLab
from muster_controller.web import access
from muster_controller.web.app import create_app
from muster_devices.http_patience import Patience
from muster_protos import codec
from muster_protos.model import JoinRequest, JoinResponse

QUICK = Patience(handshake_s=0.4, head_s=0.4, body_idle_s=0.4)
SLOW_ANSWER_S = 0.9  # of ours: nobody may be cut for that
AT_MOST_S = 5.0  # far above the patience, far below what uvicorn would wait


@dataclass
class Port:
    """One endpoint, and how to talk to it."""

    number: int
    path: str
    tls: ssl.SSLContext | None = None

    def raw(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.number), timeout=AT_MOST_S)
        return made if self.tls is None else self.tls.wrap_socket(made, server_hostname="127.0.0.1")

    def post(self, body: bytes) -> tuple[int, bytes]:
        connection = (
            http.client.HTTPConnection("127.0.0.1", self.number, timeout=AT_MOST_S)
            if self.tls is None
            else http.client.HTTPSConnection("127.0.0.1", self.number, timeout=AT_MOST_S, context=self.tls)
        )
        with contextlib.closing(connection):
            connection.request("POST", self.path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()


@pytest.fixture
def run() -> Iterator[Callable[[Any], Any]]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> X509Authority:
    return open_authority(tmp_path_factory.mktemp("authority"), "lab")


def trusting(authority: X509Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.ca_pem().decode())


def slow_join(request: JoinRequest) -> JoinResponse:
    time.sleep(SLOW_ANSWER_S)  # stands for a store that takes its time
    return JoinResponse(device_id="pi-1")


async def slow_app(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(SLOW_ANSWER_S)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


@pytest.fixture(params=["rest", "join", "inference"])
def open_port(
    request: pytest.FixtureRequest, run: Callable[[Any], Any], authority: X509Authority
) -> Iterator[Callable[[Patience], Port]]:
    stops: list[Callable[[], Any]] = []

    def open_it(patience: Patience) -> Port:
        match request.param:
            case "rest":
                app: Any = FastAPI()
                app.mount("/", slow_app)
                rest = RestEndpoint(app, "127.0.0.1", 0, patience=patience)
                stops.append(rest.stop)
                return Port(run(rest.start()), "/any")
            case "join":
                join = JoinEndpoint(slow_join, authority, port=0, patience=patience)
                stops.append(join.stop)
                return Port(run(join.start()), "/v1/join", trusting(authority))
            case _:
                listener = HttpListener(slow_app, "127.0.0.1", 0, patience)  # type: ignore[arg-type]
                stops.append(listener.close)
                run(listener.start())
                return Port(listener.port, "/any")

    yield open_it
    for stop in stops:
        run(stop())


@pytest.fixture
def port(open_port: Callable[[Patience], Port]) -> Port:
    return open_port(QUICK)


def ends_within(stream: socket.socket) -> float:
    """Seconds until the other side has ended it."""
    started_s = time.monotonic()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while stream.recv(65536):
            pass
    return time.monotonic() - started_s


def test_who_says_nothing_is_cut(port: Port) -> None:
    with port.raw() as stream:
        assert 0.2 < ends_within(stream) < AT_MOST_S


def test_who_drips_headers_is_cut_however_lively_it_is(port: Port) -> None:
    started_s = time.monotonic()
    with port.raw() as stream, contextlib.suppress(ConnectionError, ssl.SSLError):
        stream.sendall(b"POST " + port.path.encode() + b" HTTP/1.1\r\nHost: x\r\n")
        while time.monotonic() - started_s < AT_MOST_S:
            stream.sendall(b"X-A: b\r\n")
            stream.settimeout(0.05)
            with contextlib.suppress(TimeoutError, ssl.SSLWantReadError):
                if not stream.recv(1):
                    break
    assert 0.2 < time.monotonic() - started_s < AT_MOST_S


def test_who_stops_in_the_middle_of_a_body_is_cut(port: Port) -> None:
    with port.raw() as stream:
        stream.sendall(b"POST " + port.path.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert 0.2 < ends_within(stream) < AT_MOST_S


def test_who_goes_on_with_half_a_second_request_is_cut(port: Port) -> None:
    with port.raw() as stream:
        stream.sendall(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stream.recv(65536)
        stream.sendall(b"GET ")
        assert ends_within(stream) < AT_MOST_S


def test_nobody_is_cut_for_what_takes_us_long(port: Port) -> None:
    status, _ = port.post(codec.encode(JoinRequest("secret")))
    assert status == 200


def test_headers_without_end_are_refused(port: Port) -> None:
    with port.raw() as stream:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            stream.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"b" * 300_000)
        assert ends_within(stream) < AT_MOST_S


def test_more_connections_than_may_be_are_closed_and_room_comes_back(open_port: Callable[[Patience], Port]) -> None:
    port = open_port(Patience(connections=4))
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(port.raw())
        with contextlib.suppress(ConnectionError, ssl.SSLError), port.raw() as further:
            assert ends_within(further) < AT_MOST_S, "the others' patience would last 10 s"
    for _ in range(20):  # until the ends of the four have been noticed
        with contextlib.suppress(ConnectionError, ssl.SSLError, http.client.BadStatusLine):
            assert port.post(codec.encode(JoinRequest("secret")))[0] == 200
            return
    raise AssertionError("no room came back")


def test_a_handshake_that_never_ends_is_cut(authority: X509Authority, run: Callable[[Any], Any]) -> None:
    join = JoinEndpoint(slow_join, authority, port=0, patience=QUICK)
    number = run(join.start())
    try:
        for said in (b"", b"\x16\x03\x01"):
            with socket.create_connection(("127.0.0.1", number), timeout=AT_MOST_S) as stream:
                stream.sendall(said)
                assert 0.2 < ends_within(stream) < AT_MOST_S
        assert Port(number, "/v1/join", trusting(authority)).post(b"")[0] == 200
    finally:
        run(join.stop())


def test_connections_count_before_their_handshake(authority: X509Authority, run: Callable[[Any], Any]) -> None:
    join = JoinEndpoint(slow_join, authority, port=0, patience=Patience(handshake_s=60.0, connections=4))
    address = ("127.0.0.1", run(join.start()))
    try:
        with contextlib.ExitStack() as silent:
            for _ in range(4):
                silent.enter_context(socket.create_connection(address, timeout=AT_MOST_S))
            with socket.create_connection(address, timeout=AT_MOST_S) as further, contextlib.suppress(ConnectionError):
                assert further.recv(1) == b"", "it must be closed at once, not wait for the others' handshakes"
        for _ in range(20):  # until the ends of the four have been noticed
            with contextlib.suppress(ConnectionError, ssl.SSLError, http.client.BadStatusLine):
                assert Port(address[1], "/v1/join", trusting(authority)).post(b"")[0] == 200
                return
        raise AssertionError("no room came back")
    finally:
        run(join.stop())


def test_a_body_that_drips_is_ended_before_anybody_is_asked_who_they_are(
    tmp_path: Path, run: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "BODY_S", 0.5)
    lab = ServiceLab(tmp_path)
    rest = RestEndpoint(create_app(lab.service, None), "127.0.0.1", 0)  # type: ignore[arg-type]
    number = run(rest.start())
    try:
        with socket.create_connection(("127.0.0.1", number), timeout=AT_MOST_S) as stream:
            stream.sendall(b"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
            stream.settimeout(0.05)
            answer, started_s = b"", time.monotonic()
            while not answer and time.monotonic() - started_s < AT_MOST_S:
                stream.sendall(b"{")
                with contextlib.suppress(TimeoutError):
                    answer = stream.recv(65536)
            assert answer.startswith(b"HTTP/1.1 408")
    finally:
        run(rest.stop())
        lab.close()

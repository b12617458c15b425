"""A peer that is silent without being gone: found by keepalive, within its window."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from muster_agent.adapters.link_grpc import GrpcLink, LinkTiming
from muster_agent.testing_link import RecordingLinkSink
from muster_agent.testing_network import TcpProxy
from muster_controller.adapters.identity_x509 import X509Authority, open_authority
from muster_controller.adapters.link_grpc import GrpcLink as ControllerGrpcLink
from muster_controller.adapters.link_grpc import LinkOptions
from muster_controller.testing_link import CertificateBook, RecordingSink
from muster_protos.credentials import Credentials
from muster_protos.errors import TemporaryError

KEEPALIVE_WINDOW_S = 2.0
BROKER_WINDOW_S = 1.5 + 5.0 + 0.5  # a broker waits 1.5 keepalives, mosquitto looks every 5 s, the controller settles
SLACK_S = 3.0  # two shared cores
QUICK = LinkTiming(
    keepalive_time_s=1.0, keepalive_timeout_s=1.0, connect_timeout_s=2.0, retry_base_s=0.05, retry_cap_s=0.2
)


class Loopback:
    """One device behind a proxy."""

    controller_window_s = KEEPALIVE_WINDOW_S

    def __init__(self, authority: X509Authority, make_csr: Callable[[str], tuple[bytes, bytes]], loop: Any) -> None:
        self.sink = RecordingSink()
        book = CertificateBook()
        key, csr = make_csr("pi-1")
        certificate, _, _ = authority.issue_device_certificate(csr, "pi-1")
        book.admit(certificate, "pi-1")
        self._loop = loop
        options = LinkOptions(keepalive_time_s=1.0, keepalive_timeout_s=1.0)
        self._controller = ControllerGrpcLink(self.sink, authority, book, port=0, options=options)
        self.proxy = TcpProxy(loop.run(self._controller.start()))
        credentials = Credentials(authority.ca_pem(), certificate, key)
        self.link = GrpcLink(f"grpcs://127.0.0.1:{self.proxy.port}", lambda: credentials, QUICK)
        self.agent = RecordingLinkSink()
        self.link.start(self.agent)
        self.agent.wait_for(lambda: "online" in self.agent.calls)

    def close(self) -> None:
        self.link.close()
        self._loop.run(self._controller.stop())
        self.proxy.close()


class BrokerLoopback:
    """The same over a broker."""

    controller_window_s = BROKER_WINDOW_S

    def __init__(self, pair: Any) -> None:
        self.sink = pair.sink
        self.link, self.agent = pair.device("pi-1")
        self.proxy = pair.proxies["pi-1"]
        self.agent.wait_for(lambda: "online" in self.agent.calls)


@pytest.fixture(params=["grpc", "mqtt"])
def loopback(
    request: pytest.FixtureRequest,
    authority: X509Authority,
    make_csr: Callable[[str], tuple[bytes, bytes]],
    loop_thread: Any,
) -> Iterator[Loopback | BrokerLoopback]:
    if request.param == "mqtt":
        yield BrokerLoopback(request.getfixturevalue("mqtt_pair"))
        return
    made = Loopback(authority, make_csr, loop_thread)
    yield made
    made.close()


def test_black_hole_is_noticed_by_both_ends_within_the_window_and_healed(loopback: Loopback | BrokerLoopback) -> None:
    frozen_s = time.monotonic()
    loopback.proxy.freeze()
    loopback.agent.wait_for(lambda: len(loopback.agent.calls) == 2)
    assert time.monotonic() - frozen_s < KEEPALIVE_WINDOW_S + SLACK_S
    loopback.sink.wait_for(lambda: ("closed", "pi-1") in loopback.sink.calls)
    assert time.monotonic() - frozen_s < loopback.controller_window_s + SLACK_S
    loopback.proxy.reset()
    loopback.proxy.thaw()
    loopback.agent.wait_for(lambda: loopback.agent.calls.count("online") == 2)


def test_fetch_into_a_black_hole_ends_as_a_temporary_error(loopback: Loopback | BrokerLoopback) -> None:
    content = bytes(64 * 1024 * 1024)
    loopback.sink.artifacts["a" * 64] = (content, frozenset({"pi-1"}))
    got: list[int] = []

    def take(chunk: Any) -> None:
        got.append(len(chunk.data))
        if len(got) == 3:
            loopback.proxy.freeze()

    began_s = time.monotonic()
    with pytest.raises(TemporaryError):
        loopback.link.fetch("a" * 64, 0, take, threading.Event())
    assert time.monotonic() - began_s < KEEPALIVE_WINDOW_S + SLACK_S
    assert 0 < sum(got) < len(content)


def test_close_is_quick_while_the_peer_is_a_black_hole(loopback: Loopback | BrokerLoopback) -> None:
    loopback.proxy.freeze()
    began_s = time.monotonic()
    loopback.link.close()
    assert time.monotonic() - began_s < 4.0


def test_stopped_controller_process_is_noticed_and_found_again(
    tmp_path: Path, make_csr: Callable[[str], tuple[bytes, bytes]]
) -> None:
    authority = open_authority(tmp_path / "identity", "lab")
    key, csr = make_csr("pi-1")
    certificate, _, _ = authority.issue_device_certificate(csr, "pi-1")
    (tmp_path / "cert.pem").write_bytes(certificate)
    program = Path(__file__).with_name("stoppable_controller.py")
    command = [sys.executable, str(program), str(tmp_path / "identity"), str(tmp_path / "cert.pem")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as controller:
        assert controller.stdout is not None
        port = int(controller.stdout.readline())
        credentials = Credentials(authority.ca_pem(), certificate, key)
        link = GrpcLink(f"grpcs://127.0.0.1:{port}", lambda: credentials, QUICK)
        agent = RecordingLinkSink()
        link.start(agent)
        try:
            agent.wait_for(lambda: "online" in agent.calls)
            stopped_s = time.monotonic()
            controller.send_signal(signal.SIGSTOP)
            agent.wait_for(lambda: len(agent.calls) == 2)
            assert time.monotonic() - stopped_s < KEEPALIVE_WINDOW_S + SLACK_S
            controller.send_signal(signal.SIGCONT)
            agent.wait_for(lambda: agent.calls.count("online") == 2)
        finally:
            link.close()
            controller.kill()


def test_stopped_controller_process_is_noticed_through_the_broker_and_found_again(
    mqtt_pair: Any, tmp_path: Path
) -> None:
    mqtt_pair.stop_controller()
    with mqtt_pair.controller_process(tmp_path / "controller") as controller:
        _, agent = mqtt_pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        stopped_s = time.monotonic()
        controller.send_signal(signal.SIGSTOP)
        agent.wait_for(lambda: len(agent.calls) == 2)
        assert time.monotonic() - stopped_s < BROKER_WINDOW_S + SLACK_S
        assert agent.calls[1] == "offline: the controller has left the broker"
        controller.send_signal(signal.SIGCONT)
        agent.wait_for(lambda: agent.calls.count("online") == 2)

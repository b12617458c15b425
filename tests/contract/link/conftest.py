"""All links behind one face, so that one contract-test class runs over them."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from muster_agent.adapters import link_mqtt as agent_mqtt
from muster_agent.adapters.link_grpc import GrpcLink as AgentGrpcLink
from muster_agent.adapters.link_grpc import LinkTiming
from muster_agent.join import make_request
from muster_agent.ports import Link
from muster_agent.testing_link import MemoryLink, RecordingLinkSink
from muster_agent.testing_network import TcpProxy
from muster_controller.adapters import link_mqtt as controller_mqtt
from muster_controller.adapters.broker_mosquitto import MosquittoBroker
from muster_controller.adapters.identity_x509 import X509Authority, open_authority
from muster_controller.adapters.link_grpc import GrpcLink as ControllerGrpcLink
from muster_controller.testing_link import CertificateBook, MemorySwitchboard, RecordingSink
from muster_protos.credentials import Credentials
from muster_protos.model import AgentMessage, RenewResponse, SigningKey

QUICK = LinkTiming(
    keepalive_time_s=1.0, keepalive_timeout_s=1.0, connect_timeout_s=5.0, retry_base_s=0.05, retry_cap_s=0.2
)

QUICK_MQTT = agent_mqtt.LinkTiming(
    keepalive_time_s=1.0,
    keepalive_timeout_s=1.0,
    connect_timeout_s=5.0,
    block_timeout_s=1.0,
    retry_base_s=0.05,
    retry_cap_s=0.2,
)
QUICK_CONTROLLER = controller_mqtt.LinkOptions(
    keepalive_s=1, connect_timeout_s=5.0, retry_base_s=0.05, retry_cap_s=0.2, settle_s=0.5, gap_s=1.0
)
FLEET = "lab"


class LoopThread:
    """An event loop in a thread, as the controller has one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


class Pair(Protocol):
    """A controller's end and as many devices as a test wants."""

    sink: RecordingSink
    book: CertificateBook

    def device(self, device_id: str, greeting: AgentMessage | None = None) -> tuple[Link, RecordingLinkSink]:
        """An agent's link; ``greeting`` is sent from within its online call."""
        ...

    def twin(self, device_id: str) -> tuple[Link, RecordingLinkSink]:
        """Another agent with the identity of an existing device."""
        ...

    def cut(self, device_id: str) -> None:
        """Break the connection without a word."""
        ...

    def stop_controller(self) -> None: ...
    def close(self) -> None: ...


class _Devices:
    """What both pairs do alike."""

    def __init__(self) -> None:
        self.sink = RecordingSink()
        self.book = CertificateBook()
        self.greeted: list[bool] = []
        self._links: list[Link] = []

    def _start(self, link: Link, greeting: AgentMessage | None) -> tuple[Link, RecordingLinkSink]:
        sink = RecordingLinkSink()
        if greeting is not None:
            sink.on_online = lambda: self.greeted.append(link.send(greeting))
        self._links.append(link)
        link.start(sink)
        return link, sink

    def _close_links(self) -> None:
        for link in self._links:
            link.close()


class MemoryPair(_Devices):
    def __init__(self) -> None:
        super().__init__()
        self._switchboard = MemorySwitchboard(self.sink, self.book)
        self.sink.renewal = lambda device_id, csr: RenewResponse(
            f"renewed {device_id}".encode(), (SigningKey("k", b"p"),), b"door"
        )

    def device(self, device_id: str, greeting: AgentMessage | None = None) -> tuple[Link, RecordingLinkSink]:
        self.book.admit(device_id.encode(), device_id)
        return self.twin(device_id, greeting)

    def twin(self, device_id: str, greeting: AgentMessage | None = None) -> tuple[Link, RecordingLinkSink]:
        return self._start(MemoryLink(self._switchboard, device_id.encode()), greeting)

    def cut(self, device_id: str) -> None:
        self._switchboard.session(device_id).break_off()

    def stop_controller(self) -> None:
        self._switchboard.stop()

    def close(self) -> None:
        self._close_links()


class GrpcPair(_Devices):
    def __init__(
        self,
        authority: X509Authority,
        make_csr: Callable[[str], tuple[bytes, bytes]],
        proxy: Callable[[int], TcpProxy],
    ) -> None:
        super().__init__()
        self._make_csr = make_csr
        self._authority = authority
        self._loop = LoopThread()
        self._controller = ControllerGrpcLink(self.sink, authority, self.book, port=0)
        self._port = self._loop.run(self._controller.start())
        self._make_proxy = proxy
        self._proxies: dict[str, Any] = {}
        self._credentials: dict[str, Credentials] = {}
        self.sink.renewal = lambda device_id, csr: RenewResponse(
            authority.issue_device_certificate(csr, device_id)[0],
            authority.signing_keys(),
            authority.issue_door_certificate(csr, device_id),
        )

    def device(self, device_id: str, greeting: AgentMessage | None = None) -> tuple[Link, RecordingLinkSink]:
        key, csr = self._make_csr(device_id)
        certificate, _, _ = self._authority.issue_device_certificate(csr, device_id)
        self.book.admit(certificate, device_id)
        self._credentials[device_id] = Credentials(self._authority.ca_pem(), certificate, key)
        self._proxies[device_id] = self._make_proxy(self._port)
        return self.twin(device_id, greeting)

    def twin(self, device_id: str, greeting: AgentMessage | None = None) -> tuple[Link, RecordingLinkSink]:
        url = f"grpcs://127.0.0.1:{self._proxies[device_id].port}"
        return self._start(AgentGrpcLink(url, lambda: self._credentials[device_id], QUICK), greeting)

    def cut(self, device_id: str) -> None:
        self._proxies[device_id].reset()

    def stop_controller(self) -> None:
        self._loop.run(self._controller.stop())

    def close(self) -> None:
        self._close_links()
        self._loop.run(self._controller.stop())
        self._loop.close()


class MqttPair(_Devices):
    """Around a real broker; every device has a proxy of its own."""

    def __init__(
        self,
        folder: Path,
        authority: X509Authority,
        make_csr: Callable[[str], tuple[bytes, bytes]],
        proxy: Callable[[int], TcpProxy],
    ) -> None:
        super().__init__()
        self._make_csr = make_csr
        self._make_proxy = proxy
        self._authority = authority
        self._loop = LoopThread()
        self.broker = MosquittoBroker(folder / "broker", authority, FLEET)
        self.port = self.broker.start()
        self._own = self.broker.credentials()
        self.controllers: list[controller_mqtt.MqttLink] = []
        self.proxies: dict[str, TcpProxy] = {}
        self.credentials: dict[str, Credentials] = {}
        self.authority_at: Callable[[Callable[[], int]], X509Authority]  # the same authority with another clock
        self.sink.renewal = lambda device_id, csr: RenewResponse(
            authority.issue_device_certificate(csr, device_id)[0],
            authority.signing_keys(),
            authority.issue_door_certificate(csr, device_id),
        )
        self.start_controller()

    def start_controller(self, port: int = 0) -> controller_mqtt.MqttLink:
        """A controller's end as a fresh process would have it; ``port``: of a proxy before the broker."""
        made = controller_mqtt.MqttLink(
            self.sink, self.book, FLEET, "127.0.0.1", port or self.port, lambda: self._own, QUICK_CONTROLLER
        )
        self.controllers.append(made)
        self._loop.run(made.start())
        return made

    def admit(self, device_id: str) -> Credentials:
        """A device of the fleet that has no link of ours yet."""
        key, csr = self._make_csr(device_id)
        certificate, _, _ = self._authority.issue_device_certificate(csr, device_id)
        self.book.admit(certificate, device_id)
        self.credentials[device_id] = Credentials(self._authority.ca_pem(), certificate, key)
        return self.credentials[device_id]

    @contextlib.contextmanager
    def controller_process(self, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
        """A controller's end that can be stopped and killed; it knows pi-1."""
        folder.mkdir(exist_ok=True)
        contents = {"ca": self._own.ca, "cert": self._own.certificate, "key": self._own.key}
        contents["pi-1"] = self.admit("pi-1").certificate
        for name, content in contents.items():
            (folder / f"{name}.pem").write_bytes(content)
        program = Path(__file__).with_name("stoppable_mqtt_controller.py")
        command = [sys.executable, str(program), str(self.port), str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as controller:
            try:
                assert controller.stdout is not None
                assert controller.stdout.readline() == b"up\n"
                yield controller
            finally:
                controller.kill()

    def device(self, device_id: str, greeting: AgentMessage | None = None) -> tuple[Link, RecordingLinkSink]:
        self.admit(device_id)
        self.proxies[device_id] = self._make_proxy(self.port)
        return self.twin(device_id, greeting)

    def twin(self, device_id: str, greeting: AgentMessage | None = None) -> tuple[Link, RecordingLinkSink]:
        url = f"mqtts://127.0.0.1:{self.proxies[device_id].port}"
        made = agent_mqtt.MqttLink(url, FLEET, device_id, lambda: self.credentials[device_id], QUICK_MQTT)
        return self._start(made, greeting)

    def cut(self, device_id: str) -> None:
        self.proxies[device_id].reset()

    def stop_controller(self) -> None:
        for controller in self.controllers:
            self._loop.run(controller.stop())

    def close(self) -> None:
        self._close_links()
        self.stop_controller()
        self._loop.close()
        self.broker.stop()


@pytest.fixture(scope="session")
def authority_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("authority")


@pytest.fixture(scope="session")
def authority(authority_folder: Path) -> X509Authority:
    return open_authority(authority_folder, FLEET)


@pytest.fixture(scope="session")
def make_csr(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[bytes, bytes]]:
    """(private key PEM, certificate request PEM) of a device, made once by the agent's own child."""
    folder = tmp_path_factory.mktemp("keys")

    def make(device_id: str) -> tuple[bytes, bytes]:
        path = folder / f"{device_id}.pem"
        csr = make_request(path)
        return path.read_bytes(), csr

    return make


@pytest.fixture
def loop_thread() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.close()


@pytest.fixture
def tcp_proxy() -> Iterator[Callable[[int], TcpProxy]]:
    made: list[TcpProxy] = []

    def make(port: int) -> TcpProxy:
        made.append(TcpProxy(port))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.fixture(params=["memory", "grpc", "mqtt"])
def pair(
    request: pytest.FixtureRequest,
    authority: X509Authority,
    make_csr: Callable[[str], tuple[bytes, bytes]],
    tcp_proxy: Callable[[int], TcpProxy],
) -> Iterator[Pair]:
    made: Pair
    match request.param:
        case "memory":
            made = MemoryPair()
        case "grpc":
            made = GrpcPair(authority, make_csr, tcp_proxy)
        case _:
            made = request.getfixturevalue("mqtt_pair")
            yield made
            return
    yield made
    made.close()


@pytest.fixture
def mqtt_pair(
    mosquitto: str,
    tmp_path: Path,
    authority: X509Authority,
    authority_folder: Path,
    make_csr: Callable[[str], tuple[bytes, bytes]],
    tcp_proxy: Callable[[int], TcpProxy],
) -> Iterator[MqttPair]:
    made = MqttPair(tmp_path, authority, make_csr, tcp_proxy)
    made.authority_at = lambda now_ns: open_authority(authority_folder, FLEET, now_ns=now_ns)
    yield made
    made.close()

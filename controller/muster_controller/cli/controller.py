"""One controller process: adapters wired to the service, REST, gRPC and join endpoints in one event loop."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from muster.settings import ENDPOINTS
from muster_controller.adapters.artifacts_folder import FolderArtifactStore
from muster_controller.adapters.broker_mosquitto.broker import end_broker_of_a_killed_controller
from muster_controller.adapters.feed_local import LocalChangeFeed
from muster_controller.adapters.identity_x509 import X509Authority, open_admin_token, open_authority
from muster_controller.adapters.identity_x509.authenticator import StoreAuthenticator
from muster_controller.adapters.identity_x509.authority import DEVICE_CERTIFICATE_LIFE_S
from muster_controller.adapters.link_grpc import GrpcLink
from muster_controller.adapters.link_grpc.host_certificate import LIFE_S as HOST_CERTIFICATE_LIFE_S
from muster_controller.adapters.store_sqlalchemy import open_store
from muster_controller.adapters.workshop_compression import CompressionWorkshop
from muster_controller.cli.broker import FleetBroker, MqttOptions
from muster_controller.cli.lan import check_host, lan_address
from muster_controller.cli.local_agent import LocalAgent
from muster_controller.cli.ports import Listener, check_ports, listen, taken
from muster_controller.cli.welcome import Welcome, say_welcome
from muster_controller.core.join_rules import GRACE_S
from muster_controller.ports import Authenticator, Store
from muster_controller.service.context import Context
from muster_controller.service.fleet import ensure_fleet
from muster_controller.service.service import Service
from muster_protos.errors import ConflictError, MusterError, PermanentError, TemporaryError, UsageError, as_usage
from muster_protos.ids import check_id

if TYPE_CHECKING:
    from muster_controller.cli.doors import Doors, Doorway

_log = logging.getLogger(__name__)

_M_ARENA_MAX, _ARENAS = -8, 2  # malloc.h
_LOCK = "controller.lock"
BROKER_FOLDER = "broker"
_TICK_S = 1.0
_CLEAN_EVERY_S = 3600.0
_CALM_S = 0.5  # without a new session: the rush after a start is over ...
_LONGEST_RUSH_S = 10.0  # ... or is taken for over
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What ``muster up`` was asked for; port 0 = any free one."""

    data: Path
    rest_port: int = 8470
    grpc_port: int = 8471
    join_port: int = 8472
    rest_host: str = "127.0.0.1"
    is_lan: bool = False
    fleet_name: str = "lab"
    has_device: bool = True
    certificate_life_s: float = DEVICE_CERTIFICATE_LIFE_S
    grace_s: float = GRACE_S
    mqtt: MqttOptions = field(default_factory=MqttOptions)


@dataclass(frozen=True, slots=True)
class Parts:
    """What was wired."""

    service: Service
    authority: X509Authority
    authenticator: Authenticator
    store: Store


class SystemClock:
    """``ports.Clock`` of this machine."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


def run_controller(options: UpOptions) -> int:
    """Run until SIGINT (130) or SIGTERM (0).

    Raises:
        UsageError: options that do not go together.
        ConflictError: another controller uses the data folder.
        MissingExtraError: ``--mqtt`` without mosquitto.
        NotAuthorisedError: a broker that does not keep devices apart.
        UnreachableError: a broker that does not answer.
        PermanentError: a port is taken, or the data folder cannot be used.
    """
    _share_arenas()
    check_host(options.rest_host, is_tls=options.is_lan)
    options.mqtt.check()
    options.mqtt.check_means()
    with as_usage():
        check_id(options.fleet_name, "fleet name")
    certificate_life_s = _certificate_life_s(options.certificate_life_s)
    with ExitStack() as stack:
        if (options.data / _LOCK).exists():  # the folder of a running controller says more than its ports
            stack.enter_context(_data_folder(options.data))
            end_broker_of_a_killed_controller(options.data / BROKER_FOLDER)
            check_ports(_listeners(options))
        else:  # a start that cannot come about leaves nothing behind
            check_ports(_listeners(options))
            stack.enter_context(_data_folder(options.data))
        parts = _wire(options, certificate_life_s)
        stack.callback(parts.store.close)
        stack.callback(parts.service.close)
        parts.service.begin()
        return asyncio.run(_serve(options, parts))


def _share_arenas() -> None:
    """glibc gives each of our threads a heap of its own and keeps what is freed there: 9 to 14 MiB instead of 4 to 6
    (mallopt(3)). Other libraries of C have no such call.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def _wire(options: UpOptions, certificate_life_s: float) -> Parts:
    clock = SystemClock()
    has_fleet = (options.data / "identity" / "ca.pem").exists()  # made after the store
    store = open_store(options.data / "fleet.sqlite3", is_expected=has_fleet)
    fleet = ensure_fleet(store, clock, options.fleet_name)
    authority = open_authority(
        options.data / "identity", fleet.fleet_id, clock.now_ns, certificate_life_s, options.grace_s
    )
    token = open_admin_token(options.data / "identity")
    context = Context(
        store=store,
        artifacts=FolderArtifactStore(options.data / "artifacts"),
        feed=LocalChangeFeed(),
        authority=authority,
        clock=clock,
        workshop=CompressionWorkshop(),
        folder=options.data,
    )
    authenticator = StoreAuthenticator(store, fleet.fleet_id, token)
    return Parts(Service(context, options.grace_s), authority, authenticator, store)


async def _serve(options: UpOptions, parts: Parts) -> int:
    stop = asyncio.Event()
    seen: list[int] = []
    loop = asyncio.get_running_loop()

    def ask(number: int) -> None:
        seen.append(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask, number)
    async with AsyncExitStack() as stack:
        agent, doors = await _open(options, parts, stack)
        later = asyncio.create_task(_after_the_rush(parts.service, doors), name="after the rush")
        stack.callback(parts.service.desired.stop_refresh)
        stack.callback(later.cancel)
        await _until_stopped(parts.service, stop, agent, doors.renew_certificates)
    return INTERRUPTED if seen and seen[0] == signal.SIGINT else 0


async def _open(options: UpOptions, parts: Parts, stack: AsyncExitStack) -> tuple[LocalAgent, Doors]:
    """Everything listens and says so; ``stack`` ends it in order.

    Devices come first: after a start the whole fleet knocks at the links. The doors' libraries load meanwhile.
    """
    service, authority = parts.service, parts.authority
    device_host, rest_host = _hosts(options)
    address = lan_address() if options.is_lan else "127.0.0.1"
    rest = stack.enter_context(closing(listen(Listener("REST", "--port", rest_host, options.rest_port))))
    join = stack.enter_context(closing(listen(Listener("join", "--join-port", device_host, options.join_port))))
    rest_port, join_port = (int(each.getsockname()[1]) for each in (rest, join))
    service.joining.advertise((), address, join_port)  # where a session's terms send those whose certificate runs out
    link = GrpcLink(service.sessions, authority, parts.authenticator, device_host, options.grpc_port, [address])
    grpc_port = await _start(link)
    stack.push_async_callback(link.stop)
    loading = asyncio.create_task(asyncio.to_thread(_load_doors))
    broker = _broker(options, parts, device_host, address) if options.mqtt.broker else None
    if broker is not None:
        stack.push_async_callback(broker.stop)
        await broker.start()
    await asyncio.to_thread(service.recover)
    doorway_of, doors_of = await loading
    doors = doors_of(service, authority, parts.authenticator, doorway_of(rest, join, address, options.is_lan))
    endpoints = _endpoints(options, address, rest_port, grpc_port, join_port)
    _advertise(service, broker, endpoints, address, join_port)
    stack.push_async_callback(doors.stop)
    await doors.start()  # nobody joins before all links are known
    agent = LocalAgent(options.data / "agent")
    stack.push_async_callback(asyncio.to_thread, agent.stop)
    stack.callback(_forget_endpoints, options.data / ENDPOINTS)
    stack.callback(doors.say_stopping)
    _write_endpoints(options.data / ENDPOINTS, endpoints)
    if options.has_device:
        await asyncio.to_thread(agent.start, service, endpoints["grpc"], endpoints["join"])
    token = service.tokens.new(note="printed by muster up")
    say_welcome(Welcome(service, options.data, endpoints, token, options.is_lan, agent.outcome))
    return agent, doors


def _load_doors() -> tuple[type[Doorway], type[Doors]]:
    from muster_controller.cli.doors import Doors, Doorway

    return Doorway, Doors


def _advertise(
    service: Service, broker: FleetBroker | None, endpoints: dict[str, str], address: str, join_port: int
) -> None:
    """Say where devices find this controller, to those that join."""
    links = [endpoints["grpc"]]
    if broker is not None:
        service.fleets.watch_broker(lambda: (broker.url, broker.problem))
        endpoints["mqtt"] = broker.url
        links.append(broker.url)
    service.joining.advertise(tuple(links), address, join_port, broker.ca_pem if broker is not None else b"")
    if broker is not None:
        broker.advertise()


async def _after_the_rush(service: Service, doors: Doors) -> None:
    """What can wait until the devices that were online are back."""
    deadline_s, count = time.monotonic() + _LONGEST_RUSH_S, -1
    while count != service.live.count() and time.monotonic() < deadline_s:
        count = service.live.count()
        await asyncio.sleep(_CALM_S)
    try:
        await doors.warm()
    except Exception:  # noqa: BLE001 - whoever asks has it tried again; the devices' states shall be composed
        _log.exception("the REST application could not be loaded")
    refresh = service.desired.refresh_rest
    while not await asyncio.to_thread(_survived, "composing what devices shall be", refresh, _TICK_S):
        await asyncio.sleep(_TICK_S)


def _broker(options: UpOptions, parts: Parts, device_host: str, address: str) -> FleetBroker:
    folder = options.data / BROKER_FOLDER
    return FleetBroker(options.mqtt, folder, parts.service, parts.authority, parts.authenticator, device_host, address)


def _hosts(options: UpOptions) -> tuple[str, str]:
    """(where devices come in, where REST is served)."""
    device_host = "0.0.0.0" if options.is_lan else "127.0.0.1"
    is_default = options.is_lan and options.rest_host == "127.0.0.1"
    return device_host, device_host if is_default else options.rest_host


def _listeners(options: UpOptions) -> tuple[Listener, ...]:
    device_host, rest_host = _hosts(options)
    broker = (Listener("MQTT", "--mqtt-port", device_host, options.mqtt.port),) if options.mqtt.is_own else ()
    return (
        Listener("REST", "--port", rest_host, options.rest_port),
        Listener("gRPC", "--grpc-port", device_host, options.grpc_port),
        Listener("join", "--join-port", device_host, options.join_port),
        *broker,
    )


def _certificate_life_s(life_s: float) -> float:
    if not 60 <= life_s <= 366 * 86_400:
        raise UsageError(f"expected --certificate-life from 1m to 366d, found {life_s:g} s")
    return life_s


async def _start(link: GrpcLink) -> int:
    try:
        return await link.start()
    except PermanentError as error:
        raise taken("gRPC", "--grpc-port", str(error)) from error


async def _until_stopped(service: Service, stop: asyncio.Event, agent: LocalAgent, renew: Callable[[], None]) -> None:
    """Tick once a second; a tick that fails is logged and the next one comes all the same."""
    cleaned_at = renewed_at = time.monotonic()
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), _TICK_S)
        except TimeoutError:
            await asyncio.to_thread(_survived, "a tick", service.tick, _TICK_S)
            await asyncio.to_thread(agent.watch)
        if time.monotonic() - cleaned_at > _CLEAN_EVERY_S:
            cleaned_at = time.monotonic()
            await asyncio.to_thread(_survived, "cleaning", service.clean, _CLEAN_EVERY_S)
        if time.monotonic() - renewed_at > HOST_CERTIFICATE_LIFE_S:
            renewed_at = time.monotonic()
            await asyncio.to_thread(_survived, "a new key", renew, HOST_CERTIFICATE_LIFE_S)


def _survived(what: str, call: Callable[[], None], again_s: float) -> bool:
    """Do it, and say whether it was done; a failure is logged, and the controller goes on."""
    try:
        call()
        return True
    except TemporaryError as error:  # a full disk, a locked store: one line, not a trace each second
        _log.warning("%s failed, the next try comes in %g s: %s", what, again_s, error)
    except (MusterError, OSError):
        _log.exception("%s failed; the next try comes in %g s", what, again_s)
    return False


@contextmanager
def _data_folder(folder: Path) -> Iterator[None]:
    """The folder, private, and ours alone while the block runs."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise PermanentError(
            f"expected a data folder at {folder}, found: {error.strerror}; choose with --data"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ConflictError(f"another controller runs on {folder}; stop it, or choose another --data") from error
    try:
        yield
    finally:
        os.close(descriptor)


def _endpoints(options: UpOptions, address: str, rest_port: int, grpc_port: int, join_port: int) -> dict[str, str]:
    scheme = "https" if options.is_lan else "http"
    rest_host = address if options.is_lan else options.rest_host
    endpoints = {
        "url": f"{scheme}://{rest_host}:{rest_port}",
        "grpc": f"grpcs://{address}:{grpc_port}",
        "join": f"https://{address}:{join_port}",
        "pid": str(os.getpid()),
    }
    if options.is_lan:
        endpoints["ca"] = str(options.data / "identity" / "ca.pem")
    return endpoints


def _write_endpoints(path: Path, endpoints: dict[str, str]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(endpoints, indent=2))
    temporary.replace(path)


def _forget_endpoints(path: Path) -> None:
    """Remove the file, if it is ours."""
    try:
        is_ours = json.loads(path.read_text())["pid"] == str(os.getpid())
    except (OSError, ValueError, KeyError, TypeError):
        return
    if is_ours:
        path.unlink(missing_ok=True)

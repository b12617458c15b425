"""``muster-agent run``: wire the adapters to the daemon and run it until a signal comes."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType

from muster_agent.adapters.cache_folder import FolderCache
from muster_agent.adapters.clock_system import SystemClock
from muster_agent.adapters.link_choice import Candidate, LinkChoice
from muster_agent.adapters.link_note import LinkNote
from muster_agent.adapters.load_child import ChildLoad
from muster_agent.adapters.measurer_child import ChildMeasurer
from muster_agent.adapters.own_identity_folder import FolderIdentity
from muster_agent.adapters.sensors_device import EmulatedSensors, RootSensors
from muster_agent.adapters.serving_local import LocalServing
from muster_agent.adapters.serving_note import ServingNote
from muster_agent.adapters.state_sqlite import SqliteState
from muster_agent.adapters.verifier_child import VerifierChild
from muster_agent.certificate import read_life
from muster_agent.cli.device_inventory import AGENT_VERSION, DeviceInventory, RuntimeProof
from muster_agent.cli.main import INTERRUPTED
from muster_agent.cli.state_folder import StateFolder, state_folder
from muster_agent.daemon import Daemon, Parts, Settings
from muster_agent.identity_folder import Identity, IdentityFolder
from muster_agent.memory_share import may_reserve_freely, memory_share_bytes
from muster_agent.ports import DeviceSensors, Link
from muster_agent.serving_process import ServingOptions
from muster_devices.boot import boot_id
from muster_devices.emulation import Emulator, start_emulation
from muster_devices.profiles import Profile, load_emulated_profile
from muster_protos.credentials import Credentials
from muster_protos.errors import InvalidInputError, MissingExtraError, NotAuthorisedError, UsageError, as_usage
from muster_protos.model import Isolation, SignedEnvelope, SigningKey

log = logging.getLogger(__name__)

FIRST_RELEASE_NS = 1_735_689_600 * 10**9  # 2025-01-01: before it this software did not exist


def do(options: argparse.Namespace) -> int:
    """Run; 0 after SIGTERM, 130 after Ctrl-C."""
    profile, labels = _profile(options.profile), _labels(options.label)  # before anything leaves a trace
    broker_ca = _broker_ca(options.broker_ca)
    folder = state_folder(options.state)
    folder.create()
    with folder.locked(), ExitStack() as stack:
        identities = IdentityFolder(folder.identity)
        identity = identities.read()
        if identity is None:
            raise NotAuthorisedError(
                f"expected a joined device, found no identity in {folder.identity}; run: muster-agent join LINK"
            )
        emulator = _emulator(profile, options, identity, folder)
        if emulator is not None:
            stack.callback(emulator.close)
            emulator.enter(os.getpid())
            log.info("emulated device: %s", "; ".join(emulator.describe().how))
        clock = SystemClock(earliest_ns=earliest_ns(identity))
        link = choose_link(options.link, identity, identities, broker_ca)
        proof = RuntimeProof(folder.runtimes)
        links = _link_names(options.link, identity)
        inventory = DeviceInventory(identity.device_id, folder.root, emulator, links, labels, proof, waits=False)
        state = SqliteState(folder.database)
        stack.callback(state.close)
        note = LinkNote((lambda: folder.root, folder.spare))
        stack.callback(note.close)
        serving_note = ServingNote((lambda: folder.root, folder.spare))
        stack.callback(serving_note.close)
        parts = Parts(
            state=state,
            cache=FolderCache(folder.root),
            verifier=VerifierChild(
                lambda: (identities.read() or identity).trust.in_force(clock.now_ns()),
                read_manifest_keys=lambda: (identities.read() or identity).trust.vouching(),
            ),
            link=link,
            clock=clock,
            measurer=ChildMeasurer(identity.device_id, AGENT_VERSION, emulator, wait_for_quiet=proof.wait),
            served=LocalServing(folder.socket, serving_options(emulator)),
            load=ChildLoad(emulator.enter, emulator.leave) if emulator else ChildLoad(),
            sensors=sensors_of(emulator),
            inventory=inventory,
            note_link=note.write,
            note_serving=serving_note.write,
            identity=FolderIdentity(identities, check_with_key, options.door),
        )
        settings = Settings(
            device_id=identity.device_id,
            fleet_id=identity.fleet_id,
            boot_id=boot_id(),
            memory_limit_bytes=_memory_limit_bytes(emulator),
        )
        daemon = Daemon(parts, settings)
        proof.when_changed(daemon.inbox.inventory_changed)
        return run_until_signal(daemon)


def run_until_signal(daemon: Daemon) -> int:
    """Run in this thread; SIGTERM and SIGINT end it cleanly."""
    stop = threading.Event()
    seen: list[int] = []

    def ask(number: int, _: FrameType | None) -> None:
        seen.append(number)
        stop.set()
        daemon.inbox.wake.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    daemon.run(stop)
    return INTERRUPTED if seen and seen[0] == signal.SIGINT else 0


def check_with_key(envelope: SignedEnvelope, key: SigningKey) -> None:
    """One envelope against one key, in a child of its own.

    Raises:
        NotAuthorisedError: no good signature.
        TemporaryError: it could not be checked.
    """
    VerifierChild(lambda: (key,)).verify((envelope,))


def earliest_ns(identity: Identity) -> int:
    """What this device knows to be past, whatever its clock says: the first release, its own certificate's begin."""
    try:
        return max(FIRST_RELEASE_NS, read_life(identity.certificate_pem).begins_ns)
    except InvalidInputError:
        return FIRST_RELEASE_NS


def make_link(url: str, identities: IdentityFolder, broker_ca: bytes = b"") -> Link:
    """The adapter for a link's URL. ``broker_ca``: PEM, in place of the CA that the join named for brokers.

    Raises:
        InvalidInputError: no adapter speaks it.
        MissingExtraError: its library is not installed.
    """

    def read_credentials() -> Credentials:
        identity = read_identity(identities)
        return Credentials(identity.ca_pem, identity.certificate_pem, identities.read_key())

    def read_broker_credentials() -> Credentials:
        found = read_credentials()
        return replace(found, ca=broker_ca or read_identity(identities).broker_ca_pem or found.ca)

    match url.partition("://")[0]:
        case "grpcs":
            return _grpc_link(url, read_credentials)
        case "mqtts":
            from muster_agent.adapters.link_mqtt import MqttLink

            identity = read_identity(identities)
            return MqttLink(url, identity.fleet_id, identity.device_id, read_broker_credentials)
        case _:
            raise InvalidInputError(
                f"expected a link such as grpcs://HOST:8471 or mqtts://HOST:8883, found {url[:80]!r}"
            )


def read_identity(identities: IdentityFolder) -> Identity:
    """The identity of now.

    Raises:
        NotAuthorisedError: this device has left the fleet.
    """
    identity = identities.read()
    if identity is None:
        raise NotAuthorisedError("expected a joined device, found no identity any more; join again")
    return identity


def _grpc_link(url: str, read_credentials: Callable[[], Credentials]) -> Link:
    _load_event_loop()
    try:
        from muster_agent.adapters.link_grpc import GrpcLink
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("grpc"):
            raise
        raise MissingExtraError(
            "expected grpcio for a grpcs:// link, found none; run: pip install 'muster-edge[grpc]'"
        ) from error
    return GrpcLink(url, read_credentials)


def _load_event_loop() -> None:
    """asyncio without ``ssl``: gRPC brings its own TLS, and OpenSSL's would hold a megabyte that nobody uses.

    asyncio is made for a Python that lacks it. Only before other threads run: one of them may import ``ssl`` just now.
    """
    if threading.active_count() > 1 or "ssl" in sys.modules or "asyncio" in sys.modules:
        return
    sys.modules["ssl"] = None  # type: ignore[assignment]
    try:
        import asyncio  # noqa: F401
    finally:
        del sys.modules["ssl"]


def choose_link(typed: Sequence[str], identity: Identity, identities: IdentityFolder, broker_ca: bytes = b"") -> Link:
    """Over the links that were typed, else over those that the controller named at the join, in their order.

    Raises:
        UsageError: one that was typed is no link.
        InvalidInputError: the join named none.
        MissingExtraError: the only one needs a library that is not installed.
    """
    urls = tuple(typed) or identity.links
    with as_usage() if typed else nullcontext():
        for url in urls or ("",):
            link_name(url)
    if len(urls) == 1:
        with as_usage() if typed else nullcontext():
            return make_link(urls[0], identities, broker_ca)
    candidates = [Candidate(url, partial(make_link, url, identities, broker_ca)) for url in urls]
    return LinkChoice(candidates)


def link_name(url: str) -> str:
    """What a link is called in an inventory.

    Raises:
        InvalidInputError: no adapter speaks it.
    """
    name = _LINK_NAMES.get(url.partition("://")[0])
    if name is None:
        raise InvalidInputError(f"expected a link such as grpcs://HOST:8471 or mqtts://HOST:8883, found {url[:80]!r}")
    return name


_LINK_NAMES = {"grpcs": "grpc", "mqtts": "mqtt"}


def _link_names(typed: Sequence[str], identity: Identity) -> tuple[str, ...]:
    return tuple(dict.fromkeys(link_name(url) for url in tuple(typed) or identity.links))


def _broker_ca(path: Path | None) -> bytes:
    """The content of ``--broker-ca``."""
    if path is None:
        return b""
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"expected a PEM file for --broker-ca at {path}, found: {error.strerror}") from error


def _profile(name: str) -> Profile | None:
    """The class of device to emulate; None when this one is to be itself."""
    if not name:
        return None
    with as_usage():
        return load_emulated_profile(name)


def _emulator(
    profile: Profile | None, options: argparse.Namespace, identity: Identity, folder: StateFolder
) -> Emulator | None:
    if profile is None:
        return None
    return start_emulation(profile, identity.device_id, str(folder.root), use_cgroups=not options.no_cgroup)


def sensors_of(emulator: Emulator | None) -> DeviceSensors:
    """An emulated device does not take the host's heat and battery for its own."""
    if emulator is None:
        return RootSensors()
    return EmulatedSensors(is_memory_own=emulator.isolation is Isolation.CGROUP)


def serving_options(emulator: Emulator | None, root: Path = Path("/")) -> ServingOptions:
    """Serving children have a memory limit always, save where CUDA may run: it reserves far more than it uses."""
    is_limited = not may_reserve_freely(root) or (emulator is not None and emulator.memory_limit_bytes is not None)
    limit_bytes = _memory_limit_bytes(emulator, root) if is_limited else None
    if emulator is None:
        return ServingOptions(memory_limit_bytes=limit_bytes)
    return ServingOptions(slowdown_ratio=emulator.slowdown_ratio, memory_limit_bytes=limit_bytes, enter=emulator.enter)


def _memory_limit_bytes(emulator: Emulator | None, root: Path = Path("/")) -> int | None:
    """Of the emulated device, else a share of this one's."""
    limit_bytes = emulator.memory_limit_bytes if emulator else None
    return memory_share_bytes(root) if limit_bytes is None else limit_bytes


def _labels(texts: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"expected a label as KEY=VALUE, found {text[:80]!r}")
        labels[key] = value
    return labels

"""From a pasted line to a live session: real store, join endpoint, gRPC link and agent side, on loopback."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from muster_agent.adapters.link_grpc import Credentials, GrpcLink, LinkTiming
from muster_agent.adapters.verifier_child import VerifierChild
from muster_agent.cli import join as join_command
from muster_agent.cli.main import build_parser, run_command
from muster_agent.identity_folder import Identity, IdentityFolder
from muster_agent.join import join, make_request
from muster_agent.testing_link import RecordingLinkSink
from muster_controller.adapters.feed_local import LocalChangeFeed
from muster_controller.adapters.identity_x509 import StoreAuthenticator, open_authority
from muster_controller.adapters.join_https import JoinEndpoint
from muster_controller.adapters.link_grpc import GrpcLink as ControllerGrpcLink
from muster_controller.adapters.store_sqlalchemy import open_store
from muster_controller.core.entities import Fleet
from muster_controller.ports import DeviceRevokedError
from muster_controller.service.events import Events
from muster_controller.service.joining import Joining
from muster_controller.service.tokens import Tokens
from muster_controller.testing_link import RecordingSink
from muster_protos.envelope import DESIRED_STATE
from muster_protos.errors import InvalidInputError, NotAuthorisedError, PermanentError, TemporaryError, UsageError
from muster_protos.model import Goodbye, Inventory, JoinRequest, JoinResponse

HOUR_NS = 3600 * 10**9
QUICK = LinkTiming(connect_timeout_s=5.0, retry_base_s=0.05, retry_cap_s=0.1)


class ManualClock:
    def __init__(self, now_ns: int) -> None:
        self.time_ns = now_ns

    def now_ns(self) -> int:
        return self.time_ns

    def monotonic_ns(self) -> int:
        return self.time_ns


class House:
    """A controller's identity, store and both endpoints, in an event loop of their own thread."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(time.time_ns())
        self.fleet = Fleet("fleet-1", "lab", 1, self.clock.now_ns())
        self.store = open_store(folder / "fleet.sqlite3")
        self.store.init_fleet(self.fleet)
        self.authority = open_authority(folder / "identity", "fleet-1")
        self.authenticator = StoreAuthenticator(self.store, "fleet-1", "admin-secret")
        self.joining = Joining(
            self.store, self.authority, self.clock, Events(self.store, LocalChangeFeed(), self.clock)
        )
        self.tokens = Tokens(self.store, self.clock, self.joining)
        self.sink = RecordingSink(renewal=self.joining.renew)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.link = ControllerGrpcLink(self.sink, self.authority, self.authenticator, port=0)
        self.endpoint = JoinEndpoint(self.take_join, self.authority, port=0)
        self.fault: Exception | None = None
        link_port, self.join_port = self.run(self.link.start()), self.run(self.endpoint.start())
        self.joining.advertise((f"grpcs://127.0.0.1:{link_port}",), "127.0.0.1", self.join_port)

    def take_join(self, request: JoinRequest) -> JoinResponse:
        if self.fault is not None:
            raise self.fault
        return self.joining.join(self.fleet, request)

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def close(self) -> None:
        self.run(self.link.stop())
        self.run(self.endpoint.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self.store.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


@pytest.fixture
def connect() -> Iterator[Callable[[Identity, IdentityFolder], tuple[GrpcLink, RecordingLinkSink]]]:
    links: list[GrpcLink] = []

    def make(identity: Identity, folder: IdentityFolder) -> tuple[GrpcLink, RecordingLinkSink]:
        credentials = Credentials(identity.ca_pem, identity.certificate_pem, folder.read_key())
        link, sink = GrpcLink(identity.links[0], lambda: credentials, QUICK), RecordingLinkSink()
        links.append(link)
        link.start(sink)
        return link, sink

    yield make
    for link in links:
        link.close()


def joined(house: House, folder: IdentityFolder, name: str = "pi-1") -> Identity:
    return join(house.tokens.new().link, folder, Inventory(agent_version="0.1.0"), name)


def test_pasted_line_becomes_an_identity_and_a_session(house: House, tmp_path: Path, connect: Any) -> None:
    folder = IdentityFolder(tmp_path / "device" / "identity")
    identity = joined(house, folder)
    assert (identity.fleet_id, identity.device_id) == ("fleet-1", "pi-1")
    assert folder.read() == identity
    assert house.store.get_device("pi-1").inventory.agent_version == "0.1.0"
    _, agent = connect(identity, folder)
    agent.wait_for(lambda: "online" in agent.calls)
    assert house.sink.opened[0].device_id == "pi-1"
    pinned = VerifierChild(lambda: identity.signing_keys)
    pinned.verify([house.authority.signer.sign(DESIRED_STATE, b"state")])


def test_joining_twice_is_the_same_device(house: House, tmp_path: Path) -> None:
    folder = IdentityFolder(tmp_path / "device" / "identity")
    first, second = joined(house, folder), join(house.tokens.new().link, folder, Inventory())
    assert first.device_id == second.device_id == "pi-1"
    assert len(house.store.list_devices().items) == 1


def test_second_device_of_the_same_name_gets_another_id(house: House, tmp_path: Path, connect: Any) -> None:
    one, two = IdentityFolder(tmp_path / "one"), IdentityFolder(tmp_path / "two")
    first, second = joined(house, one), joined(house, two)
    assert (first.device_id, second.device_id) == ("pi-1", "pi-1-2")
    _, agent = connect(first, one)
    agent.wait_for(lambda: "online" in agent.calls)


def test_the_command_says_why_a_device_got_another_id(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(state: str, name: str) -> str:
        command = ["join", house.tokens.new().link, "--state", str(tmp_path / state), "--id", name]
        assert join_command.do(build_parser().parse_args(command)) == 0
        return capsys.readouterr().out

    assert "taken" not in say("one", "vm")
    assert "vm is taken by another device, so this one is vm-2" in say("two", "vm")
    house.store.revoke_device("vm")  # its name is free, and yet no reason to become another device
    assert "vm-2" in say("two", "vm")
    assert "taken" not in say("one", "vm")  # the same device again
    assert "controller is no name for a device" in say("three", "controller")


def test_replayed_secret_is_refused_with_exit_code_5(house: House, tmp_path: Path) -> None:
    line = house.tokens.new(uses=1).link
    join(line, IdentityFolder(tmp_path / "one"), Inventory(), "pi-1")
    with pytest.raises(NotAuthorisedError, match="used up") as caught:
        join(line, IdentityFolder(tmp_path / "two"), Inventory(), "pi-2")
    assert caught.value.exit_code == 5
    assert IdentityFolder(tmp_path / "two").read() is None


def test_line_pasted_again_on_a_member_is_the_same_device_with_a_new_certificate(house: House, tmp_path: Path) -> None:
    folder, line = IdentityFolder(tmp_path / "one"), house.tokens.new(uses=1).link
    first, second = join(line, folder, Inventory(), "pi-1"), join(line, folder, Inventory())
    assert second.device_id == first.device_id == "pi-1"
    assert second.certificate_pem != first.certificate_pem
    assert len(house.store.list_devices().items) == 1


def test_worthless_line_on_a_member_says_so_and_keeps_its_identity(house: House, tmp_path: Path) -> None:
    folder, made = IdentityFolder(tmp_path / "one"), house.tokens.new(uses=1)
    line = made.link
    identity = join(line, folder, Inventory(), "pi-1")
    house.tokens.revoke(made.token.token_id)
    with pytest.raises(
        NotAuthorisedError, match=r"before as pi-1 and keeps that identity: nothing is lost, .*muster-agent run"
    ):
        join(line, folder, Inventory())
    assert folder.read() == identity


def test_a_member_is_not_made_another_device_of_the_same_fleet(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, made = tmp_path / "one", house.tokens.new(uses=2)
    first = join(made.link, IdentityFolder(state / "identity"), Inventory(), "b1")
    https = urlsplit(made.link).fragment
    over_broker = f"mqtts://127.0.0.1:1/fleet-1#{https}.2000000000.{'s' * 86}"
    for line in (made.link, over_broker):
        assert run_command(["join", line, "--id", "other", "--state", str(state)]) == 2
        error = capsys.readouterr().err
        assert "expected no --id or --id b1 as this folder joined that fleet as b1, found --id other" in error
        assert "muster-agent leave here, and muster device rm b1 on the controller" in error
        assert error.count("\n") == 1
        with pytest.raises(UsageError):
            join(line, IdentityFolder(state / "identity"), Inventory(), "other")
    assert [device.device_id for device in house.store.list_devices().items] == ["b1"]
    assert IdentityFolder(state / "identity").read() == first
    assert join(made.link, IdentityFolder(tmp_path / "two"), Inventory(), "b2").device_id == "b2"  # one use was left
    assert join(made.link, IdentityFolder(state / "identity"), Inventory(), "b1").device_id == "b1"


def test_secret_counts_its_uses(house: House, tmp_path: Path) -> None:
    line = house.tokens.new(uses=2).link
    for number in range(2):
        join(line, IdentityFolder(tmp_path / str(number)), Inventory(), f"pi-{number}")
    with pytest.raises(NotAuthorisedError):
        join(line, IdentityFolder(tmp_path / "3"), Inventory(), "pi-3")


def test_one_use_is_one_use_when_eight_devices_race_for_it(house: House, tmp_path: Path) -> None:
    line = house.tokens.new(uses=1).link
    outcomes: list[str] = []

    def race(number: int) -> None:
        try:
            outcomes.append(join(line, IdentityFolder(tmp_path / str(number)), Inventory(), f"pi-{number}").device_id)
        except NotAuthorisedError:
            outcomes.append("refused")

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes.count("refused") == 7
    assert len(house.store.list_devices().items) == 1


def test_expired_secret_is_refused(house: House, tmp_path: Path) -> None:
    line = house.tokens.new(lifetime_s=3600).link
    house.clock.time_ns += HOUR_NS + 1
    with pytest.raises(NotAuthorisedError, match="expired"):
        join(line, IdentityFolder(tmp_path / "one"), Inventory(), "pi-1")


def test_revoked_secret_is_refused(house: House, tmp_path: Path) -> None:
    new = house.tokens.new()
    house.tokens.revoke(new.token.token_id)
    with pytest.raises(NotAuthorisedError, match="revoked"):
        join(new.link, IdentityFolder(tmp_path / "one"), Inventory(), "pi-1")


def test_unknown_secret_is_refused(house: House, tmp_path: Path) -> None:
    line = house.joining.join_link("x" * 32)
    with pytest.raises(NotAuthorisedError):
        join(line, IdentityFolder(tmp_path / "one"), Inventory(), "pi-1")


def test_store_keeps_no_secret(house: House, tmp_path: Path) -> None:
    secret = house.tokens.new().secret
    house.store.close()
    assert all(secret.encode() not in path.read_bytes() for path in tmp_path.glob("fleet.sqlite3*"))


def test_removed_device_loses_its_stream_and_joins_again_with_a_new_line(
    house: House, tmp_path: Path, connect: Any
) -> None:
    folder = IdentityFolder(tmp_path / "one")
    identity = joined(house, folder)
    _, agent = connect(identity, folder)
    agent.wait_for(lambda: "online" in agent.calls)
    house.store.revoke_device("pi-1")
    house.sink.wait_for(lambda: house.sink.opened)
    house.sink.opened[0].close("removed from the fleet", is_revoked=True)
    agent.wait_for(lambda: len(agent.calls) == 2)
    with pytest.raises(DeviceRevokedError):
        house.authenticator.authenticate_certificate(identity.certificate_pem)
    _, second = connect(identity, folder)
    second.wait_for(lambda: any(isinstance(m.body, Goodbye) and m.body.is_revoked for m in second.messages))
    again = joined(house, folder)
    assert again.device_id == "pi-1"
    _, third = connect(again, folder)
    third.wait_for(lambda: "online" in third.calls)


def test_key_that_a_later_join_replaced_is_refused(house: House, tmp_path: Path) -> None:
    old = joined(house, IdentityFolder(tmp_path / "old"))
    house.store.revoke_device("pi-1")
    new = joined(house, IdentityFolder(tmp_path / "new"))
    assert new.device_id == "pi-1"
    assert house.authenticator.authenticate_certificate(new.certificate_pem).principal_id == "pi-1"
    with pytest.raises(NotAuthorisedError, match="key of device"):
        house.authenticator.authenticate_certificate(old.certificate_pem)


def test_certificates_that_are_no_devices_are_refused(house: House, tmp_path: Path) -> None:
    csr = make_request(tmp_path / "key.pem")
    foreign = open_authority(tmp_path / "other", "fleet-2").issue_device_certificate(csr, "pi-1")[0]
    for certificate in (foreign, house.authority.ca_pem(), house.authority.issue_host_certificate(())[0], b"", b"x"):
        with pytest.raises(NotAuthorisedError):
            house.authenticator.authenticate_certificate(certificate)


def test_admin_token_is_compared_whole(house: House) -> None:
    assert house.authenticator.authenticate_admin("admin-secret").kind == "admin"
    for wrong in ("", "admin-secre", "admin-secret2", "Admin-secret", "\udcff"):
        with pytest.raises(NotAuthorisedError):
            house.authenticator.authenticate_admin(wrong)


def test_renewal_over_the_link_is_for_the_own_key_only(house: House, tmp_path: Path, connect: Any) -> None:
    folder = IdentityFolder(tmp_path / "one")
    identity = joined(house, folder)
    link, agent = connect(identity, folder)
    agent.wait_for(lambda: "online" in agent.calls)
    renewed = folder.renew(link.renew(make_request(folder.key_path)).certificate_pem)
    assert renewed.certificate_pem != identity.certificate_pem
    _, second = connect(renewed, folder)
    second.wait_for(lambda: "online" in second.calls)
    agent.wait_for(lambda: len(agent.calls) == 2)
    folder_of_thief = tmp_path / "thief.pem"
    second_link = connect(renewed, folder)[0]
    with pytest.raises((NotAuthorisedError, TemporaryError)):
        second_link.renew(make_request(folder_of_thief))


class TestEndpoint:
    """The join port as a stranger meets it."""

    def post(self, house: House, body: bytes, path: str = "/v1/join", method: str = "POST") -> tuple[int, bytes]:
        context = ssl.create_default_context(cadata=house.authority.ca_pem().decode())
        connection = http.client.HTTPSConnection("localhost", house.join_port, timeout=10, context=context)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    @pytest.mark.parametrize("body", [b"", b"\xff" * 50, b"{}", b"x" * 300_000])
    def test_bodies_that_are_no_requests_are_one_line_of_json(self, house: House, body: bytes) -> None:
        status, answer = self.post(house, body)
        assert status in (400, 401)
        line = json.loads(answer)["error"]
        assert line
        assert "\n" not in line

    def test_other_paths_and_methods_are_refused(self, house: House) -> None:
        assert self.post(house, b"", "/v1/other")[0] == 404
        assert self.post(house, b"", "/v1/join", "GET")[0] == 405

    def test_ca_is_shown_to_anybody(self, house: House) -> None:
        assert self.post(house, b"", "/v1/ca", "GET") == (200, house.authority.ca_pem())

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (TemporaryError("the store\nis busy", 7.0), TemporaryError),
            (InvalidInputError("a bad\nid"), InvalidInputError),
            (NotAuthorisedError("no"), NotAuthorisedError),
        ],
    )
    def test_faults_cross_as_what_they_are(
        self, house: House, tmp_path: Path, fault: Exception, kind: type[Exception]
    ) -> None:
        house.fault = fault
        with pytest.raises(kind) as caught:
            join(house.tokens.new().link, IdentityFolder(tmp_path / "one"), Inventory(), "pi-1")
        assert " ".join(str(fault).split()) in str(caught.value)
        if isinstance(caught.value, TemporaryError):
            assert caught.value.retry_after_s == 7.0

    def test_taken_port_is_an_error_with_the_address(self, house: House) -> None:
        with pytest.raises(PermanentError, match=str(house.join_port)):
            house.run(JoinEndpoint(house.take_join, house.authority, port=house.join_port).start())

    def test_stopped_endpoint_frees_its_port(self, house: House) -> None:
        house.run(house.endpoint.stop())
        again = JoinEndpoint(house.take_join, house.authority, port=house.join_port)
        assert house.run(again.start()) == house.join_port
        house.run(again.stop())
        house.run(again.stop())

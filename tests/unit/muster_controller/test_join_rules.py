import pytest

from muster_controller.core.entities import Device
from muster_controller.core.join_rules import make_token, secret_sha256, settle_device_id
from muster_protos.errors import InvalidInputError
from muster_protos.model import Inventory


def device(device_id: str, key: str, is_revoked: bool = False) -> Device:
    return Device(device_id, device_id, 0, "1", key, Inventory(), is_revoked=is_revoked)


def test_token_keeps_only_a_hash_of_its_secret() -> None:
    token = make_token("the-secret", "tok-1", now_ns=100, ttl_s=10, uses=3)
    assert token.secret_sha256 == secret_sha256("the-secret")
    assert "the-secret" not in repr(token)
    assert (token.created_at_ns, token.expires_at_ns, token.uses_left) == (100, 100 + 10 * 10**9, 3)
    assert not token.is_revoked


@pytest.mark.parametrize(("ttl_s", "uses"), [(0, 1), (-1, 1), (367 * 86_400, 1), (10, 0), (10, -1), (10, 100_001)])
def test_token_that_nobody_or_everybody_could_use_is_refused(ttl_s: float, uses: int) -> None:
    with pytest.raises(InvalidInputError):
        make_token("s", "tok-1", 0, ttl_s, uses)


def test_free_id_is_given() -> None:
    assert settle_device_id("pi", "k1", {}.get) == "pi"


def test_same_key_gets_the_same_id_again() -> None:
    known = {"pi": device("pi", "k1")}
    assert settle_device_id("pi", "k1", known.get) == "pi"


def test_id_of_a_living_device_is_never_handed_to_another_key() -> None:
    known = {"pi": device("pi", "k1")}
    assert settle_device_id("pi", "k2", known.get) == "pi-2"


def test_namesake_that_joins_again_keeps_its_number() -> None:
    known = {"pi": device("pi", "k1"), "pi-2": device("pi-2", "k2")}
    assert settle_device_id("pi", "k2", known.get) == "pi-2"
    assert settle_device_id("pi", "k3", known.get) == "pi-3"


def test_id_of_a_revoked_device_is_free_again() -> None:
    known = {"pi": device("pi", "k1", is_revoked=True)}
    assert settle_device_id("pi", "k2", known.get) == "pi"


def test_long_names_stay_ids() -> None:
    name = "a" * 64
    settled = settle_device_id(name, "k2", {name: device(name, "k1")}.get)
    assert len(settled) <= 64
    assert settled.endswith("-2")


def test_nameless_device_gets_a_name() -> None:
    assert settle_device_id("", "k1", {}.get) == "device"


@pytest.mark.parametrize("name", ["../x", "a/b", "-x", "a" * 65, "p\u0456", "a\x00", "a b"])
def test_names_that_are_no_ids_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError):
        settle_device_id(name, "k1", {}.get)


def test_reserved_name_is_given_to_nobody() -> None:
    assert settle_device_id("controller", "k1", {}.get) == "controller-2"
    assert settle_device_id("ctl", "k1", {}.get, frozenset({"ctl"})) == "ctl-2"

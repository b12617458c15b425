import json
from dataclasses import asdict

import pytest

from muster_devices.profiles import emulated_profile_names, load_profile, match_profile, parse_profile, profile_names
from muster_protos.errors import InvalidInputError
from muster_protos.model import DeviceFacts


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_is_named_like_its_file_and_says_where_it_is_from(name):
    profile = load_profile(name)
    assert profile.name == name
    assert profile.cores >= 1
    assert profile.ram_bytes > 0
    assert profile.sources
    assert all("/" in runtime for runtime in profile.runtimes)
    assert set(profile.links) <= {"grpc", "mqtt"}
    assert all(word == word.lower() for word in profile.match)


def test_three_classes_can_be_emulated_and_fit_on_two_cores_together():
    names = emulated_profile_names()
    quotas = [load_profile(name).emulation.cpu_quota_cores for name in names]
    assert names == ("phone", "pi", "jetson")
    assert sum(quotas) < 2.0
    assert len(set(quotas)) == 3


def test_the_pi_has_the_tightest_memory():
    limits = {name: load_profile(name).emulation.memory_limit_bytes for name in emulated_profile_names()}
    assert min(limits, key=limits.get) == "pi"


def test_an_unknown_profile_is_refused_with_the_known_ones():
    with pytest.raises(InvalidInputError, match=r"phone, pi, jetson, generic, found 'toaster'"):
        load_profile("toaster")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"emulation": null, "name": "x"}', '{"emulation": {"a": 1}}'])
def test_broken_profiles_are_refused(text):
    with pytest.raises(InvalidInputError, match="expected a profile with the fields name, title"):
        parse_profile(text)


def test_a_profile_survives_its_own_text():
    profile = load_profile("pi")
    assert parse_profile(json.dumps(asdict(profile))) == profile


@pytest.mark.parametrize(
    ("facts", "board", "name"),
    [
        (DeviceFacts(soc="bcm2712"), "", "pi"),
        (DeviceFacts(), "Raspberry Pi Zero 2 W Rev 1.0", "pi"),
        (DeviceFacts(soc="tegra194"), "", "jetson"),
        (DeviceFacts(os="Android"), "", "phone"),
        (DeviceFacts(os="Debian GNU/Linux 12 (bookworm)", cpu_model="AMD EPYC"), "KVM", "generic"),
    ],
)
def test_facts_match_their_class(facts, board, name):
    assert match_profile(facts, board).name == name

"""muster key, and what people see of clones and clocks."""

from __future__ import annotations

import json

from muster_controller.cli.doctor import _clones
from muster_controller.testing_service import ServiceLab


def test_a_rotation_shows_both_keys_and_asks_first(muster, lab: ServiceLab) -> None:
    assert muster("key", "rotate").code == 2
    before = json.loads(muster("key", "ls", "-o", "json").out)
    said = muster("key", "rotate", "--yes", "--overlap", "7d", "-o", "json")
    assert said.code == 0
    assert "back up" in said.err
    new, old = json.loads(said.out)
    assert (new["is_signing"], old["is_signing"], new["key_set_version"]) == (True, False, 2)
    assert old["key_id"] == before[0]["key_id"]
    assert old["retires_at_ns"] == lab.clock.now_ns() + 7 * 86_400 * 10**9
    table = muster("key", "ls").out
    assert new["key_id"] in table
    assert "KEY" in table


def test_an_overlap_of_nothing_ends_the_old_key_and_nonsense_is_wrong_usage(muster, lab: ServiceLab) -> None:
    assert muster("key", "rotate", "--yes", "--overlap", "soon").code == 2
    assert [
        key["is_retired"] for key in json.loads(muster("key", "rotate", "--yes", "--overlap", "0", "-o", "json").out)
    ] == [
        False,
        True,
    ]


def test_a_clone_and_a_wrong_clock_are_seen_at_the_device(muster, lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.store.put_cloned("pi", lab.clock.now_ns())
    lab.store.put_clock_offset("pi", -86_400 * 10**9)
    assert "2023-11-14T22:13:20Z" in muster("device", "ls").out
    shown = muster("device", "show", "pi").out
    assert "cloned identity seen" in shown
    assert "-86400.0 s" in shown
    assert lab.service.status().cloned_device_ids == ("pi",)


def test_the_doctor_names_clones_and_says_what_to_do() -> None:
    assert _clones([]).is_ok
    check = _clones(["pi", "nano"])
    assert not check.is_ok
    assert "pi, nano" in check.found
    assert "muster device rm" in check.fix

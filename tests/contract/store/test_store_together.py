"""Reads of one moment, writes that share a transaction, and what is asked of a store many times a second."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from muster_controller.adapters.store_sqlalchemy import open_store
from muster_controller.core.entities import Presence, RolloutState, Standing
from muster_controller.ports import Store
from muster_controller.testing_values import NOW_NS, make_device, make_rollout
from muster_protos.errors import NotFoundError

_PATIENCE_S = 10.0


class TestTogether:
    def test_all_of_it_is_stored(self, store: Store) -> None:
        store.put_device(make_device())

        def write() -> None:
            store.put_presence("pi-1", Presence.ONLINE, "grpc", NOW_NS)
            store.together(lambda: store.put_clock_offset("pi-1", 7))
            assert store.get_device("pi-1").presence is Presence.ONLINE, "it sees what it has written"

        store.together(write)
        found = store.get_device("pi-1")
        assert (found.presence, found.clock_offset_ns) == (Presence.ONLINE, 7)

    def test_an_error_is_told_to_whom_it_belongs(self, store: Store) -> None:
        with pytest.raises(NotFoundError):
            store.together(lambda: store.put_clock_offset("nobody", 7))

    def test_a_snapshot_is_of_one_moment(self, store: Store) -> None:
        store.put_device(make_device())
        writer = threading.Thread(target=store.put_clock_offset, args=("pi-1", 7))
        with store.snapshot():
            before = store.get_device("pi-1")
            writer.start()
            writer.join(0.2)  # a store may let it in, or wait with it
            assert store.get_device("pi-1") == before
        writer.join(_PATIENCE_S)
        assert store.get_device("pi-1").clock_offset_ns == 7

    def test_a_standing_follows_the_device(self, store: Store) -> None:
        store.put_device(replace(make_device(), public_key_sha256="ab"))
        assert store.get_standing("pi-1") == Standing("ab", False)
        store.revoke_device("pi-1")
        assert store.get_standing("pi-1") == Standing("ab", True)
        with pytest.raises(NotFoundError):
            store.get_standing("nobody")

    def test_open_rollouts_run_or_are_paused(self, store: Store) -> None:
        for state in RolloutState:
            store.add_rollout(replace(make_rollout(), rollout_id=f"r-{state.value}", state=state), ())
        found = [rollout.rollout_id for rollout in store.open_rollouts()]
        assert found == ["r-paused", "r-running"]


class TestTogetherInADatabase:
    def test_an_error_leaves_nothing_of_it(self, path: Path) -> None:
        store = open_store(path)
        store.put_device(make_device())

        def write() -> None:
            store.put_clock_offset("pi-1", 7)
            store.put_clock_offset("nobody", 7)

        with pytest.raises(NotFoundError):
            store.together(write)
        assert store.get_device("pi-1").clock_offset_ns == 0
        store.close()

    def test_what_waits_is_stored_in_one_transaction_and_one_that_fails_spoils_nobody_elses(self, path: Path) -> None:
        store = open_store(path)
        for number in range(4):
            store.put_device(make_device(f"pi-{number}"))
        begun, go_on = threading.Event(), threading.Event()
        errors: list[Exception] = []

        def wait() -> None:
            begun.set()
            go_on.wait(_PATIENCE_S)

        def put(device_id: str) -> None:
            try:
                store.together(lambda: store.put_clock_offset(device_id, 7))
            except NotFoundError as error:
                errors.append(error)

        threads = [threading.Thread(target=store.together, args=(wait,))]
        threads += [threading.Thread(target=put, args=(name,)) for name in ("pi-0", "pi-1", "nobody", "pi-2", "pi-3")]
        threads[0].start()
        assert begun.wait(_PATIENCE_S)
        for thread in threads[1:]:
            thread.start()
        go_on.set()
        for thread in threads:
            thread.join(_PATIENCE_S)
        assert [store.get_device(f"pi-{number}").clock_offset_ns for number in range(4)] == [7] * 4
        assert len(errors) == 1
        store.close()

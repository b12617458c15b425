"""What the device can do is said as far as it is known, and never waited for by the loop."""

from __future__ import annotations

import threading
from importlib.metadata import version
from pathlib import Path

from muster_agent.cli.device_inventory import DeviceInventory, RuntimeProof
from muster_agent.version import agent_version
from muster_protos.model import RuntimeSupport

FOUND = (RuntimeSupport(name="onnxruntime", version="1.27.0", providers=("cpu",)),)


def test_while_the_proof_runs_the_inventory_says_what_an_earlier_one_found(tmp_path: Path) -> None:
    path = tmp_path / "runtimes.proof"
    assert RuntimeProof(path, lambda: FOUND).wait() == FOUND
    may_end = threading.Event()

    def prove() -> tuple[RuntimeSupport, ...]:
        may_end.wait(10)
        return ()

    proof = RuntimeProof(path, prove)
    try:
        assert DeviceInventory("pi", proof=proof, waits=False)().runtimes == FOUND
    finally:
        may_end.set()
    assert proof.wait() == ()
    assert DeviceInventory("pi", proof=proof, waits=False)().runtimes == ()


def test_a_proof_that_found_something_new_tells(tmp_path: Path) -> None:
    may_end, told = threading.Event(), threading.Event()

    def prove() -> tuple[RuntimeSupport, ...]:
        may_end.wait(10)
        return FOUND

    for is_told in (True, False):  # the second finds what the first has kept
        may_end.clear()
        told.clear()
        proof = RuntimeProof(tmp_path / "runtimes.proof", prove)
        proof.when_changed(told.set)
        may_end.set()
        proof.wait()
        assert told.is_set() is is_told


def test_a_torn_file_is_no_knowledge(tmp_path: Path) -> None:
    path = tmp_path / "runtimes.proof"
    path.write_bytes(b"\xff\xff\xff")
    may_end = threading.Event()

    def prove() -> tuple[RuntimeSupport, ...]:
        may_end.wait(10)
        return FOUND

    proof = RuntimeProof(path, prove)
    assert proof.known == ()
    may_end.set()
    assert proof.wait() == FOUND


def test_joining_waits_for_the_proof() -> None:
    assert DeviceInventory("pi", proof=RuntimeProof(prove=lambda: FOUND))().runtimes == FOUND


def test_the_agent_says_the_version_that_is_installed() -> None:
    assert DeviceInventory("pi")().agent_version == version("muster-edge")
    assert agent_version("muster-edge-that-is-not-installed") == "unknown"

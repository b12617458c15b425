"""The serving child as the agent lives with it: granted, replaced, killed, adopted, stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muster_agent.local_socket import FrameReader, connect, frame
from muster_agent.serving_process import LocalListener, ServingOptions, ServingProcess
from muster_protos.model import (
    Event,
    LocalCap,
    LocalFailed,
    LocalGrant,
    LocalHello,
    LocalReady,
    LocalStatus,
    LocalStop,
    LocalVariant,
)

# Helpers of the fixtures' file reach tests as fixtures only (tests import nothing from each other).


def infer(port: int, value: float = 0.5) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [1, 64], "datatype": "FP32", "data": [value] * 64}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v2/models/net/infer", json.dumps({"inputs": [tensor]}).encode()
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        body: dict[str, Any] = json.load(answer)
    return body


def variant_of(answer: dict[str, Any]) -> str:
    return str(answer["parameters"]["muster_variant"])


def test_ready_names_ports_and_resident_rungs(ready: LocalReady) -> None:
    assert ready.deployment_id == "d1"
    assert ready.active_variant_id == "net.v1.wide"
    assert set(ready.resident_variant_ids) == {"net.v1.wide", "net.v1.narrow"}
    assert ready.http_port
    assert ready.grpc_port


def test_an_answer_names_its_variant_and_is_the_models(ready: LocalReady, wide: LocalVariant) -> None:
    golden = np.load(wide.golden_path)
    tensor = {"name": "x", "shape": [1, 64], "datatype": "FP32", "data": golden["in_x"][:1].tolist()}
    request = urllib.request.Request(
        f"http://127.0.0.1:{ready.http_port}/v2/models/net/versions/1/infer", json.dumps({"inputs": [tensor]}).encode()
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.headers["muster-variant"] == "net.v1.wide"
        body = json.load(answer)
    np.testing.assert_allclose(body["outputs"][0]["data"], golden["out_y"][0], atol=1e-4)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v2/models/other/infer", b"{}", 404, "expected the model net"),
        ("/v2/models/net/versions/2/infer", b"{}", 404, "expected version 1"),
        ("/v2/models/net/infer", b"not json", 400, "expected a JSON object"),
        ("/v2/models/net/infer", b"{}", 400, "'inputs' as a list"),
        ("/v2/models/net/infer", b'{"inputs": []}', 400, "'x' is missing"),
        ("/v2/models/net/infer", b"x" * 70_000_000, 413, "at most"),
        ("/v3/models", None, 404, "Open Inference Protocol"),
    ],
)
def test_bad_requests_get_one_clear_line(ready: LocalReady, path: str, body: bytes, status: int, words: str) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{ready.http_port}{path}", body)
    with pytest.raises((urllib.error.HTTPError, ConnectionError, urllib.error.URLError)) as caught:
        urllib.request.urlopen(request, timeout=10)
    if isinstance(caught.value, urllib.error.HTTPError):
        assert caught.value.code == status
        assert words in json.load(caught.value)["error"]
        caught.value.close()
    else:
        assert status == 413  # refused before the body was read to its end
    assert infer(ready.http_port)["model_name"] == "net"


def test_a_new_grant_takes_over_under_requests_without_a_failed_one(
    serving: ServingProcess, ready: LocalReady, sink: Any, replacement: LocalGrant
) -> None:
    stop, answers, failures = threading.Event(), [], []

    def ask() -> None:
        while not stop.is_set():
            try:
                answers.append(variant_of(infer(ready.http_port)))
            except (OSError, KeyError) as error:
                failures.append(error)

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    serving.grant(replacement)
    taken = sink.wait_for(lambda m: isinstance(m, LocalReady) and m.deployment_id == "d2")
    sink.wait_for(lambda m: isinstance(m, Event) and m.kind == "ladder.replaced")
    before = len(answers)
    while len(answers) < before + 20:
        infer(ready.http_port)
    stop.set()
    for thread in asking:
        thread.join()
    assert failures == []
    assert taken.http_port == ready.http_port
    assert answers[-1] == "net.v1.narrow"


def test_a_grant_that_only_commits_changes_nothing_but_its_name(
    serving: ServingProcess, ready: LocalReady, sink: Any, two_rungs: LocalGrant
) -> None:
    serving.cap(LocalCap(1, "hot"))
    sink.wait_for(lambda message: isinstance(message, Event))
    committed = dataclasses.replace(two_rungs.grant, deployment_id="d9", is_committed=True)
    serving.grant(dataclasses.replace(two_rungs, grant=committed))
    again = sink.wait_for(lambda m: isinstance(m, LocalReady) and m.deployment_id == "d9")
    assert again.active_variant_id == "net.v1.narrow"
    assert (again.http_port, again.grpc_port) == (ready.http_port, ready.grpc_port)
    assert len([message for message in sink.said if isinstance(message, Event)]) == 1


def test_a_failing_self_test_leaves_the_previous_grant(
    serving: ServingProcess, ready: LocalReady, sink: Any, spoiled: LocalGrant
) -> None:
    serving.grant(spoiled)
    failed = sink.wait_for(lambda message: isinstance(message, LocalFailed))
    assert failed.deployment_id == "d3"
    assert failed.variant_id == "net.v1.spoiled"
    assert failed.reason.startswith("self-test: output 'y' differs")
    assert variant_of(infer(ready.http_port)) == "net.v1.wide"


def test_a_taken_port_fails_the_grant_and_not_the_child(
    serving: ServingProcess, ready: LocalReady, sink: Any, replacement: LocalGrant
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        grant = dataclasses.replace(replacement.grant, http_port=port)
        serving.grant(dataclasses.replace(replacement, grant=grant))
        failed = sink.wait_for(lambda message: isinstance(message, LocalFailed))
    assert failed.reason.startswith(f"port: expected 127.0.0.1:{port} to be free")
    assert variant_of(infer(ready.http_port)) == "net.v1.wide"


def test_a_named_port_is_moved_to(
    serving: ServingProcess, ready: LocalReady, sink: Any, replacement: LocalGrant
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    grant = dataclasses.replace(replacement.grant, http_port=port)
    serving.grant(dataclasses.replace(replacement, grant=grant))
    moved = sink.wait_for(lambda m: isinstance(m, LocalReady) and m.deployment_id == "d2")
    assert moved.http_port == port
    assert variant_of(infer(port)) == "net.v1.narrow"


def test_a_cap_moves_down_at_once_and_says_why(serving: ServingProcess, ready: LocalReady, sink: Any) -> None:
    serving.cap(LocalCap(1, "81 degrees, throttled"))
    event = sink.wait_for(lambda message: isinstance(message, Event))
    assert (event.kind, event.direction, event.to_variant_id) == ("rung.changed", "down", "net.v1.narrow")
    assert "81 degrees" in event.reason
    assert event.duration_ms is not None
    assert variant_of(infer(ready.http_port)) == "net.v1.narrow"


def test_status_counts_answers(ready: LocalReady, sink: Any) -> None:
    for _ in range(5):
        infer(ready.http_port)
    status = sink.wait_for(lambda message: isinstance(message, LocalStatus) and message.answered == 5)
    assert status.failed == status.shed == 0
    assert status.p95_ns is not None


def test_a_killed_child_is_explained(serving: ServingProcess, ready: LocalReady, sink: Any) -> None:
    assert serving.pid is not None
    os.kill(serving.pid, signal.SIGSEGV)
    reason = sink.wait_for(lambda message: isinstance(message, str))
    assert "SIGSEGV" in reason
    assert not serving.is_alive


def test_a_child_that_cannot_start_is_explained(listener: LocalListener, sink: Any, tmp_path: Path) -> None:
    broken = tmp_path / "muster_agent"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('no such runtime here')")
    process = ServingProcess(listener, "net", ServingOptions(env={"PYTHONPATH": str(tmp_path)}))
    process.start()
    reason = sink.wait_for(lambda message: isinstance(message, str))
    assert "exited with status 1" in reason
    assert "no such runtime here" in reason


def test_a_child_gets_no_secret_of_the_agent_and_no_new_privileges(
    listener: LocalListener, sink: Any, small_grant: LocalGrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSTER_TOKEN", "secret of the fleet")
    process = ServingProcess(listener, "net", ServingOptions(memory_limit_bytes=1 << 30))
    process.grant(small_grant)
    process.start()
    try:
        assert isinstance(sink.wait_for(lambda message: isinstance(message, LocalReady | str)), LocalReady)
        proc = Path(f"/proc/{process.pid}")
        assert b"MUSTER_TOKEN" not in (proc / "environ").read_bytes()
        assert (proc / "cwd").readlink() == Path("/")
        assert "NoNewPrivs:\t1" in (proc / "status").read_text()
        limits = (proc / "limits").read_text()
        assert [line.split()[3] for line in limits.splitlines() if line.startswith("Max data size")] == [str(1 << 30)]
    finally:
        process.stop("the test is over")


def test_stop_ends_the_child_and_is_no_exit(serving: ServingProcess, ready: LocalReady, sink: Any) -> None:
    serving.stop("rolled back")
    assert not serving.is_alive
    assert not [message for message in sink.said if isinstance(message, str)]


def test_the_socket_is_for_its_owner_alone(listener: LocalListener) -> None:
    assert stat.S_IMODE(listener.path.stat().st_mode) == 0o600


def test_an_app_without_a_grant_is_told_what_there_is(listener: LocalListener, serving: ServingProcess) -> None:
    with connect(listener.path, timeout_s=5) as stream:
        stream.sendall(frame(LocalHello("other", os.getpid())))
        body = next(FrameReader().feed(stream.recv(65536)))
    assert body == LocalStop("expected a model that is rolled out to this device (net), found 'other'")


def test_an_app_waits_for_a_model_of_the_agents_earlier_life(listener: LocalListener, small_grant: LocalGrant) -> None:
    listener.expect(("net",))
    with connect(listener.path, timeout_s=5) as stream:
        stream.sendall(frame(LocalHello("net", os.getpid())))
        while not listener.peers("net"):
            threading.Event().wait(0.01)
        listener.begin_trial(small_grant)
        listener.accept_trial(small_grant)
        assert next(FrameReader().feed(stream.recv(65536))) == small_grant
        listener.revoke("net", "no longer granted")
        assert next(FrameReader().feed(stream.recv(65536))) == LocalStop("no longer granted")
    with connect(listener.path, timeout_s=5) as stream:
        stream.sendall(frame(LocalHello("net", os.getpid())))
        assert isinstance(next(FrameReader().feed(stream.recv(65536))), LocalStop)


def test_a_child_outlives_its_agent_and_is_adopted(
    tmp_path: Path, sink: Any, agent_script: Path, small_grant: LocalGrant
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    first = subprocess.Popen([sys.executable, agent_script, folder], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    pid, port = (int(word) for word in first.stdout.readline().split())
    first.kill()
    first.wait()
    first.stdout.close()
    assert variant_of(infer(port)) == "net.v1.narrow"
    listener = LocalListener(folder / "serving.sock", sink)
    listener.start()
    process = ServingProcess(listener, "net")
    try:
        process.start()
        assert process.pid == pid
        process.grant(small_grant)
        again = sink.wait_for(lambda message: isinstance(message, LocalReady))
        assert again.http_port == port
        assert variant_of(infer(port)) == "net.v1.narrow"
    finally:
        process.stop("the test is over")
        listener.close()
    assert not Path(f"/proc/{pid}").exists() or "muster_agent" not in Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.slow
def test_a_child_whose_agent_stays_away_ends(
    listener: LocalListener, serving: ServingProcess, ready: LocalReady
) -> None:
    listener.close()
    for _ in range(150):
        if not serving.is_alive:
            break
        threading.Event().wait(0.1)
    assert not serving.is_alive

"""The load child's parts: arrivals, requests, exchange, counting."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_agent.load.arrivals import arrivals_s
from muster_agent.load.busy import shares
from muster_agent.load.exchange import Exchange
from muster_agent.load.requests import http_request, load_samples, specs_of
from muster_agent.load.run import LoadRun
from muster_agent.load_process import LoadError, LoadSpec, parse_spec, run_load, spec_json
from muster_agent.serving.http_body import parse_request
from muster_agent.serving.protocol import ModelFace
from muster_protos.errors import InvalidInputError
from muster_protos.model import LoadPhase, LoadRequest, Signature, TensorSpec

X = TensorSpec("x", "float32", (1, 3))


@given(st.integers(0, 2**31), st.floats(0.5, 50), st.integers(100, 5000))
def test_arrivals_are_the_same_for_the_same_seed_and_stay_in_their_phase(seed: int, rate: float, ms: int) -> None:
    phases = (LoadPhase(rate, ms), LoadPhase(0.0, 500), LoadPhase(rate, ms))
    first, second = list(arrivals_s(phases, seed)), list(arrivals_s(phases, seed))
    assert first == second == sorted(first)
    pause = (ms / 1000, ms / 1000 + 0.5)
    assert all(not pause[0] <= at_s < pause[1] for at_s in first)
    assert all(at_s < 2 * ms / 1000 + 0.5 for at_s in first)


def test_arrivals_have_the_phases_rate() -> None:
    count = sum(1 for _ in arrivals_s((LoadPhase(100.0, 100_000),), 1))
    assert 9_600 < count < 10_400


def test_a_spec_survives_the_pipe() -> None:
    spec = LoadSpec(LoadRequest("l", 2, "net", (LoadPhase(5.0, 10),), 3, 0.5), 80, 7, "/x.npz", "::1")
    assert parse_spec(spec_json(spec)) == spec


@given(st.floats(0, 1), st.integers(1, 64))
def test_busy_shares_add_up(ratio: float, cores: int) -> None:
    found = shares(ratio, cores)
    assert sum(found) == pytest.approx(ratio * cores, abs=1e-6)
    assert all(0 < share <= 1 for share in found)


def test_a_built_request_is_what_the_serving_child_parses(tmp_path: Path) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez(tmp_path / "golden.npz", in_x=x, out_y=x)
    specs = specs_of([{"name": "x", "datatype": "FP32", "shape": [1, 3]}])
    samples = load_samples(tmp_path / "golden.npz", specs)
    request = http_request("net", "127.0.0.1", samples[1], ["y"])
    head, _, body = request.partition(b"\r\n\r\n")
    headers = dict(line.split(": ") for line in head.decode().split("\r\n")[1:])
    assert int(headers["Content-Length"]) == len(body)
    face = ModelFace("net", "1", "", Signature((X,), (TensorSpec("y", "float32", (1, 3)),)))
    parsed = parse_request(face, body, headers["Inference-Header-Content-Length"])
    np.testing.assert_array_equal(parsed.feeds["x"], x[1:])
    assert parsed.binary_outputs == {"y"}


def test_an_evaluation_file_serves_as_inputs_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "eval.npz", x_x=np.zeros((200, 3), np.float32), y=np.zeros(200))
    assert len(load_samples(tmp_path / "eval.npz", (X,))) == 64


def test_inputs_that_do_not_fit_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", in_z=np.zeros((2, 3), np.float32))
    with pytest.raises(InvalidInputError, match="in_x"):
        load_samples(tmp_path / "other.npz", (X,))


Reply = Callable[[int], Awaitable[bytes]]


@asynccontextmanager
async def responder(reply: Reply) -> AsyncIterator[int]:
    """A stand-in for the serving child: metadata, then ``reply(n)`` to the n-th request; its port."""
    count = itertools.count()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET"):
                    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3]}
                    writer.write(answer(200, json.dumps({"inputs": [tensor], "outputs": [{"name": "y"}]}).encode()))
                    continue
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if b"Content-Length: " in line and b"Inference" not in line
                )
                await reader.readexactly(length)
                writer.write(await reply(next(count)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


def answer(status: int, body: bytes = b"{}", variant: str = "v") -> bytes:
    return f"HTTP/1.1 {status} X\r\nmuster-variant: {variant}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def inputs(tmp_path: Path) -> str:
    np.savez(tmp_path / "golden.npz", in_x=np.zeros((4, 3), np.float32))
    return str(tmp_path / "golden.npz")


async def test_answers_refusals_failures_and_late_ones_are_counted_apart(inputs: str) -> None:
    async def reply(index: int) -> bytes:
        match index % 4:
            case 0:
                return answer(200, variant="fp32")
            case 1:
                return answer(503)
            case 2:
                return answer(500, b"broken")
            case _:
                await asyncio.sleep(0.15)
                return answer(200, variant="int8")

    async with responder(reply) as port:
        request = LoadRequest("l", 1, "net", (LoadPhase(100.0, 400),), 1)
        result = await LoadRun(LoadSpec(request, port, 100_000_000, inputs)).run()
    assert result.offered == result.answered + result.shed + result.failed
    assert result.shed >= 5
    assert result.answered_by["fp32"] >= 5
    assert result.slo_missed == result.shed + result.failed + result.answered_by["int8"]
    assert result.reason == "first failure: status 500: broken"
    assert result.p95_ns is not None
    assert result.p95_ns >= 150_000_000


async def test_a_closed_loop_keeps_so_many_under_way_and_finds_the_capacity(inputs: str) -> None:
    """20 ms an answer and three at a time: about 150 a second, however many could be sent."""
    under_way, most = 0, 0

    async def reply(index: int) -> bytes:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        return answer(200)

    async with responder(reply) as port:
        phases = (LoadPhase(0.0, 100), LoadPhase(0.0, 600, 3), LoadPhase(0.0, 100))
        result = await LoadRun(LoadSpec(LoadRequest("l", 1, "net", phases, 1), port, 0, inputs)).run()
    assert most == 3
    assert result.failed == result.shed == 0
    assert 6 <= result.answered == result.offered <= 93


async def test_a_closed_loop_does_not_spin_on_refusals(inputs: str) -> None:
    async def reply(index: int) -> bytes:
        return answer(503)

    async with responder(reply) as port:
        request = LoadRequest("l", 1, "net", (LoadPhase(0.0, 400, 2),), 1)
        result = await LoadRun(LoadSpec(request, port, 0, inputs)).run()
    assert result.shed == result.offered
    assert result.offered <= 42


async def test_latency_counts_from_the_scheduled_moment(inputs: str) -> None:
    """Every answer takes 30 ms on one connection each; none waits for another, so none is late."""

    async def reply(index: int) -> bytes:
        await asyncio.sleep(0.03)
        return answer(200)

    async with responder(reply) as port:
        request = LoadRequest("l", 1, "net", (LoadPhase(200.0, 500),), 1)
        result = await LoadRun(LoadSpec(request, port, 0, inputs)).run()
    assert result.failed == 0
    assert result.p50_ns is not None
    assert 30_000_000 <= result.p50_ns < 200_000_000


async def test_a_hung_up_connection_is_a_failure_and_the_load_goes_on(inputs: str) -> None:
    async def reply(index: int) -> bytes:
        if index % 3 == 0:
            raise ConnectionResetError
        return answer(200)

    async with responder(reply) as port:
        request = LoadRequest("l", 1, "net", (LoadPhase(100.0, 300),), 1)
        result = await LoadRun(LoadSpec(request, port, 0, inputs)).run()
    assert result.failed >= 3
    assert result.answered >= 10


async def test_a_stopped_load_reports_what_it_has(inputs: str) -> None:
    async def reply(index: int) -> bytes:
        if index == 5:
            run.stop("stopped")
        return answer(200)

    async with responder(reply) as port:
        run = LoadRun(LoadSpec(LoadRequest("l", 1, "net", (LoadPhase(100.0, 60_000),), 1), port, 0, inputs))
        result = await run.run()
    assert 6 <= result.offered < 50
    assert result.reason == "stopped"


async def test_nonsense_instead_of_http_is_a_connection_error() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with listening:
        exchange = await Exchange.open("127.0.0.1", listening.sockets[0].getsockname()[1])
        with pytest.raises(ConnectionError):
            await exchange.ask(b"GET / HTTP/1.1\r\n\r\n", 5)
        exchange.close()


def test_a_load_without_anybody_to_answer_says_so(inputs: str) -> None:
    request = LoadRequest("l", 1, "net", (LoadPhase(1.0, 100),), 1)
    with pytest.raises(LoadError, match=r"expected net on 127\.0\.0\.1:1, found"):
        run_load(LoadSpec(request, 1, 0, inputs), threading.Event())


def test_busy_cores_alone_are_a_load_too() -> None:
    entered: list[int] = []
    request = LoadRequest("l", 1, "", (LoadPhase(0.0, 300),), 1, cpu_ratio=0.3)
    result = run_load(LoadSpec(request), threading.Event(), entered.append)
    assert (result.offered, result.failed, result.request_id) == (0, 0, "l")
    assert len(entered) == 1
    assert (result.finished_at_ns - result.started_at_ns) >= 300_000_000

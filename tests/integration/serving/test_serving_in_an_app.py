"""``muster.Serving``: the model inside an app, under the same grant and the same guard."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import muster
from muster_agent.adapters.serving_local import LocalServing
from muster_agent.serving_process import LocalListener, ServingOptions, ServingProcess
from muster_protos.errors import InvalidInputError, NotFoundError, PermanentError, TemporaryError, UnreachableError
from muster_protos.model import Event, LocalCap, LocalGrant, LocalReady, LocalVariant, Slo


@pytest.fixture
def app(listener: LocalListener, two_rungs: LocalGrant) -> Iterator[muster.Serving]:
    listener.grant(two_rungs)
    with muster.Serving("net", state=listener.path.parent) as serving:
        yield serving


def x_of(variant: LocalVariant) -> tuple[Any, Any]:
    golden = np.load(variant.golden_path)
    return golden["in_x"], golden["out_y"]


def test_an_app_infers_with_the_models_own_tensors(app: muster.Serving, wide: LocalVariant) -> None:
    x, y = x_of(wide)
    assert app.active_variant == "net.v1.wide"
    np.testing.assert_allclose(app(x[:3]), y[:3], atol=1e-4)
    np.testing.assert_allclose(app({"x": x[:1]}), y[:1], atol=1e-4)


def test_the_agent_sees_the_app_and_its_moves(
    app: muster.Serving, listener: LocalListener, sink: Any, wide: LocalVariant, narrow: LocalVariant
) -> None:
    ready = sink.wait_for(lambda message: isinstance(message, LocalReady))
    assert ready.http_port == ready.grpc_port == 0
    assert [(peer.pid, peer.is_child) for peer in listener.peers("net")] == [(os.getpid(), False)]
    listener.cap("net", LocalCap(1, "throttled"))
    event = sink.wait_for(lambda message: isinstance(message, Event))
    assert (event.direction, event.to_variant_id) == ("down", "net.v1.narrow")
    np.testing.assert_allclose(app(x_of(narrow)[0][:1]), x_of(narrow)[1][:1], atol=1e-4)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((1, 64)), "expected datatype FP32, found 'float64'"),
        (np.zeros((1, 65), np.float32), "expected shape"),
        ({"z": np.zeros((1, 64), np.float32)}, "expected the inputs x"),
        ({}, "'x' is missing"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_and_not_converted(app: muster.Serving, x: Any, words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        app(x)
    assert words in str(caught.value)


def test_several_threads_may_ask(app: muster.Serving, wide: LocalVariant) -> None:
    x, y = x_of(wide)
    wrong: list[float] = []

    def ask(row: int) -> None:
        for _ in range(20):
            error = float(np.abs(app(x[row : row + 1]) - y[row : row + 1]).max())
            if error > 1e-3:
                wrong.append(error)

    threads = [threading.Thread(target=ask, args=(row,)) for row in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_new_grant_reaches_the_running_app(
    app: muster.Serving, listener: LocalListener, sink: Any, replacement: LocalGrant
) -> None:
    listener.grant(replacement)
    sink.wait_for(lambda message: isinstance(message, LocalReady) and message.deployment_id == "d2")
    assert app.active_variant == "net.v1.narrow"


def test_an_app_serves_on_while_the_agent_restarts_and_reports_again(
    app: muster.Serving, listener: LocalListener, sink: Any, wide: LocalVariant, two_rungs: LocalGrant
) -> None:
    x, y = x_of(wide)
    listener.close()
    np.testing.assert_allclose(app(x[:1]), y[:1], atol=1e-4)
    again = LocalListener(listener.path, type(sink)())
    again.start()
    try:
        again.grant(two_rungs)
        again.sink.wait_for(lambda message: isinstance(message, LocalReady))  # type: ignore[attr-defined]
        again.cap("net", LocalCap(1, "hot"))
        again.sink.wait_for(lambda message: isinstance(message, Event))  # type: ignore[attr-defined]
    finally:
        again.close()


def test_a_withdrawn_model_says_so_and_is_healed_by_the_next_grant(
    app: muster.Serving, listener: LocalListener, wide: LocalVariant, two_rungs: LocalGrant
) -> None:
    x, y = x_of(wide)

    def ask_until(is_over: Callable[[str], bool]) -> str:
        for _ in range(1000):
            try:
                np.testing.assert_allclose(app(x[:1]), y[:1], atol=1e-4)
                said = "answered"
            except TemporaryError as error:
                said = str(error)
            if is_over(said):
                return said
            threading.Event().wait(0.01)
        raise AssertionError(said)

    listener.revoke("net", "the rollout was aborted")
    assert ask_until(lambda said: said != "answered") == "net is no longer served: the rollout was aborted"
    listener.grant(two_rungs)
    ask_until(lambda said: said == "answered")


def test_a_request_over_its_objective_is_refused(
    listener: LocalListener, two_rungs: LocalGrant, wide: LocalVariant
) -> None:
    hopeless = dataclasses.replace(two_rungs.grant, slo=Slo(1_000, 95.0))
    listener.grant(dataclasses.replace(two_rungs, grant=hopeless))
    x, _ = x_of(wide)
    with muster.Serving("net", state=listener.path.parent) as serving:
        serving(x[:1])  # the probe
        with pytest.raises(TemporaryError, match="overloaded"):
            serving(x[:1])


def test_no_agent_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_AGENT_STATE", str(tmp_path / "nowhere"))
    with pytest.raises(UnreachableError, match="start `muster-agent run`"):
        muster.Serving("net").start()


def test_an_unknown_model_names_those_there_are(listener: LocalListener, two_rungs: LocalGrant) -> None:
    listener.grant(two_rungs)
    with pytest.raises(NotFoundError, match=r"rolled out to this device \(net\), found 'kws'"):
        muster.Serving("kws", state=listener.path.parent).start()


def test_a_grant_that_fails_its_self_test_is_not_served(listener: LocalListener, spoiled: LocalGrant) -> None:
    listener.grant(spoiled)
    with pytest.raises(TemporaryError, match="self-test"):
        muster.Serving("net", state=listener.path.parent).start()


def deployment_of(app: muster.Serving) -> str:
    return str(app._running().engine.ladder.grant.grant.deployment_id)


@dataclasses.dataclass
class NoSink:
    """A daemon that listens to nothing."""

    ended: list[str] = dataclasses.field(default_factory=list)

    def serving_ended(self, model_id: str, reason: str) -> None:
        self.ended.append(reason)

    def serving_changed(self, model_id: str, ready: LocalReady) -> None: ...
    def serving_event(self, model_id: str, event: Event) -> None: ...


def test_apps_never_see_a_grant_that_the_serving_child_refused(
    tmp_path: Path, small_grant: LocalGrant, spoiled: LocalGrant
) -> None:
    served = LocalServing(tmp_path / "serving.sock", ServingOptions())
    served.start(NoSink())
    try:
        served.serve(small_grant, timeout_s=60)
        with muster.Serving("net", state=tmp_path) as early:
            with pytest.raises(PermanentError, match="self-test"):
                served.serve(spoiled, timeout_s=60)
            with muster.Serving("net", state=tmp_path) as late:
                deployments = [deployment_of(app) for app in (early, late)]
        assert deployments == ["d1", "d1"]
    finally:
        served.close("the test is over")


def test_apps_get_a_new_grant_when_the_serving_child_serves_it(
    tmp_path: Path, small_grant: LocalGrant, two_rungs: LocalGrant
) -> None:
    served = LocalServing(tmp_path / "serving.sock", ServingOptions())
    served.start(NoSink())
    try:
        served.serve(two_rungs, timeout_s=60)
        second = dataclasses.replace(small_grant.grant, deployment_id="d2")
        served.serve(dataclasses.replace(small_grant, grant=second), timeout_s=60)
        with muster.Serving("net", state=tmp_path) as app:
            assert deployment_of(app) == "d2"
    finally:
        served.close("the test is over")


def test_app_and_child_serve_side_by_side(
    app: muster.Serving, serving: ServingProcess, sink: Any, listener: LocalListener
) -> None:
    sink.wait_for(lambda message: isinstance(message, LocalReady) and message.http_port > 0)
    assert sorted(peer.is_child for peer in listener.peers("net")) == [False, True]

"""A real agent: fetch, measure, serve, roll back and come back, over both links with mTLS."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import replace

import numpy as np
import pytest

from muster_protos.model import (
    BenchmarkPhase,
    BenchmarkRecord,
    BenchmarkRequest,
    DeploymentState,
    Event,
    LoadPhase,
    LoadRequest,
    LoadResult,
    RecordState,
    Scenario,
    Tier,
)

both_links = pytest.mark.parametrize("lab", ["grpc", "mqtt"], indirect=True)


def ask(port, rows):
    """One Open Inference Protocol request over HTTP."""
    body = {"inputs": [{"name": "x", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v2/models/net/infer", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        output = json.load(answer)["outputs"][0]
    return np.array(output["data"], np.float32).reshape(output["shape"])


@pytest.mark.slow
@both_links
def test_a_variant_is_fetched_measured_and_served(lab, agent, e2e):
    wide, narrow = lab.variant("wide", 64), lab.variant("narrow", 8, seed=2)
    request = BenchmarkRequest("b1", 0, e2e.configuration(wide), Tier.DEMO, Scenario.SINGLE_STREAM, (95.0,), 1, 120_000)
    agent.start()
    reported = lab.wait_converged(lab.want(lab.model(wide, narrow), benchmarks=(request,)), 120)
    assert reported.benchmarks[0].phase is BenchmarkPhase.FINISHED
    lab.wait(lambda: any(isinstance(report.body, BenchmarkRecord) for report in lab.reports.values()))
    (record,) = [report.body for report in lab.reports.values() if isinstance(report.body, BenchmarkRecord)]
    assert record.latency is not None, record.reasons
    assert record.accuracy is not None
    assert record.accuracy.value == 1.0
    assert (record.device.device_id, record.artifact.sha256) == ("pi", wide.artifact.sha256)

    reported = lab.wait_converged(lab.want(lab.model(wide, narrow, grant=e2e.grant("d1", wide, narrow))))
    lab.wait(lambda: lab.reported[-1].serving[0].state is DeploymentState.COMMITTED)  # it was activated first
    rows = np.random.default_rng(3).standard_normal((1, 64)).astype(np.float32)
    np.testing.assert_allclose(ask(reported.serving[0].http_port, rows), e2e.reference(64, 1, rows), atol=1e-4)
    assert agent.stop() == 0


@both_links
def test_a_bad_deployment_rolls_back_while_the_good_one_goes_on_serving(lab, agent, e2e):
    good = lab.variant("good", 16)
    bad = lab.variant("bad", 16, seed=5, golden_shift=0.5)
    agent.start()
    port = lab.wait_converged(lab.want(lab.model(good, grant=e2e.grant("d1", good)))).serving[0].http_port
    reported = lab.wait_settled(lab.want(lab.model(good, bad, grant=e2e.grant("d2", bad))))
    assert reported.serving[0].state is DeploymentState.ROLLED_BACK
    assert "self-test" in reported.serving[0].reason
    rows = np.ones((1, 64), np.float32)
    np.testing.assert_allclose(ask(port, rows), e2e.reference(16, 1, rows), atol=1e-4)
    lab.wait(
        lambda: any(isinstance(r.body, Event) and r.body.kind == "deployment.rolled_back" for r in lab.reports.values())
    )


@both_links
def test_killed_and_started_without_a_controller_it_serves_its_last_good_on_the_same_port(lab, agent, e2e):
    good = lab.variant("good", 16)
    agent.start()
    port = lab.wait_converged(lab.want(lab.model(good, grant=e2e.grant("d1", good)))).serving[0].http_port
    agent.kill()
    lab.shut()
    e2e.end_children(agent.state)  # a reboot: nothing survives
    agent.start()
    rows = np.ones((1, 64), np.float32)
    e2e.eventually(lambda: np.allclose(ask(port, rows), e2e.reference(16, 1, rows), atol=1e-4))


@pytest.mark.slow
@both_links
def test_results_made_offline_are_stored_exactly_once_when_the_link_is_back(lab, agent, e2e):
    wide = lab.variant("wide", 16)
    requests = tuple(
        BenchmarkRequest(f"b{number}", 0, e2e.configuration(wide), Tier.DEMO, Scenario.SINGLE_STREAM, (), 1, 120_000)
        for number in range(2)
    )
    lab.acknowledges = False
    agent.start()
    lab.wait_converged(lab.want(lab.model(wide), benchmarks=requests), 120)
    lab.shut()
    lab.acknowledges = True
    agent.kill()
    agent.start()
    lab.open()
    wanted = {"b0", "b1"}
    lab.wait(lambda: wanted <= {key[0] for key in lab.reports}, 60, "both records")
    records = [report for report in lab.reports.values() if isinstance(report.body, BenchmarkRecord)]
    assert sorted(report.request_id for report in records) == ["b0", "b1"]
    assert len({report.sequence for report in lab.reports.values()}) == len(lab.reports)


@both_links
def test_a_second_agent_on_the_same_folder_is_refused(lab, agent, e2e):
    agent.start()
    lab.wait_online()
    second = replace(agent, process=None)
    second.start()
    assert second.process.wait(30) == 1
    assert "another agent" in agent.log()


@both_links
def test_rotten_bytes_never_reach_a_runtime_and_come_again(lab, agent, e2e):
    good, spare = lab.variant("good", 16), lab.variant("spare", 8, seed=2)
    agent.start()
    wanted = lab.model(good, spare, grant=e2e.grant("d1", good, spare))
    version = lab.want(wanted)
    lab.wait_converged(version)
    agent.kill()
    e2e.end_children(agent.state)
    sha256 = good.artifact.sha256
    path = agent.state / "artifacts" / "sha256" / sha256[:2] / sha256
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    lab.reported.clear()
    agent.start()
    lab.wait_converged(version)
    assert path.read_bytes() == lab.artifacts[sha256]
    assert (agent.state / "quarantine" / sha256).exists()


@pytest.mark.parametrize(("lab", "budget_mib"), [("grpc", 52), ("mqtt", 36)], indirect=["lab"])
def test_an_idle_agent_with_a_cached_model_and_a_session_fits_into_its_budget(lab, agent, e2e, budget_mib):
    model = lab.variant("wide", 64, padding=12_000_000)
    agent.start(log_level="warning")
    lab.wait_converged(lab.want(lab.model(model)))
    e2e.eventually(lambda: lab.reported[-1].is_converged)
    resident_kib = e2e.status_kib(agent.pid, "VmRSS")
    assert resident_kib <= budget_mib * 1024, f"{resident_kib / 1024:.1f} MiB resident"


@pytest.mark.parametrize(("lab", "other"), [("grpc", "mqtt"), ("mqtt", "grpc")], indirect=["lab"])
def test_an_agent_changes_its_link_without_losing_anything(lab, other, agent, e2e, mosquitto):
    """Reports that the controller never acknowledged over one link arrive over the other, each once."""
    good, better = lab.variant("good", 16), lab.variant("better", 24, seed=3)
    lab.acknowledges = False
    agent.start()
    lab.wait_converged(lab.want(lab.model(good, grant=e2e.grant("d1", good))))
    agent.stop()
    assert lab.deliveries > 0
    lab.acknowledges = True
    lab.move(other)
    agent.url = lab.url
    agent.start()
    lab.wait_converged(lab.want(lab.model(good, better, grant=e2e.grant("d2", better))))
    e2e.eventually(
        lambda: "deployment.committed" in {r.body.kind for r in lab.reports.values() if isinstance(r.body, Event)}
    )
    sequences = sorted(report.sequence for report in lab.reports.values())
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


@pytest.mark.slow
@both_links
def test_an_emulated_device_says_so_in_its_inventory_and_records(lab, agent, e2e):
    wide = lab.variant("wide", 64)
    request = BenchmarkRequest("b1", 0, e2e.configuration(wide), Tier.DEMO, Scenario.SINGLE_STREAM, (), 1, 240_000)
    agent.start("--profile", "phone", "--no-cgroup")
    reported = lab.wait_converged(lab.want(lab.model(wide, grant=e2e.grant("d1", wide)), benchmarks=(request,)), 240)
    assert reported.serving[0].state is DeploymentState.COMMITTED
    lab.wait(lambda: any(isinstance(report.body, BenchmarkRecord) for report in lab.reports.values()))
    (record,) = [report.body for report in lab.reports.values() if isinstance(report.body, BenchmarkRecord)]
    assert record.emulation is not None
    assert record.emulation.profile == "phone"
    assert lab.inventories[-1].emulation == record.emulation
    assert lab.inventories[-1].device_class == "phone"
    assert {runtime.name for runtime in lab.inventories[-1].runtimes if runtime.providers} >= {"onnxruntime"}


@pytest.mark.slow
@both_links
def test_children_that_fail_hang_or_crash_are_reported_and_the_agent_lives(lab, agent, e2e):
    good, garbage = lab.variant("good", 16), lab.variant("garbage", 8)
    garbage = replace(garbage, artifact=lab.add(b"\x08\x07 not a model" * 50))

    def request(name, manifest, deadline_ms=60_000):
        return BenchmarkRequest(
            name, 0, e2e.configuration(manifest), Tier.DEMO, Scenario.SINGLE_STREAM, (), 1, deadline_ms
        )

    requests = (request("garbage", garbage), request("late", good, deadline_ms=200), request("fine", good))
    agent.start()
    lab.wait_converged(lab.want(lab.model(good, garbage), benchmarks=requests), 120)
    records = {report.request_id: report.body for report in lab.reports.values() if report.request_id != "events"}
    assert (records["garbage"].state, records["garbage"].latency) == (RecordState.INVALID, None)
    assert records["garbage"].reasons
    assert "did not end within" in " ".join(records["late"].reasons)
    assert records["fine"].latency is not None
    assert agent.process.poll() is None


@both_links
def test_a_killed_serving_process_comes_back_on_its_port_and_is_reported(lab, agent, e2e):
    good = lab.variant("good", 16)
    agent.start()
    port = lab.wait_converged(lab.want(lab.model(good, grant=e2e.grant("d1", good)))).serving[0].http_port
    e2e.end_children(agent.state)
    rows = np.ones((1, 64), np.float32)
    lab.wait(lambda: any(getattr(r.body, "kind", "") == "child.crashed" for r in lab.reports.values()))
    e2e.eventually(lambda: np.allclose(ask(port, rows), e2e.reference(16, 1, rows), atol=1e-4))
    (crash,) = [r.body for r in lab.reports.values() if getattr(r.body, "kind", "") == "child.crashed"]
    assert "SIGKILL" in crash.reason


@both_links
def test_a_load_is_put_on_the_served_model_and_its_result_reported(lab, agent, e2e):
    good = lab.variant("good", 16)
    agent.start()
    model = lab.model(good, grant=e2e.grant("d1", good))
    lab.wait_converged(lab.want(model))
    load = LoadRequest("l1", 0, "net", (LoadPhase(50.0, 2000),), seed=3)
    lab.wait_converged(lab.want(model, loads=(load,)))
    (result,) = [report.body for report in lab.reports.values() if isinstance(report.body, LoadResult)]
    assert result.answered > 50
    assert (result.failed, result.shed) == (0, 0)
    assert result.answered_by == {"net.v1.good": result.answered}

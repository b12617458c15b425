"""The whole loop on one machine: add, push, bench, select, roll out, infer, and see what happened."""

from __future__ import annotations

import json
import socket
import urllib.request
from pathlib import Path

import pytest

import muster
from muster.devices import Device
from muster_protos.errors import InfeasibleError

pytestmark = pytest.mark.slow

FEASIBLE = "constraints: {p95_ms: {max: 1000}, accuracy: {min: 0.9}}\nobjective: accuracy\n"
INFEASIBLE = "constraints: {p95_ms: {max: 0.000001}}\nobjective: accuracy\n"


def only_device(fleet: muster.Fleet) -> Device:
    (device,) = fleet.devices
    return device


@pytest.mark.parametrize("link", ["grpc", pytest.param("mqtt", marks=pytest.mark.faults)])
def test_the_loop_from_a_file_to_an_answer(link: str, controller_by, files: Path, tmp_path: Path) -> None:
    controller = controller_by
    policy, impossible = tmp_path / "policy.yaml", tmp_path / "impossible.yaml"
    policy.write_text(FEASIBLE)
    impossible.write_text(INFEASIBLE)

    added = controller.muster(
        "model", "add", str(files / "model.onnx"), "--name", "linear", "--data", str(files / "data.npz"), "-o", "json"
    )
    assert added.returncode == 0, added.stderr
    model = json.loads(added.stdout)
    assert (model["version"], model["is_labelled"]) == (1, True)
    assert model["variants"][0]["manifest"]["accuracy"]["value"] == pytest.approx(0.95, abs=0.05)

    compressed = controller.muster("compress", "linear", "--recipe", "quick", "-o", "json")
    assert compressed.returncode == 0, compressed.stderr
    assert {"fp32", "fp16"} <= {variant["manifest"]["name"] for variant in json.loads(compressed.stdout)}

    pushed = controller.muster("push", "linear", "-o", "json")
    assert pushed.returncode == 0, pushed.stderr
    assert {row["state"] for row in json.loads(pushed.stdout)} == {"verified"}

    benched = controller.muster("bench", "run", "linear", "--tier", "demo", "--threads", "1", "-o", "json")
    assert benched.returncode == 0, benched.stderr
    records = json.loads(benched.stdout)
    assert len(records) == len({record["configuration"]["variant_id"] for record in records}) >= 2
    assert all(record["latency"]["p50"] > 0 and record["accuracy"]["n"] > 0 for record in records)

    missed = controller.muster("select", "linear", "--policy", str(impossible))
    assert missed.returncode == 7
    assert "nearest miss" in missed.stderr
    assert "p95_ms" in missed.stderr

    selected = controller.muster("select", "linear", "--policy", str(policy), "--explain")
    assert selected.returncode == 0, selected.stderr
    assert "chosen" in selected.stdout

    rolled = controller.muster("rollout", "start", "linear", "-o", "json")
    assert rolled.returncode == 0, rolled.stderr
    assert json.loads(rolled.stdout)["rollout"]["state"] == "succeeded"

    with muster.connect(data=controller.data) as fleet:
        assert only_device(fleet).fields["link"] == link
        (serving,) = only_device(fleet).fields["reported"]["serving"]
        assert serving["state"] == "committed"
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [0.5] * 16}]}
        request = urllib.request.Request(
            f"http://127.0.0.1:{serving['http_port']}/v2/models/linear/infer",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            (output,) = json.loads(answer.read())["outputs"]
        assert (output["name"], output["shape"], len(output["data"])) == ("y", [1, 4], 4)

        kinds = [event.fields["kind"] for event in fleet.events()]
    for kind in ("device.joined", "model.added", "benchmark.finished", "decision.made", "rollout.succeeded"):
        assert kind in kinds
    assert kinds.index("decision.made") < kinds.index("rollout.succeeded")

    loaded = controller.muster("load", socket_name(controller), "--model", "linear", "--rate", "20", "--for", "2s")
    assert loaded.returncode == 0, loaded.stderr


def socket_name(controller) -> str:
    with muster.connect(data=controller.data) as fleet:
        return only_device(fleet).id


@pytest.mark.parametrize("link", [pytest.param("grpc", marks=pytest.mark.faults), "mqtt"])
def test_the_same_loop_from_python(link: str, controller_by, files: Path) -> None:
    controller = controller_by
    with muster.connect(data=controller.data) as fleet:
        model = fleet.models.register(files / "model.onnx", name="python", data=files / "data.npz")
        variants = model.compress(recipe="quick", floor={"accuracy": 0.5}).result()
        run = fleet.bench(variants, devices="all", tier="demo", threads=[1])
        streamed = [record.configuration for record in run.stream(timeout_s=170)]
        assert len(streamed) == len(set(streamed)) == len(variants)
        with pytest.raises(InfeasibleError, match="nearest miss"):
            fleet.select(model, slo=muster.SLO(p95_ms=1e-6)).rollout()
        plan = fleet.select(model, slo=muster.SLO(p95_ms=1000, peak_memory_mb=4000))
        assert "chosen" in plan.explain(only_device(fleet).id)
        view = plan.rollout(canary=1, waves=[0.25, 1.0]).wait(timeout_s=120)
        assert view.state == "succeeded"


def test_a_file_that_is_no_model_is_refused_in_one_line(controller, files: Path) -> None:
    refused = controller.muster("model", "add", str(files / "not-a-model.onnx"), "--name", "junk")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("muster: not-a-model.onnx: rejected: neither an ONNX nor")
    assert controller.muster("model", "show", "junk").returncode == 4


def test_a_second_controller_on_the_same_folder_or_port_says_so(controller, tmp_path: Path) -> None:
    second = controller.muster("up", "--no-device")
    assert (second.returncode, second.stderr.count("\n")) == (1, 1)
    assert "another controller runs" in second.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        other = controller.muster("up", "--no-device", "--data", str(tmp_path / "other"), "--port", port)
    assert other.returncode == 1
    assert f"port {port} is taken" in other.stderr
    assert "--port" in other.stderr

"""Every documented exit code, each with its one line."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

import muster as muster_api
from muster_controller.core.entities import RequestState
from muster_controller.service.bench import RunOrder
from muster_controller.testing_service import ServiceLab
from muster_protos.errors import MissingExtraError, UsageError
from muster_protos.model import RecordState


def one_line(text: str) -> str:
    """The only line that starts with the program's name."""
    (line,) = [line for line in text.splitlines() if line.startswith("muster: ")]
    assert "Traceback" not in text
    return line


def policy(folder: Path, p95_ms: float) -> str:
    path = folder / f"policy-{p95_ms}.yaml"
    path.write_text(f"constraints: {{p95_ms: {{max: {p95_ms}}}}}\nobjective: accuracy\n")
    return str(path)


def measure(lab: ServiceLab, p50_ms: dict[str, float]) -> None:
    """Every device has measured every kept variant of ``kws``."""
    lab.add_model()
    model = lab.service.models.get("kws")
    for device_id, latency_ms in p50_ms.items():
        session = lab.open_session(device_id)
        (device,) = lab.service.devices.resolve([device_id])
        run = lab.service.bench.start(model, lab.service.models.kept(model), [device], RunOrder(threads=(1,)))
        for number, entry in enumerate(lab.service.bench.requests(run.run_id)):
            lab.answer(session, entry, latency_ms, sequence=number + 1)


def test_0_when_it_worked(muster, lab: ServiceLab) -> None:
    lab.add_device("pi")
    said = muster("device", "ls")
    assert (said.code, said.err) == (0, "")
    assert "pi" in said.out


def test_1_when_it_failed(muster, lab: ServiceLab) -> None:
    bad = lab.folder / "bad.onnx"
    bad.write_bytes(b"bad bytes")
    said = muster("model", "add", str(bad), "--name", "junk")
    assert said.code == 1
    assert "expected an ONNX or TFLite file" in one_line(said.err)


@pytest.mark.parametrize(
    "arguments", [["device", "lss"], ["--no-such-option"], ["model", "add"], ["load", "pi", "--rate", "x"]]
)
def test_2_for_wrong_usage(muster, arguments: list[str]) -> None:
    said = muster(*arguments)
    assert said.code == 2
    assert "Usage" in said.err


def test_3_without_the_controller_s_extra() -> None:
    script = "import sys; sys.modules['typer'] = None; from muster_controller.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "pip install 'muster-edge[controller]'" in one_line(done.stderr)


def test_3_without_an_extra_that_long_work_turns_out_to_need(
    muster, lab: ServiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def import_model(*_: object) -> None:
        raise MissingExtraError("TFLite files need LiteRT: pip install 'muster-edge[litert]'")

    monkeypatch.setattr(lab.context.workshop, "import_model", import_model)
    model = lab.folder / "model.tflite"
    model.write_bytes(b"tflite")
    said = muster("model", "add", str(model), "--name", "kws")
    assert said.code == 3
    assert "pip install 'muster-edge[litert]'" in one_line(said.err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["device", "show", "kichen-pi"],
        ["model", "show", "nothing"],
        ["push", "nothing"],
        ["bench", "show", "run-0"],
        ["rollout", "status", "rollout-0"],
        ["rollout", "status"],
        ["token", "revoke", "token-0"],
        ["load", "kichen-pi", "--cpu", "50"],
        ["model", "add", "no-such-file.onnx", "--name", "x"],
        ["select", "nothing", "--policy", "no-such-policy.yaml"],
        ["config", "get", "urll"],
    ],
)
def test_4_for_what_is_not_there(muster, lab: ServiceLab, arguments: list[str]) -> None:
    lab.add_device("kitchen-pi")
    said = muster(*arguments)
    assert said.code == 4
    line = one_line(said.err)
    if "kichen-pi" in arguments:
        assert 'did you mean "kitchen-pi"' in line


def test_5_with_a_wrong_or_missing_token(muster, monkeypatch: pytest.MonkeyPatch) -> None:
    said = muster("--token", "wrong", "device", "ls")
    assert said.code == 5
    assert "admin token" in one_line(said.err)
    assert "wrong" not in said.err
    monkeypatch.delenv("MUSTER_TOKEN")
    assert muster("device", "ls").code == 5


def test_6_when_no_controller_answers(muster) -> None:
    said = muster("device", "ls", "--url", "http://127.0.0.1:9")
    assert said.code == 6
    line = one_line(said.err)
    assert all(word in line for word in ("muster up", "--url", "--data"))


def test_7_when_nothing_satisfies_the_policy_with_the_nearest_miss(muster, lab: ServiceLab) -> None:
    lab.add_device("slow")
    measure(lab, {"slow": 50.0})
    said = muster("select", "kws", "--policy", policy(lab.folder, 20))
    assert said.code == 7
    line = one_line(said.err)
    assert "nearest miss" in line
    assert "60 ms" in line
    assert "rollout start refuses this newest decision until you select again" in line
    assert "muster select kws --policy FILE" in one_line(muster("rollout", "start", "kws").err)
    assert muster("rollout", "start", "kws").code == 7


def test_a_dry_run_has_the_same_exit_codes_and_leaves_the_good_decision(muster, lab: ServiceLab) -> None:
    lab.add_device("pi")
    measure(lab, {"pi": 5.0})
    assert muster("select", "kws", "--policy", policy(lab.folder, 20)).code == 0
    tried = muster("select", "kws", "--policy", policy(lab.folder, 1), "--dry-run", "--explain")
    assert tried.code == 7
    assert "nothing was stored" in tried.err
    with muster_api.connect() as fleet:
        plan = fleet.select("kws", slo=muster_api.SLO(p95_ms=20), dry_run=True)
        with pytest.raises(UsageError, match="dry run"):
            plan.rollout()
    assert muster("rollout", "start", "kws", "--no-wait").code == 0


def test_8_when_a_part_of_the_devices_has_a_choice(muster, lab: ServiceLab) -> None:
    lab.add_device("fast")
    lab.add_device("slow")
    measure(lab, {"fast": 5.0, "slow": 50.0})
    said = muster("select", "kws", "--policy", policy(lab.folder, 20))
    assert said.code == 8
    assert "slow: nothing satisfies the policy" in said.err


def test_8_when_a_part_of_a_run_failed(muster, lab: ServiceLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.add_device("pi")
    lab.add_model()
    session = lab.open_session("pi")
    sequences = itertools.count(1)

    def answer_one(seconds: float) -> None:
        """While the command waits, the device answers: fp32 crashes at every attempt, fp16 is measured."""
        for entry in lab.store.list_requests(state=RequestState.OPEN):
            crashed = {"state": RecordState.INVALID, "latency": None, "reasons": ("killed by SIGSEGV",)}
            is_fp32 = entry.request.configuration.variant_id.endswith("fp32")
            lab.answer(session, entry, sequence=next(sequences), **(crashed if is_fp32 else {}))

    monkeypatch.setattr("muster.waiting.time.sleep", answer_one)
    said = muster("bench", "run", "kws", "--threads", "1", "-o", "json")
    assert said.code == 8
    assert "failed: kws.v1.fp32 on pi: killed by SIGSEGV" in said.err
    assert "valid" in {record["state"] for record in json.loads(said.out)}


def test_9_when_waiting_took_too_long(muster, lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_model()
    said = muster("push", "kws", "--timeout", "0.01")
    assert said.code == 9
    assert "it goes on" in one_line(said.err)


def test_130_when_interrupted_and_the_work_goes_on(muster, lab: ServiceLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.add_device("pi")
    lab.add_model()

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("muster.waiting.time.sleep", interrupt)
    said = muster("bench", "run", "kws", "--threads", "1")
    assert said.code == 130
    assert "goes on" in said.err
    (run,) = lab.service.bench.list().items
    assert run.run_id in said.err
    assert {entry.state.value for entry in lab.service.bench.requests(run.run_id)} == {"open"}

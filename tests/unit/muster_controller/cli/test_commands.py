"""Data on standard output in four forms, the rest on standard error; precedence of settings."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path

import pytest

from muster_controller.service.bench import RunOrder
from muster_controller.testing_service import ServiceLab
from muster_controller.testing_values import make_stored_report
from muster_protos.model import (
    AgentMessage,
    BenchmarkPhase,
    DeploymentState,
    Event,
    LoadResult,
    Report,
    ReportedBenchmark,
    ReportedServing,
    ReportedState,
)


def test_four_forms_carry_the_same_devices(muster, lab: ServiceLab) -> None:
    lab.add_device("a", {"room": "kitchen"})
    lab.add_device("b")
    as_json = json.loads(muster("device", "ls", "-o", "json").out)
    as_lines = [json.loads(line) for line in muster("device", "ls", "-o", "jsonl").out.splitlines()]
    as_csv = list(csv.DictReader(io.StringIO(muster("device", "ls", "-o", "csv").out)))
    table = muster("device", "ls").out.splitlines()
    assert as_json == as_lines
    assert [row["device_id"] for row in as_json] == [row["device"] for row in as_csv] == ["a", "b"]
    assert as_csv[0]["labels"] == "room=kitchen"
    assert [line.split()[0] for line in table] == ["DEVICE", "a", "b"]


def test_a_pipe_gets_no_colour_and_times_are_iso_8601_in_utc(muster, lab: ServiceLab) -> None:
    lab.add_device("a")
    lab.open_session("a")
    said = muster("device", "show", "a")
    assert "\x1b" not in said.out + said.err
    assert "2023-11-14T22:13:20Z" in said.out


def test_names_are_shown_letter_by_letter(muster, lab: ServiceLab) -> None:
    lab.add_device("a")
    name = "[bold]pi[/bold] :fire: https://x"
    assert muster("device", "rename", "a", name).code == 0
    assert name in muster("device", "ls").out
    assert name in muster("device", "show", "a").out


def test_rejected_reports_are_listed_with_their_reasons(muster, lab: ServiceLab) -> None:
    assert "no report was rejected" in muster("events", "--rejected").err
    lab.add_device("pi-1")
    for sequence in (1, 2, 3):
        report = make_stored_report(Event("e", "x.y"), sequence=sequence, rejected_reason=f"\x1b[2J lie {sequence}")
        lab.store.store_reports([report])
    said = muster("events", "--rejected", "--device", "pi-1")
    assert "lie 1" in said.out
    assert "\x1b" not in said.out
    found = json.loads(muster("events", "--rejected", "--limit", "2", "-o", "json").out)
    assert [(report["sequence"], report["what"]) for report in found] == [(2, "Event"), (3, "Event")]


def test_nothing_that_a_device_wrote_steers_the_terminal(muster, lab: ServiceLab) -> None:
    lab.service.events.record("device.odd", reason="\x1b]0;owned\x07 \x1b[2J gone\r\u202e")
    for arguments in (("events",), ("events", "--kind", "device.odd")):
        said = muster(*arguments)
        assert "owned" in said.out
        assert not set("\x1b\x07\r\u202e") & set(said.out)
    (event,) = json.loads(muster("events", "--kind", "device.odd", "-o", "json").out)
    assert event["reason"].startswith("\x1b]0;")  # programs get it as it is, escaped as JSON does


def test_an_empty_list_teaches_the_next_step_on_standard_error(muster) -> None:
    said = muster("device", "ls")
    assert (said.code, said.out) == (0, "")
    assert "muster token new" in said.err
    assert muster("device", "ls", "-o", "json").out == "[]\n"


def test_a_token_is_one_line_to_paste(muster, lab: ServiceLab) -> None:
    said = muster("token", "new", "--for", "30m", "--uses", "3")
    assert said.code == 0
    assert said.out.startswith("muster-agent join 'https://")
    assert said.out.count("\n") == 1
    (listed,) = json.loads(muster("token", "ls", "-o", "json").out)
    assert (listed["expires_at_ns"] - listed["created_at_ns"]) / 1e9 == 1800
    assert muster("token", "revoke", listed["token_id"]).code == 0


def test_devices_are_tagged_renamed_and_removed(muster, lab: ServiceLab) -> None:
    lab.add_device("a", {"old": "1"})
    assert muster("device", "tag", "a", "room=kitchen", "old-").code == 0
    assert muster("device", "rename", "a", "Kitchen").code == 0
    shown = json.loads(muster("device", "show", "Kitchen", "-o", "json").out)
    assert (shown["device_id"], shown["labels"]) == ("a", {"room": "kitchen"})
    assert muster("device", "rm", "a", "--yes").code == 0
    assert muster("device", "show", "a").code == 4


def test_a_model_is_added_shown_exported_and_removed(muster, lab: ServiceLab) -> None:
    source = lab.folder / "net.onnx"
    source.write_bytes(b"onnx bytes")
    assert muster("model", "add", str(source), "--name", "net").code == 0
    assert muster("compress", "net").code == 8  # int8 is under the floor
    shown = json.loads(muster("model", "show", "net", "-o", "json").out)
    assert [v["manifest"]["name"] for v in shown["variants"]] == ["fp32", "fp16", "int8"]  # the baseline first
    said = muster("model", "export", "net.v1.fp32", "--to", str(lab.folder / "copy.onnx"))
    assert said.code == 0
    assert (lab.folder / "copy.onnx").read_bytes() == b"onnx bytes"
    assert muster("model", "rm", "net", "--yes").code == 0
    assert muster("model", "show", "net").code == 4


def test_compress_prints_what_was_dropped_and_what_could_not_be_made(muster, lab: ServiceLab) -> None:
    lab.add_model()
    (lab.folder / "recipe.yaml").write_text("passes: [prune]\n")
    said = muster("compress", "kws", "--recipe", str(lab.folder / "recipe.yaml"))
    assert said.code == 8
    assert "1 not made (pruned), 1 dropped for the floor (int8); 2 variants are kept" in said.err
    (dropped,) = [line for line in said.out.splitlines() if line.startswith("dropped: int8")]
    assert "9 B" in dropped
    assert dropped.endswith("under the floor")
    assert "not made: pruned: no layer to prune" in said.err
    assert "note: calibrated on what judges" in said.err
    as_json = muster("compress", "kws", "--recipe", str(lab.folder / "recipe.yaml"), "-o", "json")
    assert {row["dropped_reason"] for row in json.loads(as_json.out)} == {"", "under the floor"}
    assert "dropped: int8" in as_json.err


def test_compress_judges_what_is_there_already_and_marks_what_it_did_not_judge(muster, lab: ServiceLab) -> None:
    lab.add_model()
    (lab.folder / "mine.onnx").write_bytes(b"mine")
    added = muster("model", "add", str(lab.folder / "mine.onnx"), "--variant-of", "kws", "--name", "mine")
    assert added.code == 0
    said = muster("compress", "kws", "--floor", "0.999")
    assert said.code == 8
    assert "2 dropped for the floor (fp16, int8); 2 variants are kept" in said.err
    lines = {line.split()[1]: line for line in said.out.splitlines()}
    assert lines["mine"].endswith("(not part of this run)")
    assert lines["fp16"].startswith("dropped: ")
    assert lines["fp16"].endswith("under 0.999")
    again = muster("compress", "kws")  # the newest verdict counts
    assert any("fp16" in line and line.endswith("✓") for line in again.out.splitlines())


def test_what_an_import_noticed_is_shown(muster, lab: ServiceLab) -> None:
    source = lab.folder / "net.onnx"
    source.write_bytes(b"onnx bytes")
    said = muster("model", "add", str(source), "--name", "net", "--data", "builtin:digits")
    assert said.code == 0
    assert "note: the labels are class numbers" in said.err
    assert said.out.startswith("net:1 ")


def test_a_ready_made_variant_that_disagrees_is_taken_with_force_only(muster, lab: ServiceLab) -> None:
    lab.add_model()
    source = lab.folder / "other.onnx"
    source.write_bytes(b"stranger")
    add = ("model", "add", str(source), "--name", "mine")
    refused = muster(*add, "--variant-of", "kws")
    assert refused.code == 1
    assert "at least 50%" in refused.err
    assert muster(*add, "--variant-of", "kws", "--force").code == 0
    assert muster(*add, "--force").code == 2


def test_settings_come_from_flag_environment_project_and_user_in_this_order(
    muster, lab: ServiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def origin(key: str) -> tuple[str, str]:
        rows = json.loads(muster("config", "show", "--origin", "-o", "json").out)
        (row,) = [row for row in rows if row["key"] == key]
        return row["value"], row["origin"]

    assert origin("timeout_s") == ("30", "default")
    assert muster("config", "set", "timeout_s", "11").code == 0
    path = muster("config", "path").out.strip()
    assert origin("timeout_s") == ("11", path)
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    Path("muster.yaml").write_text("timeout_s: 12\n")
    assert origin("timeout_s") == ("12", "./muster.yaml")
    monkeypatch.setenv("MUSTER_TIMEOUT_S", "13")
    assert origin("timeout_s") == ("13", "environment")
    assert muster("--url", "http://127.0.0.1:9", "config", "get", "url").out.strip() == "http://127.0.0.1:9"


def test_a_secret_is_never_printed(muster) -> None:
    assert muster("config", "get", "token").out.strip() == "(hidden)"
    assert "secret-admin-token" not in muster("config", "show", "--origin").out


@pytest.mark.parametrize("text", ["[1, 2]", "ur: x", "{", "url: [http"])
def test_a_broken_configuration_file_is_named(muster, text: str) -> None:
    Path("muster.yaml").write_text(text)
    said = muster("config", "show")
    assert said.code == 2
    assert "muster.yaml" in said.err


def test_a_load_shows_its_progress_and_each_move_while_it_runs(
    muster, lab: ServiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.add_device("pi")
    lab.add_model()
    session = lab.open_session("pi")
    scenes = iter(("starts", "moves", "ends"))

    def play(seconds: float) -> None:
        """While the command waits, the device starts the load, falls back and reports."""
        (load,) = lab.service.loads.list("pi")
        match next(scenes):
            case "starts":
                running = ReportedBenchmark(load.load_id, 1, BenchmarkPhase.RUNNING)
                body: object = ReportedState(device_id="pi", loads=(running,))
            case "moves":
                move = {"from_variant_id": "kws.v1.fp32", "to_variant_id": "kws.v1.fp16", "direction": "down"}
                event = Event("e1", "rung.changed", lab.clock.now_ns(), "kws", reason="3 requests wait", **move)
                body = Report("e1", 1, 1, event)
            case _:
                body = Report(load.load_id, 1, 2, LoadResult(load.load_id, 1, "kws", offered=100, answered=100))
        lab.service.sessions.messages_received(session, [AgentMessage(body)])

    monkeypatch.setattr("muster.waiting.time.sleep", play)
    monkeypatch.setattr("muster_controller.cli.progress._QUIET_S", 0.0)
    said = muster("load", "pi", "--model", "kws", "--rate", "50", "--for", "20s", "-o", "json")
    assert said.code == 0
    assert json.loads(said.out)["offered"] == 100
    lines = said.err.splitlines()
    assert any("pi is about to start" in line for line in lines)
    assert any(" of 20 s" in line for line in lines)
    (move,) = [line for line in lines if "rung.changed" in line]
    assert "kws.v1.fp32 -> kws.v1.fp16  down" in move
    assert "(3 requests wait)" in move
    assert "load.finished" in muster("events").out


def test_rolling_back_the_first_rollout_asks_and_says_what_it_leaves(
    muster, lab: ServiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.add_device("pi")
    lab.add_model()
    session = lab.open_session("pi")
    model = lab.service.models.get("kws")
    devices = lab.service.devices.every()
    run = lab.service.bench.start(model, lab.service.models.kept(model), devices, RunOrder(threads=(1,)))
    for number, entry in enumerate(lab.service.bench.requests(run.run_id)):
        lab.answer(session, entry, sequence=number + 1)
    (lab.folder / "policy.yaml").write_text("constraints: {p95_ms: {max: 40}}\n")
    start = ("rollout", "start", "kws", "--policy", "policy.yaml", "--no-wait")
    assert muster(*start).code == 0
    refused = muster("rollout", "rollback")
    assert refused.code == 2
    assert "is the first of kws on pi: rolled back, nothing is served there" in refused.err
    assert "muster rollout start kws" in refused.err
    assert json.loads(muster("rollout", "status", "-o", "json").out)["rollout"]["state"] == "running"
    assert "wave 1 of 1" in muster("rollout", "status").out
    (row,) = csv.DictReader(io.StringIO(muster("rollout", "history", "-o", "csv").out))
    assert row["wave"] == "1"
    (deployment,) = lab.store.list_deployments(device_id="pi")
    kept = ReportedServing("kws", deployment.deployment_id, DeploymentState.COMMITTED)
    lab.service.rollouts.follow_reported("pi", ReportedState(device_id="pi", serving=(kept,)))
    lab.clock.advance(1)
    assert muster(*start).code == 0  # a second one: there is something to go back to
    second = muster("rollout", "rollback")
    assert (second.code, "nothing" in second.out) == (0, False)
    (first,) = [r for r in json.loads(muster("rollout", "history", "-o", "json").out) if r["state"] == "succeeded"]
    done = muster("rollout", "rollback", first["rollout_id"], "--yes")
    assert done.code == 0
    assert "nothing of kws is served any more on pi" in done.out


def test_events_say_what_happened(muster, lab: ServiceLab) -> None:
    lab.service.events.record("test.happened", reason="because")
    (event,) = json.loads(muster("events", "--kind", "test.happened", "-o", "json").out)
    assert event["reason"] == "because"
    assert "because" in muster("events").out


def test_status_sums_the_fleet_up(muster, lab: ServiceLab) -> None:
    lab.add_device("a")
    lab.open_session("a")
    status = json.loads(muster("status", "-o", "json").out)
    assert (status["devices"], status["online"], status["name"]) == (1, 1, "lab")


def test_status_as_csv_is_the_table_of_devices(muster, lab: ServiceLab) -> None:
    lab.add_device("a")
    lab.add_device("b")
    rows = list(csv.DictReader(io.StringIO(muster("status", "-o", "csv").out)))
    assert [(row["fleet"], row["device"], row["state"]) for row in rows] == [
        ("lab", "a", "never"),
        ("lab", "b", "never"),
    ]


def test_a_checked_model_is_described_for_people_unless_asked_otherwise(
    muster, lab: ServiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensor = {"name": "x", "dtype": "float32", "shape": [1, 4]}
    verdict = {
        "verdict": "accepted",
        "format": "onnx",
        "reason": "",
        "inputs": [tensor],
        "outputs": [],
        "precision": "fp32",
    }
    monkeypatch.setattr("muster_controller.cli.model.check_file", lambda path: verdict)
    said = muster("model", "check", "net.onnx")
    assert (said.code, said.out.splitlines()[0].split()) == (0, ["verdict", "accepted"])
    assert "inputs     x float32 [1, 4]" in said.out
    assert json.loads(muster("model", "check", "net.onnx", "-o", "json").out) == verdict
    monkeypatch.setattr("muster_controller.cli.model.check_file", lambda path: {**verdict, "verdict": "rejected"})
    assert muster("model", "check", "net.onnx").code == 1


def test_doctor_finds_what_is_wrong_with_a_fix(muster) -> None:
    said = muster("--url", "http://127.0.0.1:9", "doctor", "-o", "json")
    assert said.code == 1
    (check,) = [check for check in json.loads(said.out) if check["check"] == "controller"]
    assert (check["is_ok"], check["fix"]) == (False, "muster up")


def test_an_unknown_form_or_a_bad_label_is_refused(muster) -> None:
    assert muster("device", "ls", "-o", "xml").code == 2
    assert muster("device", "ls", "-l", "kitchen").code == 2

"""Bytes that an earlier version wrote are read as it meant them; ``scripts/record_wire.py`` recorded them."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.json"))


@pytest.fixture(scope="module")
def record_wire():
    spec = importlib.util.spec_from_file_location("record_wire", ROOT / "scripts" / "record_wire.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=RECORDED, ids=lambda path: path.stem)
def recording(request):
    return json.loads(request.param.read_text())


def test_every_version_that_is_lived_with_is_recorded():
    lines = (ROOT / "tests" / "e2e" / "packaging" / "previous_versions.txt").read_text().splitlines()
    newest = next(line.split()[0] for line in lines if line and not line.startswith("#"))
    assert [path.stem for path in RECORDED if newest.startswith(path.stem)] != []


def test_todays_codec_reads_what_was_recorded(record_wire, recording):
    assert record_wire.differences(recording) == []


def test_the_recording_has_every_message_body_and_enum_value(recording):
    entries = recording["entries"]
    assert len({entry["message"] for entry in entries}) > 70
    bodies = {entry["value"]["body"] and entry["value"]["body"]["is"] for entry in entries if "body" in entry["value"]}
    assert {"Hello", "Report", "Telemetry", "Desired", "Goodbye", "AgentMessage", None} <= bodies
    for message, field, values in (
        ("ReportedServing", "state", {"PENDING", "COMMITTED", "ROLLED_BACK", "UNSPECIFIED"}),
        ("BenchmarkRecord", "state", {"VALID", "TAGGED_NOISY", "THROTTLED", "INVALID", "UNSPECIFIED"}),
        ("VariantManifest", "format", {"ONNX", "TFLITE", "UNSPECIFIED"}),
    ):
        found = {entry["value"][field] for entry in entries if entry["message"] == message}
        assert values <= found, message


def test_todays_own_recording_reads_as_it_was_meant(record_wire):
    assert record_wire.differences(record_wire.record()) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda entry: entry["value"].update(device_id="another"),
        lambda entry: entry["value"].update(ram_bytes=None),
        lambda entry: entry["value"].update(isolation="RLIMIT" if entry["value"]["isolation"] != "RLIMIT" else "NONE"),
        lambda entry: entry["value"].update(a_field_that_was_there=1),
        lambda entry: entry["value"].pop("device_id"),
        lambda entry: entry.update(message="Vanished"),
        lambda entry: entry.update(bytes=entry["bytes"][:-2]),
    ],
)
def test_a_difference_is_found(record_wire, recording, spoil):
    entry = copy.deepcopy(next(entry for entry in recording["entries"] if entry["message"] == "Inventory"))
    spoil(entry)
    assert record_wire.differences(recording | {"entries": [entry]}) != []

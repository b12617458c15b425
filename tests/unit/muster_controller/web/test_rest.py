"""REST: shapes, errors, paging, sizes and who may ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from muster_controller.adapters.identity_x509.authenticator import StoreAuthenticator
from muster_controller.testing_service import ServiceLab
from muster_controller.testing_values import make_stored_report
from muster_controller.web.access import MAX_JSON_BYTES
from muster_controller.web.app import create_app
from muster_protos.model import Event

TOKEN = "secret-admin-token"
POLICY = "constraints: {p95_ms: {max: 40}}\nobjective: accuracy\n"


@pytest.fixture
def rest(lab: ServiceLab) -> Iterator[TestClient]:
    fleet = lab.store.fleet()
    assert fleet is not None
    app = create_app(lab.service, StoreAuthenticator(lab.store, fleet.fleet_id, TOKEN))
    with TestClient(app, raise_server_exceptions=False, headers={"Authorization": f"Bearer {TOKEN}"}) as opened:
        yield opened


def error_of(answer: Any) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["kind"], error["message"]


def test_health_needs_no_token_and_asks_the_store(rest: TestClient) -> None:
    answer = rest.get("/healthz", headers={"Authorization": ""})
    assert (answer.status_code, answer.json()["status"], answer.json()["fleet"]) == (200, "ok", "lab")


@pytest.mark.parametrize("header", ["", "Bearer wrong", "Bearer ", "Basic abc"])
def test_everything_else_needs_the_admin_s_token(rest: TestClient, header: str) -> None:
    for path in ("/v1/devices", "/v1/fleet", "/v1/events", "/v1/openapi-like"):
        answer = rest.get(path, headers={"Authorization": header})
        if path == "/v1/openapi-like":
            assert answer.status_code == 404
        else:
            assert error_of(answer)[:2] == (401, "not_authorised")


def test_lists_are_paged(rest: TestClient, lab: ServiceLab) -> None:
    for number in range(5):
        lab.add_device(f"d{number}", {"even": str(number % 2 == 0)})
    found, cursor = [], ""
    while True:
        page = rest.get("/v1/devices", params={"limit": 2, "cursor": cursor}).json()
        found += [item["device_id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert found == ["d0", "d1", "d2", "d3", "d4"]
    filtered = rest.get("/v1/devices", params={"label": "even=False"}).json()["items"]
    assert [item["device_id"] for item in filtered] == ["d1", "d3"]


def test_reports_are_paged_and_told_apart_by_whether_they_were_believed(rest: TestClient, lab: ServiceLab) -> None:
    lab.add_device("pi-1")
    lab.add_device("pi-2")
    for sequence, reason in enumerate(("", "a lie", "", "another lie", "a third"), start=1):
        lab.store.store_reports([make_stored_report(Event("e", "x.y"), sequence=sequence, rejected_reason=reason)])
    lab.store.store_reports([replace(make_stored_report(Event("e", "x.y"), device_id="pi-2"), payload=b"\xff")])
    first = rest.get("/v1/reports", params={"rejected": True, "limit": 2}).json()
    assert [(item["sequence"], item["rejected_reason"]) for item in first["items"]] == [
        (2, "a lie"),
        (4, "another lie"),
    ]
    rest_of_it = rest.get("/v1/reports", params={"rejected": True, "cursor": first["next_cursor"]}).json()
    assert [(item["device_id"], item["sequence"]) for item in rest_of_it["items"]] == [("pi-1", 5), ("pi-2", 1)]
    assert rest_of_it["next_cursor"] == ""
    assert len(rest.get("/v1/reports").json()["items"]) == 6
    believed = rest.get("/v1/reports", params={"rejected": False}).json()["items"]
    assert [(item["sequence"], item["what"]) for item in believed] == [(1, "Event"), (3, "Event")]
    (odd,) = rest.get("/v1/reports", params={"device": "pi-2"}).json()["items"]
    assert (odd["what"], odd["payload_bytes"]) == ("", 1)
    assert error_of(rest.get("/v1/reports", params={"device": "pi-3"}))[:2] == (404, "not_found")
    assert error_of(rest.get("/v1/reports", params={"rejected": "perhaps"}))[:2] == (400, "invalid_input")
    assert error_of(rest.get("/v1/reports", params={"cursor": "x"}))[:2] == (400, "invalid_input")


def test_errors_have_one_shape(rest: TestClient, lab: ServiceLab) -> None:
    lab.add_device("kitchen-pi")
    assert error_of(rest.get("/v1/devices/kitchn-pi"))[:2] == (404, "not_found")
    assert '"kitchen-pi"' in error_of(rest.get("/v1/devices/kitchn-pi"))[2]
    assert error_of(rest.get("/v1/nothing"))[:2] == (404, "not_found")
    assert error_of(rest.get("/v1/devices", params={"limit": 0}))[:2] == (400, "invalid_input")
    assert error_of(rest.get("/v1/devices", params={"label": "no-equals-sign"}))[:2] == (400, "invalid_input")
    assert error_of(rest.post("/v1/tokens", json={"uses": 1, "typo": 2}))[:2] == (400, "invalid_input")
    assert error_of(rest.post("/v1/tokens", content=b"{not json"))[:2] == (400, "invalid_input")
    assert error_of(rest.post("/v1/rollouts/nope/pause"))[:2] == (404, "not_found")


def test_an_unexpected_failure_is_one_line_without_internals(
    rest: TestClient, lab: ServiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(lab.store, "list_devices", broken)
    assert error_of(rest.get("/v1/devices")) == (
        500,
        "failed",
        "unexpected RuntimeError; the controller's log has the trace",
    )


def test_a_body_above_the_limit_is_refused(rest: TestClient) -> None:
    answer = rest.post("/v1/decisions", content=b'{"model": "' + b"x" * MAX_JSON_BYTES + b'"}')
    assert error_of(answer)[:2] == (413, "invalid_input")


def test_an_upload_may_be_larger_than_a_body_and_becomes_a_model(rest: TestClient, lab: ServiceLab) -> None:
    content = b"onnx" * MAX_JSON_BYTES
    received = rest.post("/v1/uploads", content=content).json()
    assert received["size_bytes"] == len(content)
    operation = rest.post("/v1/models", json={"name": "big", "source_upload": received["upload_id"]})
    assert operation.status_code == 202
    lab.service.operations.wait_idle()
    assert rest.get(f"/v1/operations/{operation.json()['operation_id']}").json()["state"] == "succeeded"
    (variant,) = rest.get("/v1/models/big/variants").json()["items"]
    artifact = rest.get(f"/v1/variants/{variant['manifest']['variant_id']}/artifact")
    assert artifact.content == content
    part = rest.get(f"/v1/variants/{variant['manifest']['variant_id']}/artifact", headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, content[2:6])


def test_a_token_shows_its_secret_once(rest: TestClient) -> None:
    made = rest.post("/v1/tokens", json={"uses": 2, "note": "kitchen"}).json()
    assert made["secret"] in made["link"]
    (listed,) = rest.get("/v1/tokens").json()["items"]
    assert (listed["uses_left"], listed["secret_sha256"]) == (2, "")
    assert rest.delete(f"/v1/tokens/{made['token']['token_id']}").status_code == 204
    assert error_of(rest.delete("/v1/tokens/token-none"))[:2] == (404, "not_found")


def test_from_push_to_rollout(rest: TestClient, lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_model()
    session = lab.open_session("pi")
    pushed = rest.post("/v1/pushes", json={"model": "kws", "devices": ["pi"]})
    assert (pushed.status_code, {row["state"] for row in pushed.json()["items"]}) == (202, {"waiting"})
    run = rest.post("/v1/benchmarks", json={"model": "kws", "tier": "demo", "threads": [1]}).json()
    for number, entry in enumerate(lab.service.bench.requests(run["run"]["run_id"])):
        lab.answer(session, entry, sequence=number + 1)
    records = rest.get("/v1/records", params={"run": run["run"]["run_id"]}).json()["items"]
    assert {record["state"] for record in records} == {"valid"}
    assert rest.get(f"/v1/records/{records[0]['record_id']}").json() == records[0]
    (decision,) = rest.post("/v1/decisions", json={"model": "kws", "policy_yaml": POLICY}).json()["items"]
    assert decision["chosen"]["variant_id"].startswith("kws.v1.")
    rollout = rest.post("/v1/rollouts", json={"model": "kws", "canary": 1}).json()
    assert rollout["rollout"]["state"] == "running"
    assert [item["device_id"] for item in rollout["deployments"]] == ["pi"]
    assert rest.post(f"/v1/rollouts/{rollout['rollout']['rollout_id']}/abort").json()["rollout"]["state"] == "aborted"
    assert rest.get("/v1/policies").json()["items"][0]["policy_yaml"] == POLICY


def test_a_dry_run_decides_and_stores_nothing(rest: TestClient, lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_model()
    session = lab.open_session("pi")
    run = rest.post("/v1/benchmarks", json={"model": "kws", "tier": "demo", "threads": [1]}).json()
    for number, entry in enumerate(lab.service.bench.requests(run["run"]["run_id"])):
        lab.answer(session, entry, sequence=number + 1)
    order = {"model": "kws", "policy_yaml": POLICY}
    (good,) = rest.post("/v1/decisions", json=order).json()["items"]
    events = len(rest.get("/v1/events").json()["items"])
    tried = rest.post("/v1/decisions", json={"model": "kws", "policy_yaml": POLICY.replace("40", "1"), "dry_run": True})
    assert tried.status_code == 200
    (decision,) = tried.json()["items"]
    assert (decision["decision_id"], decision["chosen"]) == ("", None)
    assert decision["candidates"]
    assert [item["decision_id"] for item in rest.get("/v1/decisions").json()["items"]] == [good["decision_id"]]
    assert rest.get("/v1/policies").json()["items"][0]["policy_yaml"] == POLICY
    assert len(rest.get("/v1/events").json()["items"]) == events
    refused = rest.post("/v1/decisions", json={**order, "policy_yaml": "constraint: {}", "dry_run": True})
    assert error_of(refused)[:2] == (400, "invalid_input")


def test_a_policy_for_unlabelled_data_is_refused_with_the_reason(rest: TestClient, lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_model(is_labelled=False)
    answer = error_of(rest.post("/v1/decisions", json={"model": "kws", "policy_yaml": POLICY}))
    assert answer[:2] == (400, "invalid_input")
    assert "no labelled data" in answer[2]
    typo = error_of(rest.post("/v1/decisions", json={"model": "kws", "policy_yaml": "constraint: {}"}))
    assert "did you mean 'constraints'" in typo[2]


def test_events_are_listed_from_both_ends(rest: TestClient, lab: ServiceLab) -> None:
    for number in range(5):
        lab.service.events.record("test.happened", reason=str(number))
    events = rest.get("/v1/events", params={"kind": "test.happened", "limit": 2}).json()
    assert [event["reason"] for event in events["items"]] == ["0", "1"]
    after = rest.get("/v1/events", params={"kind": "test.happened", "cursor": events["next_cursor"]}).json()
    assert [event["reason"] for event in after["items"]] == ["2", "3", "4"]
    newest = rest.get("/v1/events", params={"kind": "test.happened", "newest": True, "limit": 2}).json()
    assert [event["reason"] for event in newest["items"]] == ["3", "4"]


def test_a_load_is_asked_of_a_device(rest: TestClient, lab: ServiceLab) -> None:
    lab.add_device("pi")
    body = {"device": "pi", "cpu_ratio": 0.9, "phases": [{"duration_ms": 1000}]}
    load = rest.post("/v1/loads", json=body).json()
    assert rest.get(f"/v1/loads/{load['load_id']}").json()["state"] == "open"
    assert [item["load_id"] for item in rest.get("/v1/loads", params={"device": "pi"}).json()["items"]] == [
        load["load_id"]
    ]
    assert error_of(rest.post("/v1/loads", json={**body, "cpu_ratio": 7}))[:2] == (400, "invalid_input")


@pytest.mark.parametrize("path", ["/docs", "/docs/oauth2-redirect", "/redoc"])
def test_no_page_is_served_that_loads_scripts_from_elsewhere(rest: TestClient, path: str) -> None:
    assert rest.get(path).status_code == 404


def test_the_openapi_document_types_the_answers(rest: TestClient) -> None:
    document = rest.get("/v1/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert {"Device", "BenchmarkRecord", "Decision", "Rollout", "ErrorReply"} <= set(schemas)
    schema = document["paths"]["/v1/devices/{device}"]["get"]["responses"]["200"]["content"]["application/json"]
    assert schema["schema"]["$ref"].endswith("/Device")

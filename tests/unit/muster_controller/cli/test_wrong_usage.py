"""Wrong invocations of ``muster``, each with the code that docs/exit-codes.md gives it and one line that helps."""

from __future__ import annotations

import pytest

from muster_controller.testing_service import ServiceLab

POLICIES = {
    "unknown-key.yaml": "constraint: {p95_ms: {max: 40}}\n",
    "unknown-metric.yaml": "constraints: {p95: {max: 40}}\n",
    "no-yaml.yaml": "constraints: {p95_ms: {max: 40\n",
    "no-bound.yaml": "constraints: {p95_ms: {}}\n",
    "good.yaml": "constraints: {p95_ms: {max: 40}}\n",
}

USAGE = [
    ("load", "pi", "--cpu", "50", "--for", "banana"),
    ("load", "pi", "--cpu", "50", "--for", "0s"),
    ("load", "pi", "--cpu", "50", "--for", "25h"),
    ("load", "pi", "--cpu", "150"),
    ("load", "pi", "--cpu", "nan"),
    ("load", "pi", "--cpu", "lots"),
    ("load", "pi", "--cpu", "50", "--seed", "-1"),
    ("load", "pi"),
    ("load", "pi", "--model", "kws"),
    ("load", "pi", "--model", "kws", "--rate", "-5"),
    ("load", "pi", "--model", "kws", "--rate", "1e9"),
    ("load",),
    ("token", "new", "--for", "forever"),
    ("token", "new", "--for", "400d"),
    ("token", "new", "--uses", "0"),
    ("token", "new", "--uses", "many"),
    ("device", "ls", "-l", "kitchen"),
    ("device", "ls", "-o", "xml"),
    ("device", "tag", "pi", "room"),
    ("device", "tag", "pi", "bad key=1"),
    ("device", "tag", "pi"),
    ("device", "rename", "pi", ""),
    ("device", "rm", "pi"),
    ("model", "rm", "kws"),
    ("model", "add", "kws.onnx"),
    ("model", "add", "kws.onnx", "--name", "two words"),
    ("model", "add", "kws.onnx", "--name", "mine", "--force"),
    ("model", "show", "kws:0"),
    ("model", "show", "kws:new"),
    ("model", "sho", "kws"),
    ("compress", "kws", "--floor", "banana"),
    ("compress", "kws", "--floor", "1.5"),
    ("compress", "kws:x"),
    ("compress",),
    ("push", "kws", "-l", "kitchen"),
    ("push", "kws", "--timeout", "soon"),
    ("bench", "run", "kws", "--tier", "quickly"),
    ("bench", "run", "kws", "--threads", "0"),
    ("bench", "run", "kws", "--threads", "two"),
    ("bench", "run", "kws", "--policy", "unknown-key.yaml"),
    ("bench", "run", "kws", "--policy", "."),
    ("bench", "run", "kws", "--seed", "-1"),
    ("bench", "ls", "--limit", "x"),
    ("select", "kws"),
    ("select", "kws", "--p95-ms", "20", "--policy", "good.yaml"),
    ("select", "kws", "--p95-ms", "fast"),
    ("select", "kws", "--p95-ms", "-1"),
    ("select", "kws", "--policy", "unknown-key.yaml"),
    ("select", "kws", "--policy", "unknown-metric.yaml"),
    ("select", "kws", "--policy", "no-yaml.yaml"),
    ("select", "kws", "--policy", "no-bound.yaml"),
    ("select", "kws", "--policy", "."),
    ("rollout", "start", "kws", "--policy", "unknown-key.yaml"),
    ("rollout", "start", "kws", "--policy", "good.yaml", "--deadline", "soon"),
    ("rollout", "start", "kws", "--policy", "good.yaml", "--deadline", "1s"),
    ("rollout", "start", "kws", "--policy", "good.yaml", "--error-threshold", "2"),
    ("rollout", "start", "kws", "--policy", "good.yaml", "--canary", "-1"),
    ("rollout", "start", "kws", "--canary-label", "kitchen"),
    ("rollout", "begin", "kws"),
    ("events", "--limit", "0"),
    ("events", "--limit", "x"),
    ("events", "--rejected", "--follow"),
    ("events", "--rejected", "--kind", "rung.changed"),
    ("events", "--rejected", "--limit", "0"),
    ("config", "set", "output", "xml"),
    ("config", "set", "timeout_s", "banana"),
    ("config", "set", "timeout_s"),
    ("--url", "banana", "device", "ls"),
    ("up", "--port", "banana"),
    ("up", "--port", "70000"),
    ("up", "--host", "0.0.0.0", "--no-device"),
    ("up", "--name", "two words", "--no-device"),
    ("up", "--mqtt", "banana", "--no-device"),
    ("up", "--mqtt", "mqtts://", "--no-device"),
    ("up", "--mqtt-ca", "ca.pem", "--no-device"),
    ("up", "--mqtt", "mqtts://127.0.0.1:1", "--mqtt-cert", "a.pem", "--no-device"),
    ("up", "--mqtt-port", "70000", "--no-device"),
    ("up", "--grace", "soon", "--no-device"),
    ("up", "--certificate-life", "soon", "--no-device"),
    ("up", "--certificate-life", "1s", "--no-device"),
    ("key", "rotate"),
    ("key", "rotate", "--overlap", "soon", "--yes"),
    ("key", "turn"),
    ("join", "nonsense"),
    ("join", "mqtts://127.0.0.1/lab#MST1.short"),
    ("join", "https://127.0.0.1:1#MST1.short"),
    ("join",),
    ("dance",),
    ("--dance",),
]

NOT_FOUND = [
    ("compress", "kws", "--recipe", "nosuch"),
    ("compress", "kws", "--recipe", "nosuch.yaml"),
    ("compress", "nothing"),
    ("model", "check", "nothing.onnx"),
    ("model", "export", "kws.v1.nothing"),
    ("model", "add", "nothing.py:make", "--name", "x"),
    ("model", "add", "kws.onnx", "--name", "x", "--data", "nothing.npz"),
    ("model", "add", "kws.onnx", "--name", "x", "--data", "builtin:nothing"),
    ("model", "add", "kws.onnx", "--name", "x", "--variant-of", "nothing"),
    ("push", "kws", "-d", "nothing"),
    ("push", "kws", "--variant", "nothing"),
    ("bench", "run", "kws", "-d", "nothing"),
    ("bench", "run", "kws", "--policy", "nothing.yaml"),
    ("bench", "cancel", "run-0"),
    ("select", "kws", "-d", "nothing", "--policy", "good.yaml"),
    ("rollout", "rollback"),
    ("rollout", "rollback", "rollout-0"),
    ("rollout", "start", "kws"),
    ("events", "--device", "nothing"),
    ("events", "--rejected", "--device", "nothing"),
    ("config", "set", "urll", "x"),
    ("leave", "--state", "nothing"),
]


@pytest.fixture(autouse=True)
def fleet(lab: ServiceLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.add_device("pi")
    lab.add_model()
    (lab.folder / "kws.onnx").write_bytes(b"onnx")
    for name, text in POLICIES.items():
        (lab.folder / name).write_text(text)
    monkeypatch.setenv("XDG_STATE_HOME", str(lab.folder / "state"))


def test_what_was_typed_wrong_ends_with_2_and_leaves_nothing(muster, lab: ServiceLab) -> None:
    before = {path.name for path in lab.folder.iterdir()}
    assert _others(muster, USAGE, 2) == []
    assert {path.name for path in lab.folder.iterdir()} == before


def test_what_is_not_there_ends_with_4(muster) -> None:
    assert _others(muster, NOT_FOUND, 4) == []


def _others(muster, table: list[tuple[str, ...]], code: int) -> list[str]:
    """The rows that end otherwise than with ``code``, something to read on standard error and nothing else."""
    wrong = []
    for arguments in table:
        said = muster(*arguments)
        if (said.code, said.out) != (code, "") or not said.err.strip() or "Traceback" in said.err:
            wrong.append(f"muster {' '.join(arguments)}: {said}")
    return wrong


def test_an_empty_or_broken_model_file_is_a_failure_not_wrong_usage(muster, lab: ServiceLab) -> None:
    for name, content in (("empty.onnx", b""), ("bad.onnx", b"bad")):
        (lab.folder / name).write_bytes(content)
        said = muster("model", "add", name, "--name", "x")
        assert said.code == 1, said


def test_a_bad_setting_of_the_environment_is_wrong_usage(muster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MUSTER_OUTPUT", "xml"), ("MUSTER_TIMEOUT_S", "soon"), ("MUSTER_URL", "banana")):
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            assert muster("device", "ls").code == 2

"""The command line: one-line errors, exit codes, what it prints and what it leaves behind."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys

import pytest

from muster_agent.cli import main
from muster_agent.cli.state_folder import StateFolder, state_folder
from muster_agent.identity_folder import Identity, IdentityFolder
from muster_agent.join import make_request
from muster_protos.errors import ConflictError
from muster_protos.model import SigningKey


@pytest.fixture(autouse=True)
def quiet_logging():
    """The command line sets the process's logging up; the tests' process gets its own back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def joined(tmp_path):
    """A state folder with an identity that no controller knows."""
    folder = IdentityFolder(tmp_path / "identity")
    folder.create()
    folder.key_path.write_bytes(b"key")
    folder.write(Identity("lab", "pi", b"cert", b"ca", (SigningKey("k", b"p"),), ("grpcs://127.0.0.1:1",)))
    return tmp_path


def test_running_without_a_join_says_what_to_do(tmp_path, capsys):
    assert main.run_command(["run", "--state", str(tmp_path)]) == 5
    error = capsys.readouterr().err
    assert "muster-agent join" in error
    assert error.count("\n") == 1


def test_debug_shows_the_trace(tmp_path, capsys):
    main.run_command(["run", "--state", str(tmp_path), "--debug"])
    assert "Traceback" in capsys.readouterr().err


def test_a_wrong_join_line_leaves_no_trace(tmp_path, capsys):
    state = tmp_path / "state"
    assert main.run_command(["join", "http://nowhere", "--state", str(state)]) == 2
    assert "expected a join link" in capsys.readouterr().err
    assert not state.exists()


FINGERPRINT = "ab" * 32


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["--dance"],
        ["join"],
        ["join", "nonsense"],
        ["join", "http://127.0.0.1:8472#MST1.x.y"],
        ["join", f"https://127.0.0.1:1#MST1.short.{FINGERPRINT}"],
        ["join", f"https://no such host#MST1.{'s' * 24}.{FINGERPRINT}"],
        ["join", f"https://höst#MST1.{'s' * 24}.{FINGERPRINT}"],
        ["join", f"https://127.0.0.1:99999#MST1.{'s' * 24}.{FINGERPRINT}"],
        ["join", f"https://127.0.0.1:1#MST1.{'s' * 24}.{FINGERPRINT}", "--id", "two words"],
        ["run", "--profile", "toaster"],
        ["run", "--profile", "generic"],
        ["run", "--label", "nonsense"],
        ["run", "--log-level", "loud"],
        ["run", "now"],
        ["probe", "-o", "xml"],
        ["doctor", "-o", "csv"],
        ["install"],
        ["leave", "--yes", "please"],
    ],
)
def test_what_was_typed_wrong_exits_with_two_and_leaves_no_trace(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MUSTER_STATE", str(tmp_path / "state"))
    try:
        code = main.run_command(arguments)
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert said.err
    assert not (tmp_path / "state").exists()


def test_an_unexpected_error_is_one_line_too(tmp_path, monkeypatch, capsys):
    def broken(_):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("muster_agent.cli.leave.do", broken)
    assert main.run_command(["leave"]) == 1
    said = "muster-agent: unexpected RuntimeError: first line second line (--debug shows the trace)\n"
    assert capsys.readouterr().err == said
    assert main.run_command(["leave", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_version_is_said(capsys):
    with pytest.raises(SystemExit) as caught:
        main.run_command(["--version"])
    assert caught.value.code == 0
    assert re.fullmatch(r"muster-agent \S+\n", capsys.readouterr().out)


def test_an_unknown_link_or_profile_is_refused(joined, capsys):
    assert main.run_command(["run", "--state", str(joined), "--link", "carrier-pigeon://x"]) == 2
    assert "grpcs://" in capsys.readouterr().err
    assert main.run_command(["run", "--state", str(joined), "--label", "nonsense"]) == 2
    assert "KEY=VALUE" in capsys.readouterr().err


@pytest.mark.parametrize("profile", ["toaster", "generic"])
def test_only_profiles_that_can_be_emulated_are_offered(joined, capsys, profile):
    assert main.run_command(["run", "--state", str(joined), "--profile", profile]) == 2
    assert f"among phone, pi, jetson, found '{profile}'" in capsys.readouterr().err


def test_the_help_tells_inventory_labels_from_those_that_select(capsys):
    with pytest.raises(SystemExit):
        main.run_command(["run", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "a label of the inventory" in words
    assert "`muster ... -l` selects by are set with `muster device tag`" in words


def test_leave_forgets_everything_and_names_the_other_half(joined, capsys):
    for name in ("artifacts", "partial"):
        (joined / name).mkdir()
    (joined / "agent.sqlite3").write_bytes(b"")
    assert main.run_command(["leave", "--state", str(joined), "--yes"]) == 0
    assert "muster device rm pi" in capsys.readouterr().out
    assert [path.name for path in joined.iterdir()] == ["agent.lock"]
    assert main.run_command(["leave", "--state", str(joined), "--yes"]) == 4


def test_leave_asks_only_where_somebody_can_answer(joined, capsys):
    assert main.run_command(["leave", "--state", str(joined)]) == 2
    assert "--yes" in capsys.readouterr().err
    assert IdentityFolder(joined / "identity").read() is not None


def test_two_agents_never_share_a_state_folder(tmp_path):
    folder = StateFolder(tmp_path)
    with folder.locked(), pytest.raises(ConflictError, match="another agent"), StateFolder(tmp_path).locked():
        pass
    with folder.locked():
        pass


def test_the_state_folder_comes_from_flag_then_environment_then_platform(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert state_folder(None).root == tmp_path / "xdg" / "muster-agent"
    monkeypatch.setenv("MUSTER_STATE", str(tmp_path / "env"))
    assert state_folder(None).root == tmp_path / "env"
    assert state_folder(tmp_path / "flag").root == tmp_path / "flag"


def test_the_unit_restarts_the_agent_and_quotes_its_folder(tmp_path, capsys):
    assert main.run_command(["install", "--systemd", "--state", str(tmp_path / "a b%c")]) == 0
    unit = capsys.readouterr().out
    assert "Restart=always" in unit
    assert re.search(r'ExecStart=\S+ -m muster_agent run --state ".*a b%%c"', unit)


def test_the_unit_is_written_where_a_user_has_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main.run_command(["install", "--systemd", "--write"]) == 0
    assert (tmp_path / "systemd" / "user" / "muster-agent.service").exists()
    assert "systemctl --user" in capsys.readouterr().out


@pytest.mark.slow
def test_doctor_names_every_check_with_a_fix(tmp_path, capsys):
    code = main.run_command(["doctor", "--state", str(tmp_path / "none"), "-o", "json"])
    findings = json.loads(capsys.readouterr().out)
    by_check = {finding["check"]: finding for finding in findings}
    assert code == 1
    assert by_check["identity"]["verdict"] == "failed"
    permissions = by_check["permissions"]
    assert (permissions["verdict"], permissions["found"].startswith("there is no identity")) == ("unknown", True)
    assert permissions["found"].endswith("muster-agent join LINK")
    assert {"state folder", "permissions", "agent", "disk", "clock", "sensor power"} <= set(by_check)
    assert by_check["runtime onnxruntime"]["verdict"] == "ok"
    assert all(finding["fix"] for finding in findings if finding["verdict"] in ("failed", "warning"))


@pytest.mark.slow
def test_doctor_finds_open_permissions_and_an_unreachable_controller(tmp_path, capsys):
    folder = IdentityFolder(tmp_path / "identity")
    folder.create()
    make_request(folder.key_path)
    certificate = _self_signed(folder.key_path.read_bytes())
    folder.write(Identity("lab", "pi", certificate, certificate, (SigningKey("k", b"p"),), ("grpcs://127.0.0.1:9",)))
    folder.key_path.chmod(0o644)
    main.run_command(["doctor", "--state", str(tmp_path), "-o", "json"])
    by_check = {finding["check"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert by_check["permissions"]["verdict"] == "warning"
    assert "chmod" in by_check["permissions"]["fix"]
    assert by_check["controller grpcs://127.0.0.1:9"]["verdict"] == "failed"
    assert by_check["clock"]["verdict"] == "ok"


@pytest.mark.slow
def test_probe_prints_json_for_machines(tmp_path):
    found = subprocess.run(
        [sys.executable, "-m", "muster_agent", "probe", "-o", "json", "--state", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    inventory = json.loads(found.stdout)
    assert inventory["cores"] >= 1
    assert {runtime["name"] for runtime in inventory["runtimes"]} == {"onnxruntime", "litert"}
    assert found.stderr == ""


def test_logs_carry_utc_times_and_levels(capsys):
    main.run_command(["leave", "--state", "/nonexistent", "--log-level", "info"])
    logging.getLogger("muster_agent.x").info("hello")
    assert re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info x: hello$", capsys.readouterr().err, re.MULTILINE)


def _self_signed(key_pem):
    from datetime import datetime, timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    key = serialization.load_pem_private_key(key_pem, None)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pi")])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(90))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

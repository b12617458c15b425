"""The secret may come on standard input, because arguments show in process lists."""

from __future__ import annotations

import io
import time

import pytest

from muster_agent.cli.join import _with_secret
from muster_agent.cli.main import run_command
from muster_agent.cli.waiting import Waiting
from muster_protos.errors import InvalidInputError

FINGERPRINT = "ab" * 32


@pytest.mark.parametrize("token", [f"MST1.{FINGERPRINT}", f"MST1.-.{FINGERPRINT}"])
def test_the_secret_is_put_into_its_place(token):
    assert _with_secret(f"https://h:8472#{token}", "s3cret") == f"https://h:8472#MST1.s3cret.{FINGERPRINT}"


@pytest.mark.parametrize(
    ("link", "secret"), [("https://h:8472", "s"), (f"https://h#MST1.{FINGERPRINT}", ""), ("", "s")]
)
def test_half_a_link_is_refused(link, secret):
    with pytest.raises(InvalidInputError, match="standard input"):
        _with_secret(link, secret)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_each_step_of_a_join_is_said_before_it_begins(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("muster_agent.cli.join.DeviceInventory", lambda *_, **__: lambda: None)
    assert run_command(["join", f"https://127.0.0.1:1#MST1.{'s' * 24}.{FINGERPRINT}", "--state", str(tmp_path)]) == 6
    *steps, error = terminal.getvalue().splitlines()
    assert steps == ["looking at this device and its runtimes ...", "asking 127.0.0.1:1 for the fleet's CA ..."]
    assert error.startswith("muster-agent: ")


def test_elsewhere_only_a_step_that_takes_long_is_said(capsys):
    with Waiting(patience_s=0.05) as waiting:
        waiting("quick")
        waiting("slow")
        deadline_s = time.monotonic() + 10
        said = ""
        while not said and time.monotonic() < deadline_s:
            time.sleep(0.01)
            said = capsys.readouterr().err
        waiting("over before its time")
    time.sleep(0.1)
    assert (said, capsys.readouterr().err) == ("slow ...\n", "")

"""A controller that cannot start says why and leaves nothing behind."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from muster_controller.cli.app import run
from muster_controller.cli.ports import Listener, check_ports
from muster_protos.errors import PermanentError


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield int(holder.getsockname()[1])


@pytest.mark.parametrize("flag", ["--port", "--grpc-port", "--join-port"])
def test_a_taken_port_leaves_no_data_folder_behind(
    tmp_path: Path, taken_port: int, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [name for name in ("--port", "--grpc-port", "--join-port") if name != flag]
    free = [word for name in others for word in (name, "0")]
    data = tmp_path / "new" / "data"
    assert run(["up", "--no-device", "--data", str(data), flag, str(taken_port), *free]) == 1
    said = capsys.readouterr().err
    assert f"port {taken_port} is taken" in said
    assert flag in said
    assert list(tmp_path.iterdir()) == []


def test_a_broker_that_cannot_be_had_leaves_no_data_folder_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    up = ["up", "--no-device", "--data", str(tmp_path / "data"), "--port", "0", "--grpc-port", "0", "--join-port", "0"]
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("muster_controller.adapters.broker_mosquitto.broker._ELSEWHERE", ())
    assert run([*up, "--mqtt"]) == 3
    assert "expected mosquitto" in capsys.readouterr().err
    assert run([*up, "--mqtt", "mqtts://127.0.0.1:1", "--mqtt-ca", str(tmp_path / "ca.pem")]) == 4
    assert "--mqtt-ca" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_two_listeners_may_not_share_a_port(taken_port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        free = int(holder.getsockname()[1])
    twice = [Listener("REST", "--port", "127.0.0.1", free), Listener("gRPC", "--grpc-port", "127.0.0.1", free)]
    with pytest.raises(PermanentError, match=r"gRPC: .* is taken"):
        check_ports(twice)
    check_ports(twice[:1])  # and nothing is held afterwards
    check_ports([Listener("REST", "--port", "127.0.0.1", 0), Listener("gRPC", "--grpc-port", "127.0.0.1", 0)])

"""muster up"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from muster_controller.cli.durations import parse_duration_s
from muster_controller.cli.options import data_folder

_MQTT = "--mqtt"


class _UpCommand(TyperCommand):
    """``--mqtt`` alone means a broker of our own; Typer knows no option whose value may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spell_out(args))


def register(app: typer.Typer) -> None:
    app.command("up", cls=_UpCommand)(up)


def spell_out(arguments: list[str]) -> list[str]:
    """``--mqtt`` that no value follows becomes ``--mqtt own``."""
    spelled: list[str] = []
    for argument, following in pairwise([*arguments, "-"]):
        spelled.append(argument)
        if argument == _MQTT and following.startswith("-"):
            spelled.append("own")
    return spelled


def up(
    data: Annotated[Path | None, typer.Option(help="Data folder. [MUSTER_DATA]")] = None,
    port: Annotated[int, typer.Option(help="REST, plain HTTP on loopback; 0 = any free one.", min=0, max=65535)] = 8470,
    grpc_port: Annotated[int, typer.Option(help="gRPC link, mutual TLS.", min=0, max=65535)] = 8471,
    join_port: Annotated[int, typer.Option(help="Where devices join, TLS.", min=0, max=65535)] = 8472,
    host: Annotated[str, typer.Option(help="Address for REST; beyond loopback it is served with TLS only.")] = "",
    lan: Annotated[bool, typer.Option("--lan", help="Let devices of the local network join; REST with TLS.")] = False,
    name: Annotated[str, typer.Option(help="The fleet's name, at the first start.")] = "lab",
    certificate_life: Annotated[
        str, typer.Option(help="How long a device's certificate is good; it renews at two thirds: 12h, 7d.")
    ] = "7d",
    grace: Annotated[
        str, typer.Option(help="How long after its end a device that was away may still renew it; then it joins again.")
    ] = "90d",
    device: Annotated[bool, typer.Option("--device/--no-device", help="Also run an agent for this machine.")] = True,
    mqtt: Annotated[
        str,
        typer.Option(
            _MQTT,
            metavar="[mqtts://HOST:8883]",
            help="Also serve devices over MQTT: alone, by a mosquitto that is started here; else by that broker.",
        ),
    ] = "",
    mqtt_port: Annotated[int, typer.Option(help="Of the broker that --mqtt starts.", min=0, max=65535)] = 8883,
    mqtt_ca: Annotated[Path | None, typer.Option(help="CA of a broker that exists; default: the fleet's.")] = None,
    mqtt_cert: Annotated[Path | None, typer.Option(help="The controller's certificate there.")] = None,
    mqtt_key: Annotated[Path | None, typer.Option(help="The key of --mqtt-cert.")] = None,
) -> None:
    """Start the controller, make the fleet at the first start, and print the next lines to paste."""
    from muster_controller.cli.broker import MqttOptions
    from muster_controller.cli.controller import UpOptions, run_controller

    options = UpOptions(
        data=data_folder() if data is None else data.expanduser(),
        rest_port=port,
        grpc_port=grpc_port,
        join_port=join_port,
        rest_host=host or "127.0.0.1",
        is_lan=lan,
        fleet_name=name,
        has_device=device,
        certificate_life_s=parse_duration_s(certificate_life),
        grace_s=parse_duration_s(grace),
        mqtt=MqttOptions(mqtt, mqtt_port, mqtt_ca, mqtt_cert, mqtt_key),
    )
    raise typer.Exit(run_controller(options))

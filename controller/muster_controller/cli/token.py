"""muster token new | ls | revoke"""

from __future__ import annotations

from typing import Annotated

import typer

from muster_controller.cli.durations import parse_duration_s
from muster_controller.cli.options import Output, chosen, fleet
from muster_controller.cli.output import Format, emit, emit_one, err, out
from muster_protos.errors import NotFoundError

app = typer.Typer(help="Secrets that let devices join.", no_args_is_help=True)

COLUMNS = {
    "TOKEN": "token_id",
    "USES LEFT": "uses_left",
    "EXPIRES": "expires_at_ns",
    "REVOKED": "is_revoked",
    "NOTE": "note",
}


@app.command("new")
def new(
    lifetime: Annotated[str, typer.Option("--for", help="How long it is good: 30m, 24h, 7d.")] = "24h",
    uses: Annotated[int, typer.Option(help="How many devices may use it.")] = 1,
    note: Annotated[str, typer.Option(help="A few words for you.")] = "",
    mqtt: Annotated[bool, typer.Option("--mqtt", help="For a device that reaches only the broker.")] = False,
    output: Output = None,
) -> None:
    """Make a join secret and print the line to paste on a device."""
    with fleet() as found:
        if mqtt and not found.status()["broker"]:
            raise NotFoundError("expected a controller with a broker, found MQTT off: start it with muster up --mqtt")
        made = found.new_token(parse_duration_s(lifetime), uses, note)
    if chosen(output) is not Format.TABLE:
        emit_one(made, chosen(output), {"TOKEN": "token.token_id", "LINK": "link", "BROKER LINK": "broker_link"})
        return
    link = made["broker_link" if mqtt else "link"]
    out().print(f"muster-agent join '{link}'", soft_wrap=True, markup=False)
    err().print(
        f"{made['token']['token_id']}: good for {uses} device(s) and {lifetime}; the secret is shown this once",
        style="dim",
    )


@app.command("ls")
def ls(output: Output = None) -> None:
    """List join secrets (never the secrets themselves)."""
    with fleet() as found:
        emit(found.tokens(), chosen(output), COLUMNS, "no join secret yet: muster token new")


@app.command("revoke")
def revoke(token: Annotated[str, typer.Argument(help="A token id of: muster token ls")]) -> None:
    """Make a join secret worthless."""
    with fleet() as found:
        found.revoke_token(token)
    err().print(f"{token} is revoked")

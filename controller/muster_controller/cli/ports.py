"""Are the ports of `muster up` free? Asked before anything is made: a start that fails leaves nothing behind."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from muster_protos.errors import PermanentError


@dataclass(frozen=True, slots=True)
class Listener:
    """One port that will be listened on; port 0 = any free one."""

    what: str
    flag: str
    host: str
    port: int


def check_ports(listeners: Sequence[Listener]) -> None:
    """Take all of them for a moment, together: two of them with the same number are found, too.

    Raises:
        PermanentError: one is taken, or its address is not ours; the line names the flag that chooses another.
    """
    with ExitStack() as stack:
        for listener in listeners:
            if listener.port:
                _take(stack, listener)


def listen(listener: Listener) -> socket.socket:
    """Listen there; whoever knocks before somebody serves waits. Raises as ``check_ports``."""
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((listener.host, listener.port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise _taken(listener, error) from None
    listening.setblocking(False)
    return listening


def taken(what: str, flag: str, why: str) -> PermanentError:
    """The one line about a port that cannot be listened on."""
    return PermanentError(f"{what}: {why} (choose another port with {flag}, 0 = any free one)")


def _take(stack: ExitStack, listener: Listener) -> None:
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    probe = stack.enter_context(socket.socket(family))
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((listener.host, listener.port))
        probe.listen(1)  # with SO_REUSEADDR only a second listener is refused, not a second bind
    except OSError as error:
        raise _taken(listener, error) from None


def _taken(listener: Listener, error: OSError) -> PermanentError:
    is_taken = error.errno == errno.EADDRINUSE
    why = f"port {listener.port} is taken" if is_taken else error.strerror
    where = f"{listener.host}:{listener.port}"
    return taken(listener.what, listener.flag, f"expected to listen on {where}, found: {why}")

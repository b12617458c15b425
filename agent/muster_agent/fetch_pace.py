"""How much of an artifact to ask for at once where the answer is a stream. Pure: times come in.

What was asked for is under way, and whatever else the controller says waits behind it: pings too, whose answer decides
whether the peer is alive. On a slow network a stream of the whole artifact fills every buffer on the way, minutes deep.
So a fetch begins with little, asks for more while that comes quickly, and for the whole rest once the network is fast.
"""

from __future__ import annotations

_FIRST_BYTES = 32 * 1024  # 4 s at 64 kbit/s
_LEAST_BYTES = 16 * 1024
_REST_BYTES = 2 * 1024 * 1024  # a network that brings this quickly needs no portions
_QUICK_S = 0.5
_AIM_S = 4.0  # what a portion may take; far below every keepalive
_QUICKLY = 4
_AT_MOST = 2.0


class FetchPace:
    """The portions of one fetch."""

    def __init__(self) -> None:
        self.portion_bytes = _FIRST_BYTES  # to ask for next; 0 = everything to the end

    def took(self, seconds: float) -> None:
        """The last portion has come, whole, in this time."""
        if not self.portion_bytes:
            return
        if seconds < _QUICK_S:
            self.portion_bytes *= _QUICKLY
            if self.portion_bytes > _REST_BYTES:
                self.portion_bytes = 0
        else:
            wanted = int(self.portion_bytes * min(_AT_MOST, _AIM_S / seconds))
            self.portion_bytes = max(_LEAST_BYTES, min(wanted, _REST_BYTES))

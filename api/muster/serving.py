"""A model inside an app: loaded here, granted and watched by the agent, falling back by itself."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from muster_protos.errors import InvalidInputError, MusterError, NotFoundError, TemporaryError, UnreachableError
from muster_protos.ids import check_id

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from muster_agent.serving.engine import Answer

    Tensors = NDArray[Any] | Mapping[str, NDArray[Any]]

_DEFAULT_READY_S = 60.0


class Serving:
    """``with muster.Serving("kws") as serving: y = serving(x)``, on a device where ``muster-agent run`` runs.

    The ladder comes from the agent: this app moves between its rungs by the same rule as the serving child, reports
    every move, takes new grants without a pause, and serves on while the agent is restarted.
    """

    def __init__(
        self, model: str, *, state: Path | str | None = None, ready_timeout_s: float = _DEFAULT_READY_S
    ) -> None:
        """Prepare; nothing is loaded before ``start`` or ``with``.

        Args:
            model: the model's id.
            state: the agent's state folder; default MUSTER_AGENT_STATE, then the platform's,
                then that of the agent which `muster up` runs.
            ready_timeout_s: how long ``start`` waits for the ladder to be loaded and self-tested.
        """
        self.model = check_id(model, "model id")
        self._socket = _state_folder(state) / "serving.sock"
        self._ready_timeout_s = ready_timeout_s
        self._keeper: Any = None

    def start(self) -> Serving:
        """Connect to the agent, load and self-test the ladder.

        Raises:
            UnreachableError: no agent runs here.
            NotFoundError: the model is not rolled out to this device.
            TemporaryError: it is, but it was not ready in time; the message says why.
            MissingExtraError: no runtime is installed.
        """
        from muster_agent.serving.keeper import Keeper, NoPorts

        if not self._socket.exists():
            raise UnreachableError(
                f"expected an agent's socket at {self._socket}, found none; start `muster-agent run`, or set "
                "MUSTER_AGENT_STATE to its state folder"
            )
        self._keeper = Keeper(self._socket, self.model, NoPorts(), on_end=_note_end, is_child=False)
        self._keeper.start()
        try:
            self._wait_until_ready()
        except MusterError:
            self.close()
            raise
        return self

    def __enter__(self) -> Serving:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, inputs: Tensors) -> Tensors:
        """Infer on the rung that the guard chooses; safe to call from several threads.

        Args:
            inputs: the model's canonical input, or a mapping by name when it has several.

        Returns:
            the canonical output, or a mapping by name when there are several.

        Raises:
            InvalidInputError: not the model's signature.
            TemporaryError: shed, it could not have been answered in time; or the model was withdrawn.
        """
        answer = self._ask(inputs)
        outputs = answer.outputs
        return next(iter(outputs.values())) if len(outputs) == 1 else dict(outputs)

    @property
    def active_variant(self) -> str:
        """The variant on the active rung."""
        return str(self._running().engine.snapshot()[0])

    def close(self) -> None:
        """Answer what is queued and free the model; safe to call twice."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()

    def _ask(self, inputs: Tensors) -> Answer:
        from muster_agent.serving.feeds import feeds_of

        engine = self._running().engine
        feeds = feeds_of(engine.ladder.grant.signature, inputs)
        arrival_ns = time.monotonic_ns()
        done = threading.Event()
        results: list[Answer | MusterError] = []

        def settle(result: Answer | MusterError) -> None:
            results.append(result)
            done.set()

        engine.submit(feeds, arrival_ns, settle)
        done.wait()
        result = results[0]
        if isinstance(result, MusterError):
            raise result
        engine.delivered(result, arrival_ns, time.monotonic_ns())
        return result

    def _running(self) -> Any:
        if self._keeper is None:
            raise InvalidInputError("expected a started Serving; use `with muster.Serving(...)` or call start()")
        if self._keeper.end_reason:
            raise TemporaryError(f"{self.model} is no longer served: {self._keeper.end_reason}")
        return self._keeper

    def _wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + self._ready_timeout_s
        while not self._keeper.ready.wait(0.05):
            if self._keeper.end_reason:
                kind = NotFoundError if self._socket.exists() else UnreachableError
                raise kind(f"{self.model}: {self._keeper.end_reason}")
            if self._keeper.failure:
                raise TemporaryError(f"{self.model} cannot be served: {self._keeper.failure}")
            if time.monotonic() > deadline_s:
                raise TemporaryError(
                    f"expected {self.model} to be ready within {self._ready_timeout_s:.0f} s, it is not"
                )


def _note_end(reason: str) -> None:
    """An app lives on when its model is withdrawn: the next call says so, the next grant heals it."""
    logging.getLogger(__name__).warning("nothing is served: %s", reason)


def _state_folder(state: Path | str | None) -> Path:
    """Given, else MUSTER_AGENT_STATE or MUSTER_STATE, else the first of the usual places where an agent listens."""
    chosen = state or os.environ.get("MUSTER_AGENT_STATE") or os.environ.get("MUSTER_STATE")
    if chosen:
        return Path(chosen).expanduser()
    joined = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "muster-agent"
    data = os.environ.get("MUSTER_DATA") or os.environ.get("XDG_DATA_HOME", "~/.local/share") + "/muster"
    beside_controller = Path(data).expanduser() / "agent"  # the agent that `muster up` runs on its own machine
    places = (joined, beside_controller)
    return next((place for place in places if (place / "serving.sock").exists()), joined)

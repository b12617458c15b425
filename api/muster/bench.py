"""Benchmark runs on devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from muster.connection import Connection
from muster.view import View
from muster.waiting import wait_for


class Record(View):
    """One configuration, measured on one device; absent figures are None, never 0."""

    @property
    def device_id(self) -> str:
        return str(self.fields["device"]["device_id"])

    @property
    def configuration(self) -> str:
        """``<variant>@<runtime>/<provider>/t<threads>``."""
        return configuration_text(self.fields["configuration"])

    @property
    def state(self) -> str:
        return str(self.fields["state"])

    @property
    def is_emulated(self) -> bool:
        return self.fields["emulation"] is not None

    @property
    def p50_ms(self) -> float | None:
        return self._latency_ms("p50")

    @property
    def p95_ms(self) -> float | None:
        return self._latency_ms("p95")

    @property
    def peak_memory_mib(self) -> float | None:
        """Above the bare runtime process where that was measured, as policies count it; else of the whole process."""
        memory = self.fields["memory"] or {}
        peak = memory.get("peak_hwm") if memory.get("peak_net") is None else memory["peak_net"]
        return None if peak is None else peak / 2**20

    @property
    def accuracy(self) -> float | None:
        value: float | None = (self.fields["accuracy"] or {}).get("value")
        return value

    def _latency_ms(self, name: str) -> float | None:
        value = (self.fields["latency"] or {}).get(name)
        return None if value is None else value / 1e6


def configuration_text(fields: Mapping[str, Any]) -> str:
    """``<variant>@<runtime>/<provider>/t<threads>``; the variant alone when it has never been run."""
    if not fields["runtime"]:
        return str(fields["variant_id"])
    return f"{fields['variant_id']}@{fields['runtime']}/{fields['provider']}/t{fields['threads']}"


class RunView(View):
    """A run as it was when it was asked for."""

    @property
    def requests(self) -> list[Mapping[str, Any]]:
        return list(self.fields["requests"])

    def count(self, state: str) -> int:
        """Requests that are ``open``, ``done``, ``failed`` or ``cancelled``."""
        return sum(request["state"] == state for request in self.requests)

    @property
    def is_done(self) -> bool:
        return self.count("open") == 0


class BenchmarkRun:
    """A handle on a run; letting go of it does not stop the devices."""

    def __init__(self, connection: Connection, run_id: str) -> None:
        self._connection = connection
        self.run_id = run_id
        self.url = f"{connection.url}/v1/benchmarks/{run_id}"

    def view(self) -> RunView:
        return RunView(self._connection.get(f"/v1/benchmarks/{self.run_id}"))

    def records(self) -> list[Record]:
        """What has been measured so far."""
        return [Record(fields) for fields in self._connection.items("/v1/records", run=self.run_id, limit=1000)]

    def stream(self, timeout_s: float | None = None) -> Iterator[Record]:
        """Each record as it arrives; ends with the run."""
        seen: set[str] = set()
        is_done = False
        while not is_done:
            is_done = self._wait_for_more(len(seen), timeout_s).is_done
            for record in self.records():
                if record.fields["record_id"] not in seen:
                    seen.add(str(record.fields["record_id"]))
                    yield record

    def result(
        self, timeout_s: float | None = None, on_change: Callable[[RunView], None] | None = None
    ) -> list[Record]:
        """Wait for the run's end. WaitTimeoutError: the run goes on without us."""
        wait_for(self.view, lambda view: view.is_done, self.run_id, timeout_s, on_change)
        return self.records()

    def cancel(self) -> None:
        self._connection.delete(f"/v1/benchmarks/{self.run_id}")

    def _wait_for_more(self, seen: int, timeout_s: float | None) -> RunView:
        def has_more(view: RunView) -> bool:
            return view.is_done or view.count("done") + view.count("failed") > seen

        return wait_for(self.view, has_more, self.run_id, timeout_s)

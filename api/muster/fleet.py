"""A controller's fleet, as a program sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from muster.bench import BenchmarkRun
from muster.connection import Connection, Json
from muster.devices import Device, Devices, quoted, target_names
from muster.loads import Load
from muster.models import Model, Models, Variant
from muster.rollouts import Rollout, start_rollout
from muster.selection import Decision, Plan
from muster.settings import Settings, check_timeout, load_settings
from muster.slo import SLO
from muster.view import View
from muster.waiting import wait_for
from muster_protos.errors import InvalidInputError, MusterError, PermanentError

Targets = str | Sequence[str] | Device | Sequence[Device]


def connect(url: str | None = None, token: str | None = None, data: str | Path | None = None) -> Fleet:
    """Connect to a controller: arguments > MUSTER_URL, MUSTER_TOKEN, MUSTER_DATA > ./muster.yaml > user config.

    Raises:
        UnreachableError: nothing answers there. NotAuthorisedError: the token is wrong or missing.
    """
    settings = load_settings({"url": url, "token": token, "data": None if data is None else str(data)})
    fleet = Fleet(connection_of(settings))
    try:
        fleet.status()
    except MusterError:
        fleet.close()
        raise
    return fleet


def connection_of(settings: Settings) -> Connection:
    """The connection that settings describe; nothing is sent yet."""
    timeout_s = check_timeout(settings["timeout_s"].value)
    return Connection(settings["url"].value, settings["token"].value, timeout_s, ca=settings["ca"].value)


class Fleet:
    """Everything that the command line can do. Use it as a context manager, or call ``close``."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.models = Models(connection)
        self.devices = Devices(connection)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self.connection.close()

    def status(self) -> Json:
        """The fleet in numbers."""
        return self.connection.get("/v1/fleet")

    def new_token(self, lifetime_s: float = 24 * 3600, uses: int = 1, note: str = "") -> Json:
        """A join secret, shown this once; ``link`` is the line to paste on a device."""
        return self.connection.post("/v1/tokens", {"lifetime_s": lifetime_s, "uses": uses, "note": note})

    def tokens(self) -> list[Json]:
        return list(self.connection.items("/v1/tokens"))

    def revoke_token(self, token_id: str) -> None:
        self.connection.delete(f"/v1/tokens/{quoted(token_id)}")

    def keys(self) -> list[Json]:
        """The fleet's public signing keys, the one that signs today first."""
        return list(self.connection.items("/v1/keys"))

    def rotate_key(self, overlap_s: float = 30 * 86_400.0) -> list[Json]:
        """Sign with a new key from now on; the old one counts for ``overlap_s`` seconds more."""
        return list(self.connection.post("/v1/keys/rotations", {"overlap_s": overlap_s})["items"])

    def push(
        self,
        variants: Model | str | Sequence[Variant],
        devices: Targets = "all",
        names: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
    ) -> Push:
        """Put a model's kept variants (or those given) into device caches, verified there."""
        model, chosen = _split(variants, names)
        body = {"model": model, "variants": chosen, "devices": target_names(devices), "labels": dict(labels or {})}
        self.connection.post("/v1/pushes", body)
        return Push(self.connection, body)

    def bench(
        self,
        variants: Model | str | Sequence[Variant],
        devices: Targets = "all",
        tier: str = "quick",
        names: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        **options: Any,
    ) -> BenchmarkRun:
        """Measure on the devices. ``options``: percentiles, threads, runtimes, providers, seed."""
        model, chosen = _split(variants, names)
        body = {
            "model": model,
            "variants": chosen,
            "devices": target_names(devices),
            "labels": dict(labels or {}),
            "tier": tier,
            **options,
        }
        found = self.connection.post("/v1/benchmarks", body)
        return BenchmarkRun(self.connection, str(found["run"]["run_id"]))

    def select(
        self,
        model: Model | str,
        slo: SLO | None = None,
        policy: str | Path | None = None,
        devices: Targets = "all",
        labels: Mapping[str, str] | None = None,
        *,
        dry_run: bool = False,
    ) -> Plan:
        """Decide for each device by an SLO or a policy (YAML text, or a path). Look at ``plan.is_feasible``.

        With ``dry_run`` nothing is stored: earlier decisions stay the newest ones, and the plan cannot be rolled out.
        """
        if (slo is None) == (policy is None):
            raise InvalidInputError("expected either slo= or policy=, found both or neither")
        text = slo.policy_yaml() if slo is not None else _policy_text(policy)
        reference = model.reference if isinstance(model, Model) else model
        body = {
            "model": reference,
            "policy_yaml": text,
            "devices": target_names(devices),
            "labels": dict(labels or {}),
            **({"dry_run": True} if dry_run else {}),
        }
        found = self.connection.post("/v1/decisions", body)
        decisions = [Decision(fields) for fields in found["items"]]
        return Plan(self.connection, reference, text, decisions, is_stored=not dry_run)

    def rollout(self, model: Model | str, devices: Targets = "all", **options: Any) -> Rollout:
        """Put the newest decisions for ``model`` into force. ``options`` as ``muster.rollouts.start_rollout``."""
        reference = model.reference if isinstance(model, Model) else model
        return start_rollout(self.connection, reference, target_names(devices), **options)

    def load(
        self, device: Device | str, model: Model | str = "", cpu_ratio: float = 0.0, seed: int = 0, **options: Any
    ) -> Load:
        """Load a device: ``rate_hz`` and ``duration_s``, or ``phases=[(rate_hz, duration_s), ...]``.

        ``concurrency`` and ``duration_s``: a closed loop, so many requests always under way; answered requests per
        second are what the device can do.
        """
        phases = options.get("phases") or [(options.get("rate_hz", 0.0), options.get("duration_s", 60.0))]
        concurrency = int(options.get("concurrency", 0))
        body = {
            "device": device.id if isinstance(device, Device) else device,
            "model": model.id if isinstance(model, Model) else model,
            "cpu_ratio": cpu_ratio,
            "seed": seed,
            "phases": [
                {"rate_hz": rate, "duration_ms": round(seconds * 1000), "concurrency": concurrency}
                for rate, seconds in phases
            ],
        }
        return Load(self.connection, str(self.connection.post("/v1/loads", body)["load_id"]))

    def events(self, follow: bool = False, **query: Any) -> Iterator[View]:
        """What happened, oldest first; with ``follow`` it goes on. ``query``: device, kind, after (a sequence)."""
        last = int(query.pop("after", 0))
        for fields in self.connection.items("/v1/events", after=last, **query):
            last = int(fields["sequence"])
            yield View(fields)
        if not follow:
            return
        for name, fields in self.connection.stream("/v1/events/stream", after=str(last)):
            if name == "fleet" and _fits(fields, query):
                yield View(fields)


class Push:
    """A handle on variants that are on their way into caches."""

    def __init__(self, connection: Connection, body: Mapping[str, Any]) -> None:
        self._connection = connection
        self._query = {
            "model": body["model"],
            "variant": body["variants"],
            "device": body["devices"],
            "label": [f"{key}={value}" for key, value in body["labels"].items()],
        }

    def status(self) -> list[Json]:
        """One entry per device and variant: state, fetched_bytes, size_bytes, reason."""
        return list(self._connection.get("/v1/pushes", **self._query)["items"])

    def wait(self, timeout_s: float | None = None, on_change: Callable[[list[Json]], None] | None = None) -> list[Json]:
        """Wait until every device has verified every variant. PermanentError: one is bad."""
        done = wait_for(
            self.status, lambda rows: all(r["state"] in ("verified", "bad") for r in rows), "push", timeout_s, on_change
        )
        bad = [row for row in done if row["state"] == "bad"]
        if bad:
            raise PermanentError("; ".join(f"{r['variant_id']} on {r['device_id']}: {r['reason']}" for r in bad[:3]))
        return done


def _split(variants: Model | str | Sequence[Variant], names: Sequence[str]) -> tuple[str, list[str]]:
    if isinstance(variants, Model):
        return variants.reference, [*names]
    if isinstance(variants, str):
        return variants, [*names]
    if not variants:
        raise InvalidInputError("expected a model or at least one variant, found an empty list")
    first = variants[0].manifest
    return f"{first['model_id']}:{first['model_version']}", [variant.id for variant in variants]


def _policy_text(policy: str | Path | None) -> str:
    if isinstance(policy, Path):
        try:
            return policy.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"expected a policy in {policy}, found: {error}") from error
    return policy or ""


def _fits(event: Json, query: Mapping[str, Any]) -> bool:
    device, kind = query.get("device"), query.get("kind")
    return (not device or event["device_id"] == device) and (not kind or event["kind"] == kind)

"""Which ways of executing a variant a device offers: runtime x provider x threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from muster_protos.model import Configuration, Inventory, RuntimeSupport, VariantManifest

# LiteRT's "cpu" is the same kernels without the XNNPACK delegate; it is measured when asked for, or when it is alone.
_SUPERSEDED = {"litert": {"cpu": "xnnpack"}}


def configurations_of(
    manifest: VariantManifest,
    inventory: Inventory,
    threads: Sequence[int] = (),
    runtimes: Sequence[str] = (),
    providers: Sequence[str] = (),
) -> tuple[Configuration, ...]:
    """The configurations to benchmark, ordered; empty when no runtime of the device reads the variant's format.

    Without ``threads``: one, and all usable cores. Counts above the usable cores are left out. Without ``providers``:
    each provider of each runtime that is not superseded by another one there.
    """
    cores = max(1, inventory.cores)
    counts = sorted({count for count in (threads or (1, cores)) if 1 <= count <= cores})
    return tuple(
        Configuration(manifest.variant_id, runtime.name, provider, count)
        for runtime in _usable(manifest, inventory)
        if not runtimes or runtime.name in runtimes
        for provider in _providers(runtime, providers)
        for count in counts
    )


def unsupported_reason(configuration: Configuration, manifest: VariantManifest, inventory: Inventory) -> str:
    """Why the device cannot execute this configuration; "" when it can."""
    runtime = next((item for item in inventory.runtimes if item.name == configuration.runtime), None)
    if runtime is None:
        return f"the device has no runtime {configuration.runtime!r}"
    if runtime.unavailable_reason:
        return f"runtime {runtime.name} does not work on the device: {runtime.unavailable_reason}"
    if manifest.format.value not in runtime.formats:
        return f"runtime {runtime.name} does not read {manifest.format.value}"
    if configuration.provider not in runtime.providers:
        return f"runtime {runtime.name} has no provider {configuration.provider!r} on the device"
    return ""


def _usable(manifest: VariantManifest, inventory: Inventory) -> Iterator[RuntimeSupport]:
    for runtime in sorted(inventory.runtimes, key=lambda item: item.name):
        if not runtime.unavailable_reason and manifest.format.value in runtime.formats:
            yield runtime


def _providers(runtime: RuntimeSupport, wanted: Sequence[str]) -> tuple[str, ...]:
    if wanted:
        return tuple(sorted(provider for provider in runtime.providers if provider in wanted))
    superseded = _SUPERSEDED.get(runtime.name, {})
    return tuple(
        sorted(provider for provider in runtime.providers if superseded.get(provider) not in runtime.providers)
    )

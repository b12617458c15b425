"""What tells a module from every other one: the user's code, and everything that their function put into it."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy as is_uninitialized

from muster_compression.code_identity import source_sha256
from muster_protos.errors import InvalidInputError

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # another one in each process
_DEEPEST = 16
_PLAIN = (bool, int, float, complex, str, bytes, np.generic, torch.dtype, torch.device)


def module_identity(path: Path, module: nn.Module) -> str:
    """sha256 of the user's code, the module's structure, weights, buffers and plain attributes, and torch's version.

    Buffers count whether a state dict holds them or not, attributes whether their names begin with ``_`` or not;
    torch's own bookkeeping does not. Tensors, arrays, enums, data classes, namespaces, numbers, texts and containers of
    those count by their value, other objects by the code that makes them.

    Raises:
        InvalidInputError: a tensor has no values (meta, lazy); with its name.
    """
    state = hashlib.sha256()
    for name, value in (*module.state_dict().items(), *module.named_buffers()):
        _add(state, name, value)
    for prefix, part in module.named_modules():
        for name, value in sorted(_attributes(part)):
            _add(state, f"{prefix}.{name}", value)
    shown = _ADDRESS.sub("", str(module))
    parts = [source_sha256(path, module), shown, state.hexdigest(), torch.__version__]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _attributes(part: nn.Module) -> Iterator[tuple[str, object]]:
    """Without what every module has."""
    own = vars(nn.Module())
    return ((name, value) for name, value in vars(part).items() if name == "training" or name not in own)


def _add(digest: hashlib._Hash, name: str, value: object, depth: int = 0) -> None:
    """One value under its name; containers item by item, sets in the order of their words."""
    if depth > _DEEPEST:  # a container may hold itself
        return
    if isinstance(value, torch.Tensor):
        held = _bytes(name, value)
        layout = "" if value.layout is torch.strided else f" {value.layout}"
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}{layout}".encode())
        digest.update(held)
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        digest.update(f"{name} {value.dtype.str} {value.shape}".encode())
        digest.update(value.tobytes())
    elif value is None or isinstance(value, (*_PLAIN, Enum)):
        digest.update(_ADDRESS.sub("", f"{name} {type(value).__name__} {value!r}").encode())
    else:
        items = list(_items(value))
        digest.update(f"{name} {type(value).__name__} {len(items)}".encode())
        for key, item in items:
            _add(digest, f"{name}.{key}", item, depth + 1)


def _bytes(name: str, value: torch.Tensor) -> bytes:
    """A tensor's values, sparse ones written out.

    Raises:
        InvalidInputError: it has none.
    """
    is_lazy = is_uninitialized(value)
    if is_lazy or value.is_meta:
        found = "an uninitialized (lazy) one" if is_lazy else "one on the meta device"
        way_out = "call the module once on an example" if is_lazy else "load it to the CPU"
        raise InvalidInputError(
            f"the module's {name.lstrip('.')!r}: expected a tensor with values, found {found}; {way_out} before the "
            "function returns it"
        )
    try:
        dense = value.detach().to_dense() if value.layout is not torch.strided else value.detach()
        plain = dense.resolve_conj().resolve_neg().contiguous().reshape(-1)
        return plain.view(torch.uint8).numpy().tobytes()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise InvalidInputError(
            f"the module's {name.lstrip('.')!r}: expected a tensor whose values can be read, found {value.dtype} "
            f"{value.layout} on {value.device} ({' '.join(str(error).split())[:120]}); return a plain one"
        ) from error


def _items(value: object) -> Iterator[tuple[str, object]]:
    """What a container holds; nothing for other objects."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        yield from ((_ADDRESS.sub("", repr(key)), item) for key, item in value.items())
    elif isinstance(value, (list, tuple)):
        yield from ((str(index), item) for index, item in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from ((words, None) for words in sorted(_ADDRESS.sub("", repr(item)) for item in value))
    elif isinstance(value, (argparse.Namespace, SimpleNamespace)):
        yield from sorted(vars(value).items())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value))

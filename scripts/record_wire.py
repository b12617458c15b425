"""Write down what a version's messages look like as bytes; check that another version reads them as they were meant.

    python scripts/record_wire.py record REF > tests/unit/muster_protos/recorded/NAME.json   (at each release)
    python scripts/record_wire.py record                                                     (of what is importable)
    python scripts/record_wire.py check FILE [--newer]    (--newer: FILE may know more than what is importable)

Each message stands there with all fields set, once for each member of its enums and each body that it can have, and
once more as a newer version may send it: with enum values and bodies that nobody knows yet.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

DEPTH = 3  # deeper messages are empty: each has an entry of its own
UNKNOWN_NUMBER = 99
# Fields 500 to 503 of the four wire types: a varint, eight bytes, a string, four bytes.
UNKNOWN_FIELDS = bytes.fromhex("a01f2aa91f0102030405060708b21f056e65776572bd1f01020304")


def messages() -> dict[str, type[Any]]:
    """The contract of the version that is importable."""
    from muster_protos import model

    found = {name: getattr(model, name) for name in model.__all__}
    return {name: item for name, item in found.items() if isinstance(item, type) and dataclasses.is_dataclass(item)}


def record() -> dict[str, Any]:
    """All messages of the version that is importable: bytes (hex) and values."""
    from muster_protos.codec import encode

    entries = [
        {"message": name, "bytes": encode(value).hex(), "value": plain(value)}
        for name, cls in messages().items()
        for value in every_kind(cls)
    ]
    newer = [
        {"message": name, "bytes": payload.hex(), "value": plain(value)}
        for name, cls in messages().items()
        for payload, value in from_a_newer_one(cls)
    ]
    return {"entries": entries + newer, "unknown_fields": UNKNOWN_FIELDS.hex()}


def every_kind(cls: type[Any]) -> Iterator[Any]:
    """Values of this message that between them hold each enum member and each body."""
    hints = typing.get_type_hints(cls).values()
    count = max((len(choices(hint)) for hint in hints), default=1)
    for turn in range(max(count, 1)):
        yield filled(cls, turn, DEPTH)


def from_a_newer_one(cls: type[Any]) -> Iterator[tuple[bytes, Any]]:
    """Bytes with an enum value, or a body, that does not exist yet, and what is to be understood of them."""
    from muster_protos.codec import to_message

    value = filled(cls, 1, DEPTH)
    message: Any = to_message(value)
    unspecified: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.enum_type is None or not isinstance(getattr(value, field.name, None), Enum):
            continue
        setattr(message, field.name, UNKNOWN_NUMBER)
        unspecified[field.name] = type(getattr(value, field.name)).UNSPECIFIED
    if unspecified:
        yield message.SerializeToString(deterministic=True), dataclasses.replace(value, **unspecified)
    for name in message.DESCRIPTOR.oneofs_by_name:
        if not name.startswith("_"):  # that one is an optional field
            message.ClearField(message.WhichOneof(name))
            nothing = dataclasses.replace(value, **{name: None})
            yield message.SerializeToString(deterministic=True) + UNKNOWN_FIELDS, nothing


def choices(hint: Any) -> list[Any]:
    """The members of an enum, or the messages of a union; none of anything else."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        return options if len(options) > 1 else choices(options[0])
    if typing.get_origin(hint) is tuple:
        return choices(typing.get_args(hint)[0])
    is_enum = isinstance(hint, type) and issubclass(hint, Enum)
    return [member for member in hint if member.name != "UNSPECIFIED"] if is_enum else []


def filled(hint: Any, turn: int, depth: int) -> Any:
    """A value with nothing left at its default; ``turn`` chooses among enum members and bodies."""
    if options := choices(hint):
        chosen = options[turn % len(options)]
        if isinstance(chosen, Enum):
            return (chosen,) if typing.get_origin(hint) is tuple else chosen
        return filled(chosen, turn, depth)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return filled(next(arg for arg in args if arg is not type(None)), turn, depth)
    if origin is tuple:
        return tuple(filled(args[0], turn + more, depth) for more in range(2 if depth == DEPTH - 1 else 1))
    if origin is not None and issubclass(origin, Mapping):
        return {f"key-{turn}": filled(args[1], turn, depth)}
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        fields = [field.name for field in dataclasses.fields(hint)] if depth > 0 else []
        return hint(**{name: filled(hints[name], turn + place, depth - 1) for place, name in enumerate(fields)})  # type: ignore[operator]
    scalars = {
        bool: True,
        int: 40 + turn,
        float: 0.5 + turn,
        str: f"text-{turn}",
        bytes: b"\x00\xffbytes" + bytes([turn]),
    }
    return scalars[getattr(hint, "__supertype__", hint)]


def plain(value: Any) -> Any:
    """As JSON has it; a message is told apart by the key "is"."""
    if dataclasses.is_dataclass(value):
        return {"is": type(value).__name__} | {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def differences(recording: dict[str, Any], is_newer: bool = False) -> list[str]:
    """What the version that is importable does not read as it was meant."""
    from muster_protos.codec import decode
    from muster_protos.errors import CodecError

    known, wrong = messages(), []
    tail = bytes.fromhex(recording["unknown_fields"])
    for entry in recording["entries"]:
        name, payload = entry["message"], bytes.fromhex(entry["bytes"])
        if name not in known:
            wrong += [] if is_newer else [f"{name} is gone"]
            continue
        for content in (payload, payload + tail):
            try:
                found = plain(decode(known[name], content))
            except CodecError as error:
                wrong.append(f"{name}: {error}")
            else:
                wrong += _compare(entry["value"], found, name, is_newer)
    return wrong


def _compare(meant: Any, found: Any, where: str, is_newer: bool) -> list[str]:
    if isinstance(meant, list) and isinstance(found, list) and len(meant) == len(found):
        pairs = enumerate(zip(meant, found, strict=True))
        return [line for place, (a, b) in pairs for line in _compare(a, b, f"{where}[{place}]", is_newer)]
    if not (isinstance(meant, dict) and "is" in meant):
        is_unknown = is_newer and isinstance(meant, str) and found == "UNSPECIFIED"
        return [] if meant == found or is_unknown else [f"{where}: meant {meant!r}, found {found!r}"]
    if not isinstance(found, dict) or found.get("is") != meant["is"]:
        is_unknown = is_newer and found is None and meant["is"] not in messages()
        return [] if is_unknown else [f"{where}: meant a {meant['is']}, found {found!r}"]
    added = plain(messages()[meant["is"]]())
    wrong = []
    for name in sorted(meant.keys() | found.keys()):
        if name not in meant:
            wrong += _compare(added[name], found[name], f"{where}.{name} (added)", is_newer)
        elif name in found:
            wrong += _compare(meant[name], found[name], f"{where}.{name}", is_newer)
        elif not is_newer:
            wrong.append(f"{where}.{name} is gone")
    return wrong


def record_ref(ref: str) -> str:
    """The recording of a commit's contract, by that commit's own code."""
    archive = subprocess.run(["git", "archive", ref, "protos"], stdout=subprocess.PIPE, check=True).stdout
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
        env = os.environ | {"PYTHONPATH": str(Path(folder) / "protos"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, __file__, "record"]
        return subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout


def main(arguments: list[str]) -> int:
    """1 when a check found differences."""
    match arguments:
        case ["record", ref]:
            sys.stdout.write(record_ref(ref))
        case ["record"]:
            print(json.dumps(record(), separators=(",", ":"), sort_keys=True))
        case ["check", file, *options]:
            wrong = differences(json.loads(Path(file).read_text()), is_newer="--newer" in options)
            sys.stdout.writelines(f"{line}\n" for line in wrong)
            return 1 if wrong else 0
        case _:
            sys.exit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

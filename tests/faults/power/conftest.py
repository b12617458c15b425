"""A disk that may lose power after every step: what was written is recorded, what may be left of it is built.

The recorder sees each fsync, rename, link, unlink and mkdir below one folder, and before each of them which files have
other bytes than before. The model is stricter than ext4: a file's bytes are safe after its own fsync, a name after an
fsync of its folder, and nothing else orders them. Of what is not safe, any part may be there: bytes torn, zeroed,
missing; names there or not, in every combination.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ALL_SUBSETS_OF = 7  # pending names; of more, prefixes, single losses and a seeded sample
SAMPLED = 48


@dataclass(frozen=True)
class Op:
    """One recorded step. ``inode`` is the file or folder that it is about."""

    kind: str  # write, name, unname, sync, mark
    inode: int
    folder: int = 0
    name: str = ""
    content: bytes = b""
    is_folder: bool = False


@dataclass
class Recorder:
    """Patches ``os`` while it is in force."""

    root: Path
    ops: list[Op] = field(default_factory=list)
    seen: dict[int, bytes] = field(default_factory=dict)  # file inode -> bytes
    names: dict[tuple[int, str], int] = field(default_factory=dict)  # (folder inode, name) -> inode

    def __post_init__(self) -> None:
        self.root_inode = self.root.stat().st_ino

    def mark(self, what: str) -> None:
        """From here on ``what`` has been promised."""
        self.look()
        self.ops.append(Op("mark", 0, name=what))

    def look(self) -> None:
        """Record what has changed since the last look: new names first, then new bytes."""
        for folder, _, files in os.walk(self.root):
            parent = Path(folder).stat().st_ino
            for path in sorted(Path(folder).iterdir()):
                inode, name = path.lstat().st_ino, path.name
                if self.names.get((parent, name)) != inode:
                    self.names[parent, name] = inode
                    self.ops.append(Op("name", inode, parent, name, is_folder=name not in files))
            for name in sorted(files):
                path = Path(folder, name)
                inode, content = path.stat().st_ino, path.read_bytes()
                if self.seen.get(inode) != content:
                    self.seen[inode] = content
                    self.ops.append(Op("write", inode, content=content))

    def forget(self, folder: int, name: str) -> None:
        inode = self.names.pop((folder, name), 0)
        self.ops.append(Op("unname", inode, folder, name))

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        fsync, replace, rename, unlink = os.fsync, os.replace, os.rename, os.unlink
        mkdir, link, rmdir = os.mkdir, os.link, os.rmdir

        def on_fsync(descriptor: int) -> None:
            self.look()
            fsync(descriptor)
            self.ops.append(Op("sync", os.fstat(descriptor).st_ino))

        def moved(move: Callable[..., None]) -> Callable[..., None]:
            def on_move(source: object, target: object, **more: object) -> None:
                self.look()
                inode = Path(os.fspath(source)).stat().st_ino  # type: ignore[arg-type]
                move(source, target, **more)
                new, old = Path(os.fspath(target)), Path(os.fspath(source))  # type: ignore[arg-type]
                folder = new.parent.stat().st_ino
                self.names[folder, new.name] = inode
                self.ops.append(Op("name", inode, folder, new.name, is_folder=new.is_dir()))
                self.forget(old.parent.stat().st_ino, old.name)

            return on_move

        def on_unlink(path: object, **more: object) -> None:
            self.look()
            unlink(path, **more)  # type: ignore[arg-type]
            gone = Path(os.fspath(path))  # type: ignore[arg-type]
            self.forget(gone.parent.stat().st_ino, gone.name)

        def followed(act: Callable[..., None]) -> Callable[..., None]:
            def on_act(*arguments: object, **more: object) -> None:
                self.look()
                act(*arguments, **more)
                self.look()

            return on_act

        def on_rmdir(path: object, **more: object) -> None:
            self.look()
            gone = Path(os.fspath(path))  # type: ignore[arg-type]
            rmdir(path, **more)  # type: ignore[arg-type]
            self.forget(gone.parent.stat().st_ino, gone.name)

        patch.setattr(os, "fsync", on_fsync)
        patch.setattr(os, "replace", moved(replace))
        patch.setattr(os, "rename", moved(rename))
        patch.setattr(os, "unlink", on_unlink)
        patch.setattr(os, "mkdir", followed(mkdir))
        patch.setattr(os, "link", followed(link))
        patch.setattr(os, "rmdir", on_rmdir)


@dataclass(frozen=True)
class Image:
    """What a power cut left: ``files`` by path below the root, the folders, and what had been promised by then."""

    files: dict[str, bytes]
    folders: tuple[str, ...]
    promised: frozenset[str]
    begun: frozenset[str]  # promised, or being worked on when the power went
    how: str

    def build(self, folder: Path) -> Path:
        for name in self.folders:
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o600)
        return folder


def images(recorder: Recorder, seed: int = 1) -> Iterator[Image]:
    """Every image that a power cut may leave, each once, at every step."""
    recorder.look()
    chance = random.Random(seed)
    known: set[str] = set()
    for length in range(len(recorder.ops) + 1):
        for image in _images_at(recorder, recorder.ops[:length], recorder.ops[length:], chance):
            key = _key(image)
            if key not in known:
                known.add(key)
                yield image


def _images_at(recorder: Recorder, ops: list[Op], rest: list[Op], chance: random.Random) -> Iterator[Image]:
    promised = frozenset(op.name for op in ops if op.kind == "mark")
    begun = promised | {op.name for op in rest if op.kind == "mark"}
    pending = [index for index, op in enumerate(ops) if op.kind in ("name", "unname") and not _is_safe(ops, index)]
    safe = {index for index, op in enumerate(ops) if op.kind in ("name", "unname")} - set(pending)
    for chosen in _choices(pending, chance):
        tree, folders = _tree(recorder.root_inode, ops, safe | set(chosen))
        for how in ("whole", "torn", "zeros", "zero tail", "empty", "old"):
            files = {path: _bytes(ops, inode, how) for path, inode in tree.items()}
            yield Image(files, tuple(folders), promised, begun, f"after step {len(ops)}, names {chosen}, bytes {how}")


def _is_safe(ops: list[Op], index: int) -> bool:
    return any(op.kind == "sync" and op.inode == ops[index].folder for op in ops[index + 1 :])


def _choices(pending: list[int], chance: random.Random) -> Iterator[tuple[int, ...]]:
    if len(pending) <= ALL_SUBSETS_OF:
        for size in range(len(pending) + 1):
            yield from itertools.combinations(pending, size)
        return
    for size in range(len(pending) + 1):
        yield tuple(pending[:size])
    for lost in pending:
        yield tuple(index for index in pending if index != lost)
    for _ in range(SAMPLED):
        yield tuple(index for index in pending if chance.random() < 0.5)


def _tree(root: int, ops: list[Op], chosen: set[int]) -> tuple[dict[str, int], list[str]]:
    """Path -> inode of every file that can be reached, and the folders. A rename never loses both of its names."""
    entries: dict[int, dict[str, tuple[int, bool]]] = {}
    for index in sorted(chosen):
        op = ops[index]
        folder = entries.setdefault(op.folder, {})
        if op.kind == "name":
            folder[op.name] = (op.inode, op.is_folder)
        elif folder.get(op.name, (0, False))[0] == op.inode and _keeps_another(ops, index, chosen):
            del folder[op.name]
    files: dict[str, int] = {}
    folders: list[str] = []
    waiting = [("", root)]
    while waiting:
        path, inode = waiting.pop()
        for name, (child, is_folder) in entries.get(inode, {}).items():
            if is_folder:
                folders.append(f"{path}{name}")
                waiting.append((f"{path}{name}/", child))
            else:
                files[f"{path}{name}"] = child
    return files, sorted(folders)


def _keeps_another(ops: list[Op], index: int, chosen: set[int]) -> bool:
    """An unlink may always happen; the vanishing half of a rename only with the appearing half."""
    before = ops[index - 1]
    is_rename = before.kind == "name" and before.inode == ops[index].inode
    return not is_rename or index - 1 in chosen


def _bytes(ops: list[Op], inode: int, how: str) -> bytes:
    """A file's bytes: those of its last fsync are safe, what was written after may be there in part."""
    synced, written = b"", None
    latest = b""
    for op in ops:
        if op.inode != inode:
            continue
        if op.kind == "write":
            latest = written = op.content
        elif op.kind == "sync":
            synced, written = latest, None
    if written is None:
        return synced
    half = len(written) // 2
    return {
        "whole": written,
        "torn": written[:half],
        "zeros": bytes(len(written)),
        "zero tail": written[:half] + bytes(len(written) - half),
        "empty": b"",
        "old": synced,
    }[how]


def _key(image: Image) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(image.files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    digest.update("\0".join((*image.folders, "|", *sorted(image.promised), "|", *sorted(image.begun))).encode())
    return digest.hexdigest()


class Power:
    """What the tests need."""

    images = staticmethod(images)

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._patch = patch
        self._built = 0
        self.disk = folder / "disk"
        self.disk.mkdir()

    def record(self, act: Callable[[Path, Callable[[str], None]], None]) -> Recorder:
        """Have ``act(root, mark)`` write; what it ``mark``s it has promised."""
        recorder = Recorder(self.disk)
        with self._patch.context() as patch:
            recorder.patch(patch)
            act(self.disk, recorder.mark)
            recorder.look()
        return recorder

    def build(self, image: Image) -> Path:
        self._built += 1
        folder = self._folder / f"image{self._built}"
        folder.mkdir()
        return image.build(folder)


@pytest.fixture
def power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Power:
    return Power(tmp_path, monkeypatch)

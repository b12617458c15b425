"""After a power cut at any step the real recovery code finds whole bytes under each name, or notices; see conftest."""

from __future__ import annotations

import hashlib
import io
import shutil
import sys

import pytest

from muster_agent import keys
from muster_agent.adapters.cache_folder import FolderCache
from muster_agent.adapters.state_sqlite import SqliteState
from muster_agent.adapters.state_sqlite.copies import StateCopies
from muster_agent.cli.device_inventory import RuntimeProof
from muster_agent.core.known import ServingRecord
from muster_agent.core.wanted import read_model
from muster_agent.identity_folder import Identity, IdentityFolder
from muster_agent.testing import sign_desired, sign_manifest
from muster_controller.adapters.artifacts_folder import FolderArtifactStore
from muster_controller.adapters.identity_x509 import open_admin_token, open_authority
from muster_protos.errors import TemporaryError
from muster_protos.model import (
    ArtifactRef,
    DesiredModel,
    DesiredState,
    Event,
    RuntimeSupport,
    ServingGrant,
    SigningKey,
    VariantManifest,
)

CHUNK = 3_000


def artifact(seed: int, size: int = 2 * CHUNK + 17) -> tuple[ArtifactRef, bytes]:
    content = b"".join(hashlib.sha256(f"{seed} {n}".encode()).digest() for n in range(size // 32 + 1))[:size]
    return ArtifactRef(hashlib.sha256(content).hexdigest(), size), content


def fetch(cache: FolderCache, ref: ArtifactRef, content: bytes, mark=lambda _: None) -> None:
    """As the fetch step does it: from where the partial file ends."""
    offset = cache.partial_bytes().get(ref.sha256, 0)
    while offset < ref.size_bytes:
        piece = content[offset : offset + CHUNK]
        cache.append(ref, offset, piece)
        offset += len(piece)
        mark(f"{ref.sha256} to {offset}")
    cache.finish(ref)


def test_an_agents_artifact_is_whole_or_noticed_and_comes_back(power):
    known = dict((artifact(1), artifact(2)))

    def act(root, mark):
        cache = FolderCache(root)
        for ref, content in known.items():
            fetch(cache, ref, content, mark)
            mark(ref.sha256)

    count = 0
    for image in power.images(power.record(act)):
        count += 1
        folder = power.build(image)
        cache = FolderCache(folder)
        for ref, content in known.items():
            if ref.sha256 in image.promised:
                assert ref.sha256 in cache.cached(), f"lost: {image.how}"
                assert cache.check(ref).read_bytes() == content, image.how
            for _ in range(3):
                try:
                    if ref.sha256 not in cache.cached():
                        fetch(cache, ref, content)
                    assert cache.check(ref).read_bytes() == content
                    break
                except TemporaryError:
                    continue  # noticed; the next plan fetches again
            else:
                raise AssertionError(f"does not come back: {image.how}")
        shutil.rmtree(folder)
    print(f"{count} images of an agent's cache")
    assert count > 60


def identity(number: int) -> Identity:
    return Identity(
        "lab", "pi", f"cert {number}".encode() * 40, b"ca" * 99, (SigningKey("k", b"k" * 32),), ("grpcs://h:1",)
    )


def test_an_identity_is_the_old_or_the_new_one_and_never_bricks_the_device(power, monkeypatch):
    def act(root, mark):
        folder = IdentityFolder(root / "state" / "identity")
        folder.create()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.StringIO())
            assert keys.main([str(folder.key_path)]) == 0
        mark("key")
        folder.write(identity(1))
        mark("joined")
        folder.renew(identity(2).certificate_pem)
        mark("renewed")

    recorder = power.record(act)
    made = (power.disk / "state" / "identity" / "key.pem").read_bytes()
    count = 0
    for image in power.images(recorder):
        count += 1
        folder = power.build(image)
        identities = IdentityFolder(folder / "state" / "identity")
        found = identities.read()  # raises when the device would have to be joined by hand
        if "renewed" in image.promised:
            assert found == identity(2), image.how
        elif "joined" in image.promised:
            assert found in (identity(1), identity(2)), image.how
        else:
            assert found in (None, identity(1)), image.how
        if "key" in image.promised:
            assert identities.read_key() == made, f"another key is another device: {image.how}"
        elif identities.key_path.exists():
            assert identities.read_key() == made, f"a torn key: {image.how}"
        if found is not None:
            assert identities.certificate_path.read_bytes() == found.certificate_pem
        shutil.rmtree(folder)
    print(f"{count} images of an identity")
    assert count > 40


def desired(version: int):
    return sign_desired(DesiredState("lab", "pi", 1, version))


def test_the_copies_beside_the_state_database_never_go_back(power):
    manifest = VariantManifest(variant_id="m.v1.a", model_id="m", artifact=ArtifactRef("ab" * 32, 3))
    records = [
        {"m": ServingRecord("m", last_good=read_model(DesiredModel("m", 1, (sign_manifest(manifest),), grant)))}
        for grant in (ServingGrant("d1"), ServingGrant("d2"))
    ]

    def act(root, mark):
        copies = StateCopies(root)
        for number, record in enumerate(records, 1):
            copies.keep_desired(desired(number))
            mark(f"desired {number}")
            copies.keep_last_good(record)
            mark(f"good {number}")

    count = 0
    for image in power.images(power.record(act)):
        count += 1
        folder = power.build(image)
        copies = StateCopies(folder)
        found = copies.desired()
        versions = [number for number in (1, 2) if found == desired(number)]
        assert found is None or versions, f"neither of them: {image.how}"
        held = [number for number in (1, 2) if f"desired {number}" in image.promised]
        assert (versions or [0])[0] >= max(held, default=0), f"the desired version went back: {image.how}"
        good = [item.last_good.deployment_id for item in copies.last_good()]
        held = [number for number in (1, 2) if f"good {number}" in image.promised]
        assert not held or good in ([f"d{number}"] for number in range(max(held), 3)), image.how
        shutil.rmtree(folder)
    print(f"{count} images of the copies")
    assert count > 30


def test_a_controllers_artifact_is_whole_or_absent_and_lasts_once_it_is_put(power, tmp_path):
    contents = [artifact(number)[1] for number in (1, 2)]
    sources = []
    for number, content in enumerate(contents):
        sources.append(tmp_path / f"source{number}")
        sources[-1].write_bytes(content)

    def act(root, mark):
        store = FolderArtifactStore(root)
        for source in sources:
            sha256, _ = store.put(source)
            mark(sha256)
        store.put(sources[0])  # again: known

    known = {hashlib.sha256(content).hexdigest(): content for content in contents}
    count = 0
    for image in power.images(power.record(act)):
        count += 1
        folder = power.build(image)
        store = FolderArtifactStore(folder)
        for sha256 in store.iter_sha256s():
            assert store.read(sha256, 0, 1 << 20) == known[sha256], f"other bytes under a name: {image.how}"
        for sha256 in image.promised:
            assert store.read(sha256, 0, 1 << 20) == known[sha256], f"lost: {image.how}"
        for source in sources:
            store.put(source)
        shutil.rmtree(folder)
    print(f"{count} images of the artifact store")
    assert count > 40


def test_an_artifact_that_a_killed_controller_named_is_safe_once_it_is_put_again(power, tmp_path):
    ref, content = artifact(3)
    source = tmp_path / "source"
    source.write_bytes(content)

    def act(root, mark):
        store = FolderArtifactStore(root)
        target = root / "sha256" / ref.sha256[:2] / ref.sha256
        target.parent.mkdir()
        target.write_bytes(content)  # named, and killed before anything was synced
        store.put(source)
        mark(ref.sha256)

    for image in power.images(power.record(act)):
        if image.promised:
            folder = power.build(image)
            assert FolderArtifactStore(folder).read(ref.sha256, 0, 1 << 20) == content, image.how
            shutil.rmtree(folder)


def test_the_fleets_keys_are_made_once_and_last(power):
    def act(root, mark):
        authority = open_authority(root / "data" / "identity", "lab")
        token = open_admin_token(root / "data" / "identity")
        mark(f"{authority.ca_fingerprint()} {authority.signing_keys()[0].key_id} {token}")

    count = 0
    for image in power.images(power.record(act)):
        count += 1
        folder = power.build(image)
        authority = open_authority(folder / "data" / "identity", "lab")
        token = open_admin_token(folder / "data" / "identity")
        for promised in image.promised:
            found = f"{authority.ca_fingerprint()} {authority.signing_keys()[0].key_id} {token}"
            assert found == promised, f"the fleet has another CA: {image.how}"
        shutil.rmtree(folder)
    print(f"{count} images of the fleet's keys")
    assert count > 20


@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"torn"])
def test_what_is_only_remembered_may_be_torn(tmp_path, content):
    path = tmp_path / "runtimes.proof"
    path.write_bytes(content)
    proof = RuntimeProof(path, lambda: (RuntimeSupport("onnxruntime", "1"),))
    assert proof.wait() == (RuntimeSupport("onnxruntime", "1"),)


@pytest.mark.parametrize("tail", ["cut", "zeros", "noise"])
def test_a_torn_write_ahead_log_loses_no_report_that_was_stored(tmp_path, tail):
    folder = tmp_path / "live"
    folder.mkdir()
    store = SqliteState(folder / "agent.sqlite3")
    sizes = []
    for number in range(12):
        store.queue_events([Event(event_id=str(number), kind="x", reason="r" * 700)])
        sizes.append((folder / "agent.sqlite3-wal").stat().st_size)
    log = (folder / "agent.sqlite3-wal").read_bytes()
    database = (folder / "agent.sqlite3").read_bytes()
    store.close()
    for stored, (size, following) in enumerate(zip(sizes, [*sizes[1:], sizes[-1] + 4096], strict=True), 1):
        for cut in {size, size + 1, (size + following) // 2, following - 1}:
            rest = {"cut": b"", "zeros": bytes(following - cut), "noise": b"\x5a" * (following - cut)}[tail]
            image = tmp_path / f"{tail}{stored}-{cut}"
            image.mkdir()
            (image / "agent.sqlite3").write_bytes(database)
            (image / "agent.sqlite3-wal").write_bytes(log[:cut] + rest)
            found = SqliteState(image / "agent.sqlite3")
            kept = [report.body.event_id for report in found.reports(0, 100)]
            assert kept[:stored] == [str(number) for number in range(stored)], f"{stored} stored, cut at {cut}"
            assert len(kept) <= stored + 1
            found.close()
            assert not (image / "agent.sqlite3.damaged").exists()

"""Artifacts come by ranges, checked, and broken links, wrong bytes and full disks lose nothing."""

from __future__ import annotations

from muster_agent.adapters.cache_folder import FolderCache
from muster_protos.errors import TemporaryError
from muster_protos.model import ArtifactState


def states_of(house):
    return {item.sha256: item for item in house.link.last_reported().artifacts}


def test_a_broken_fetch_goes_on_where_it_ended(online):
    online.link.break_after_bytes = 8
    online.want()
    first = online.link.fetched[0]
    assert first[1] == 0
    online.pass_time(5)
    assert (first[0], 8) in online.link.fetched
    assert online.link.last_reported().is_converged


def test_a_partial_file_survives_a_restart(online):
    online.link.break_after_bytes = 8
    online.want()
    online.restart()
    online.link.come_up()
    online.settle()
    online.pass_time(5)
    assert (online.link.fetched[0][0], 8) in online.link.fetched


def test_wrong_bytes_are_thrown_away_and_fetched_again_whole(online):
    manifest = online.manifest("fp32")
    good = online.link.artifacts[manifest.artifact.sha256]
    wanted = online.desired(names=("fp32",))
    online.link.artifacts[manifest.artifact.sha256] = good[::-1]
    online.link.deliver(wanted)
    online.settle()
    assert manifest.artifact.sha256 not in online.cache.cached()
    assert "thrown away" in states_of(online)[manifest.artifact.sha256].reason
    online.link.artifacts[manifest.artifact.sha256] = good
    online.pass_time(5)
    assert online.link.fetched.count((manifest.artifact.sha256, 0)) >= 2
    assert online.link.last_reported().is_converged


def test_an_artifact_that_the_controller_lacks_is_final_until_the_desired_state_changes(online):
    wanted = online.desired(names=("fp32",))
    online.link.artifacts.clear()
    online.link.deliver(wanted)
    online.settle()
    online.pass_time(120)
    assert online.link.fetched == []
    reported = online.link.last_reported()
    assert "no artifact" in reported.reason
    online.want(names=("fp32",))
    assert online.link.last_reported().is_converged


def test_a_full_disk_is_reported_and_the_fetch_goes_on_when_there_is_room(online, monkeypatch):
    room = [0]
    monkeypatch.setattr(FolderCache, "free_bytes", lambda self: room[0])
    online.want()
    reported = online.link.last_reported()
    assert "disk full" in reported.reason
    assert {item.state for item in reported.artifacts} == {ArtifactState.FETCHING}
    room[0] = 1 << 30
    online.pass_time(30)
    assert online.link.last_reported().is_converged


def test_a_disk_that_fills_up_while_writing_keeps_what_it_has(online, monkeypatch):
    append, calls = FolderCache.append, []

    def fails_once(self, ref, offset, data):
        calls.append(offset)
        if len(calls) == 3:
            raise TemporaryError("disk full: artifact does not fit")
        append(self, ref, offset, data)

    monkeypatch.setattr(FolderCache, "append", fails_once)
    online.want()
    online.pass_time(5)
    assert (online.link.fetched[0][0], 8) in online.link.fetched
    assert online.link.last_reported().is_converged


def test_offline_nothing_is_fetched(house):
    house.link.deliver(house.desired())
    house.settle()
    assert house.link.fetched == []

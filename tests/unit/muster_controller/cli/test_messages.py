"""A mistake is called by its name."""

from __future__ import annotations

import pytest

from muster_controller.testing_service import ServiceLab
from muster_protos.model import ArtifactState, ReportedArtifact, ReportedState


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("bench", "run", "kws", "--threads", "99"), 2, "threads as usable cores (pi: 2), found 99"),
        (("bench", "run", "kws", "--runtime", "litert"), 2, "expected a runtime and provider that a device has"),
        (("rollout", "rollback", "rollout-nope"), 4, "muster rollout history"),
        (("bench", "show", "run-nope"), 4, "muster bench ls"),
        (("select", "kws", "--policy", "."), 2, "found a folder"),
        (("select", "kws"), 2, "found neither"),
        (("select", "kws", "--policy", "x", "--p95-ms", "2"), 2, "found both"),
        (("model", "rm", "kws.v1.fp16", "--yes"), 2, "variants cannot be removed alone"),
        (("model", "rm", "kwz", "--yes"), 4, 'did you mean "kws"'),
    ],
)
def test_the_message_is_about_what_was_typed(
    muster, lab: ServiceLab, arguments: tuple[str, ...], code: int, words: str
) -> None:
    lab.add_device("pi")
    lab.add_model()
    said = muster(*arguments)
    assert said.code == code
    assert words in said.err
    assert "Errno" not in said.err


def test_no_guess_is_made_at_a_random_id(muster) -> None:
    assert muster("token", "new").code == 0
    said = muster("token", "revoke", "token-nope")
    assert said.code == 4
    assert "muster token ls" in said.err
    assert "did you mean" not in said.err


def test_a_backup_that_is_not_there_is_said_before_a_folder_that_is_full(
    muster, lab: ServiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lab.folder / "full").mkdir()
    (lab.folder / "full" / "file").touch()
    monkeypatch.setenv("MUSTER_DATA", str(lab.folder / "full"))
    said = muster("import", "nofile.tar")
    assert said.code == 4
    assert "nofile.tar" in said.err


@pytest.mark.parametrize("command", [(), ("device",), ("device", "ls"), ("select",)])
def test_h_is_help_everywhere(muster, command: tuple[str, ...]) -> None:
    short, long = muster(*command, "-h"), muster(*command, "--help")
    assert (short.code, short.out) == (0, long.out)
    assert "Usage: muster" in short.out


def test_a_variant_that_nobody_measured_is_shown_by_its_name_alone(muster, lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_model()
    said = muster("select", "kws", "--p95-ms", "20", "--explain")
    assert said.code == 7
    assert any(line.split()[:2] == ["kws.v1.fp16", "not"] for line in said.out.splitlines())
    assert "@" not in said.out


def test_a_push_that_waits_says_for_what(muster, lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_model()
    (variant,) = lab.service.models.kept(lab.service.models.get("kws"), ("fp32",))
    full = ReportedArtifact(variant.manifest.artifact.sha256, ArtifactState.FETCHING, reason="disk full: needs 16 MiB")
    lab.store.put_reported("pi", ReportedState(device_id="pi", artifacts=(full,)), lab.clock.now_ns())
    said = muster("push", "kws", "-d", "pi", "--variant", "fp32", "--timeout", "0.1")
    assert said.code == 9
    assert "disk full: needs 16 MiB" in said.out, "the table"
    assert "pi: disk full: needs 16 MiB" in said.err, "the meter"


def test_a_reason_that_steers_a_terminal_is_shown_as_it_is(muster, lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_model()
    (variant,) = lab.service.models.kept(lab.service.models.get("kws"), ("fp32",))
    steering = "disk [/x] full \x1b]0;mine\x07"
    full = ReportedArtifact(variant.manifest.artifact.sha256, ArtifactState.FETCHING, reason=steering)
    lab.store.put_reported("pi", ReportedState(device_id="pi", artifacts=(full,)), lab.clock.now_ns())
    said = muster("push", "kws", "-d", "pi", "--variant", "fp32", "--timeout", "0.1")
    assert said.code == 9
    assert "pi: disk [/x] full" in said.err
    assert "\x1b" not in said.err + said.out


def test_an_empty_list_says_by_what_it_was_narrowed(muster, lab: ServiceLab) -> None:
    assert "no device yet" in muster("device", "ls").err
    lab.add_device("pi")
    assert "no device with room=attic" in muster("device", "ls", "-l", "room=attic").err

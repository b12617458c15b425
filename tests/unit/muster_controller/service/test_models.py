"""Files become models and variants in operations; nothing half-made is left."""

from __future__ import annotations

import os

import pytest

from muster_controller.core.entities import Operation, OperationState
from muster_controller.service.made_texts import figures_of
from muster_controller.service.models import NewModel, Origin, split_reference
from muster_controller.testing_service import ServiceLab
from muster_protos.errors import ConflictError, InvalidInputError, MissingExtraError, NotFoundError, TemporaryError
from muster_protos.model import Accuracy, ArtifactRef, LoadPhase, VariantManifest


def upload(lab: ServiceLab, content: bytes) -> str:
    with lab.service.uploads.receive() as receiving:
        receiving.write(content)
    return receiving.upload_id


def finished(lab: ServiceLab, operation: Operation) -> Operation:
    lab.service.operations.wait_idle()
    return lab.service.operations.get(operation.operation_id)


def test_each_import_of_a_name_is_its_next_version(lab: ServiceLab) -> None:
    for number in (1, 2):
        done = finished(lab, lab.service.models.add(NewModel("kws", upload(lab, b"onnx %d" % number))))
        assert (done.state, done.note, done.progress_ratio) == (OperationState.SUCCEEDED, f"kws:{number}", 1.0)
    assert lab.service.models.get("kws").version == 2
    assert lab.service.models.get("kws:1").version == 1
    with pytest.raises(NotFoundError, match="newest is 2"):
        lab.service.models.get("kws:9")


def test_manifests_are_signed_and_their_artifacts_stored(lab: ServiceLab) -> None:
    lab.add_model()
    for variant in lab.service.models.variants(lab.service.models.get("kws")):
        lab.authority.verifier.verify([variant.envelope])
        assert lab.artifacts.size(variant.manifest.artifact.sha256) == variant.manifest.artifact.size_bytes


def test_a_refused_file_fails_the_operation_with_the_reason_and_makes_no_model(lab: ServiceLab) -> None:
    done = finished(lab, lab.service.models.add(NewModel("junk", upload(lab, b"bad"))))
    assert (done.state, done.reason) == (
        OperationState.FAILED,
        "expected an ONNX or TFLite file, found something else",
    )
    with pytest.raises(NotFoundError):
        lab.service.models.get("junk")
    assert list((lab.folder / "work").iterdir()) == []


def test_a_dropped_variant_is_kept_with_its_reason_and_not_offered(lab: ServiceLab) -> None:
    lab.add_model()
    model = lab.service.models.get("kws")
    assert [v.manifest.name for v in lab.service.models.kept(model)] == ["fp16", "fp32"]
    dropped = [variant for variant in lab.service.models.variants(model) if not variant.is_kept]
    assert [(v.manifest.name, v.dropped_reason) for v in dropped] == [("int8", "under the floor")]


def test_the_same_recipe_again_changes_nothing(lab: ServiceLab) -> None:
    lab.add_model()
    done = finished(lab, lab.service.models.compress("kws", "quick"))
    assert done.state is OperationState.SUCCEEDED
    assert "unchanged" in done.note


def test_a_recipe_from_outside_is_a_name_or_text_never_a_path(lab: ServiceLab) -> None:
    lab.add_model()
    with pytest.raises(InvalidInputError, match="recipe name"):
        lab.service.models.compress("kws", "/etc/passwd")
    with pytest.raises(NotFoundError, match="no recipe"):
        lab.service.models.compress("kws", "nosuch")
    assert finished(lab, lab.service.models.compress("kws", "passes: []\n")).state is OperationState.SUCCEEDED


def test_a_ready_made_variant_joins_an_existing_model(lab: ServiceLab) -> None:
    lab.add_model()
    finished(lab, lab.service.models.add_variant("kws", "mine", upload(lab, b"tflite")))
    assert "mine" in [v.manifest.name for v in lab.service.models.kept(lab.service.models.get("kws"))]
    with pytest.raises(NotFoundError):
        lab.service.models.add_variant("kwz", "mine", upload(lab, b"tflite"))


def test_a_ready_made_variant_under_a_name_that_is_taken_is_refused_and_the_same_file_again_is_said(
    lab: ServiceLab,
) -> None:
    lab.add_model()
    finished(lab, lab.service.models.add_variant("kws", "mine", upload(lab, b"first")))
    other = finished(lab, lab.service.models.add_variant("kws", "mine", upload(lab, b"second"), is_forced=True))
    assert other.state is OperationState.FAILED
    assert "mine of kws:1 there already with other bytes" in other.reason
    kept = lab.service.models.variant("kws.v1.mine").manifest.artifact.sha256
    assert lab.artifacts.path(kept).read_bytes() == b"first"
    again = finished(lab, lab.service.models.add_variant("kws", "mine", upload(lab, b"first")))
    assert again.state is OperationState.SUCCEEDED
    assert again.note.splitlines() == ["mine (unchanged)", "note: mine: these very bytes were there already"]


def test_a_missing_extra_inside_long_work_keeps_its_kind(lab: ServiceLab) -> None:
    def work(*_: object) -> str:
        raise MissingExtraError("TFLite files need LiteRT: pip install 'muster-edge[litert]'")

    done = finished(lab, lab.service.operations.start("compress", "kws:1", work))
    assert (done.state, done.failure) == (OperationState.FAILED, "missing_extra")


def test_a_ready_made_variant_that_disagrees_joins_only_by_force(lab: ServiceLab) -> None:
    lab.add_model()
    done = finished(lab, lab.service.models.add_variant("kws", "mine", upload(lab, b"stranger")))
    assert done.state is OperationState.FAILED
    assert "at least 50%" in done.reason
    forced = finished(lab, lab.service.models.add_variant("kws", "mine", upload(lab, b"stranger"), is_forced=True))
    assert forced.state is OperationState.SUCCEEDED


def test_a_compression_says_what_it_dropped_and_what_it_could_not_make(lab: ServiceLab) -> None:
    lab.add_model()
    done = finished(lab, lab.service.models.compress("kws", "passes: [prune]\n"))
    assert done.note.splitlines() == [
        "fp16 (unchanged), int8 (unchanged)",
        "dropped: int8 (not judged, 9 bytes): under the floor",
        "not made: pruned: no layer to prune",
        "note: calibrated on what judges",
    ]


def test_other_bytes_under_a_name_that_is_taken_are_not_made(lab: ServiceLab) -> None:
    done = finished(lab, lab.service.models.add(NewModel("net", upload(lab, b"onnx"))))
    finished(lab, lab.service.models.add_variant(done.note, "fp16", upload(lab, b"mine")))
    done = finished(lab, lab.service.models.compress("net", "quick"))
    assert done.note.splitlines()[0] == "int8 (dropped)"
    assert "not made: fp16: a variant of this name with other bytes is there already" in done.note
    assert (
        lab.artifacts.path(lab.service.models.variant("net.v1.fp16").manifest.artifact.sha256).read_bytes() == b"mine"
    )


@pytest.mark.parametrize(
    ("accuracy", "figures"),
    [
        (None, "not judged, 8 bytes"),
        (Accuracy(n=9, metric="accuracy", value=0.8125), "accuracy 0.8125, 8 bytes"),
        (
            Accuracy(n=9, metric="accuracy", value=0.8, ci_low=0.7, ci_high=0.9, agreement=0.5),
            "accuracy 0.8 [0.7, 0.9], 8 bytes",
        ),
        (Accuracy(n=9, agreement=0.99), "agreement 0.99, 8 bytes"),
        (Accuracy(n=0), "no figure, 8 bytes"),
    ],
)
def test_a_dropped_variant_s_figures_are_those_that_are_known(accuracy: Accuracy | None, figures: str) -> None:
    manifest = VariantManifest(name="int8", artifact=ArtifactRef("0" * 64, 8), accuracy=accuracy)
    assert figures_of(manifest) == figures


@pytest.mark.parametrize("name", ["", "a/b", "../up", "x" * 65, "ä", "a b", "-a"])
def test_a_model_name_that_is_no_id_is_refused(lab: ServiceLab, name: str) -> None:
    with pytest.raises(InvalidInputError):
        lab.service.models.add(NewModel(name, upload(lab, b"onnx")))


@pytest.mark.parametrize("text", ["a:", "a:0", "a:-1", "a:x", "a:1:2"])
def test_a_reference_is_a_name_or_a_name_and_a_version(text: str) -> None:
    with pytest.raises(InvalidInputError):
        split_reference(text)


def test_an_unknown_model_gets_the_nearest_names(lab: ServiceLab) -> None:
    lab.add_model("keyword")
    with pytest.raises(NotFoundError, match='did you mean "keyword"'):
        lab.service.models.get("keywrod")
    with pytest.raises(NotFoundError, match='did you mean "fp16"'):
        lab.service.models.kept(lab.service.models.get("keyword"), ("fp61",))


def test_uploads_are_bounded_and_never_named_from_outside(lab: ServiceLab) -> None:
    from muster_controller.service.uploads import Uploads

    small = Uploads(lab.folder / "small", max_bytes=4)
    with pytest.raises(InvalidInputError, match="at most 4"), small.receive() as receiving:
        receiving.write(b"12345")
    with pytest.raises(InvalidInputError, match="0 bytes"), small.receive():
        pass
    assert list((lab.folder / "small").iterdir()) == []
    for name in ("../identity/ca.key", "upload-0000000000", ""):
        with pytest.raises(NotFoundError):
            small.path(name)


def test_a_full_disk_refuses_an_upload_and_leaves_nothing(lab: ServiceLab) -> None:
    with pytest.raises(TemporaryError, match="No space left"), lab.service.uploads.receive():
        raise OSError(28, os.strerror(28))
    assert list((lab.folder / "uploads").iterdir()) == []


def test_what_ran_when_the_controller_died_is_interrupted(lab: ServiceLab) -> None:
    left = Operation("op-1", "compress", "kws:1", OperationState.RUNNING, 0.4, "", "", lab.clock.now_ns())
    lab.store.put_operation(left)
    lab.service.operations.recover()
    assert lab.service.operations.get("op-1").state is OperationState.INTERRUPTED


def age(lab: ServiceLab) -> None:
    """Every artifact was put long ago."""
    for sha256 in lab.artifacts.iter_sha256s():
        os.utime(lab.artifacts.path(sha256), (1, 1))


def test_garbage_is_what_nothing_names(lab: ServiceLab) -> None:
    lab.add_model()
    stray = lab.folder / "stray"
    stray.write_bytes(b"left behind")
    sha256, _ = lab.artifacts.put(stray)
    kept = set(lab.artifacts.iter_sha256s()) - {sha256}
    assert lab.service.collect_garbage() == (), "it may be on its way to the shelf"
    age(lab)
    assert lab.service.collect_garbage() == (sha256,)
    assert set(lab.artifacts.iter_sha256s()) == kept


def test_a_removed_model_leaves_the_devices_and_its_artifacts_are_freed(lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_model()
    model = lab.service.models.get("kws")
    lab.service.pushes.push(model, lab.service.models.kept(model), [lab.service.devices.get("pi")])
    session = lab.open_session("pi")
    held = session.wait_desired()
    assert held.models
    lab.service.remove_model("kws")
    assert session.wait_desired(above=held.version).models == ()
    age(lab)
    assert lab.service.collect_garbage()
    assert list(lab.artifacts.iter_sha256s()) == []


@pytest.mark.parametrize(
    ("model_id", "cpu_ratio", "phases"),
    [
        ("", 0.0, (LoadPhase(1.0, 1000),)),
        ("kws", 1.5, (LoadPhase(1.0, 1000),)),
        ("kws", 0.0, ()),
        ("kws", 0.0, (LoadPhase(-1.0, 1000),)),
        ("kws", 0.0, (LoadPhase(float("nan"), 1000),)),
        ("kws", 0.0, (LoadPhase(1.0, 0),)),
        ("kws", 0.0, (LoadPhase(1.0, 1000, 4),)),
        ("kws", 0.0, (LoadPhase(0.0, 1000, 65),)),
        ("kws", 0.0, (LoadPhase(1.0, 10**9),)),
    ],
)
def test_a_senseless_load_is_refused(
    lab: ServiceLab, model_id: str, cpu_ratio: float, phases: tuple[LoadPhase, ...]
) -> None:
    from muster_controller.service.loads import LoadOrder

    device = lab.add_device("pi")
    with pytest.raises(InvalidInputError):
        lab.service.loads.start(device, LoadOrder(model_id, phases, cpu_ratio))


def test_a_load_that_never_reports_is_closed(lab: ServiceLab) -> None:
    from muster_controller.service.loads import LoadOrder

    device = lab.add_device("pi")
    load = lab.service.loads.start(device, LoadOrder(cpu_ratio=0.5, phases=(LoadPhase(0.0, 1000),)))
    lab.clock.advance(3600)
    lab.service.tick()
    assert "in time" in lab.service.loads.get(load.load_id).reason


def test_a_model_that_a_device_serves_cannot_be_removed(lab: ServiceLab) -> None:
    from muster_controller.service.bench import RunOrder
    from muster_controller.service.rollout import RolloutOrder

    lab.add_device("pi")
    lab.add_model()
    session = lab.open_session("pi")
    model = lab.service.models.get("kws")
    (device,) = lab.service.devices.every()
    run = lab.service.bench.start(model, lab.service.models.kept(model, ("fp32",)), [device], RunOrder(threads=(1,)))
    lab.answer(session, lab.service.bench.requests(run.run_id)[0])
    policy = "constraints: {p95_ms: {max: 100}}\nobjective: accuracy\n"
    lab.service.rollouts.start(model, [device], RolloutOrder(policy))
    with pytest.raises(ConflictError):
        lab.service.remove_model("kws")


def test_a_variant_of_somebodys_own_run_says_what_it_was_made_from(lab: ServiceLab) -> None:
    lab.add_model()
    add = lab.service.models.add_variant
    finished(lab, add("kws", "pruned", upload(lab, b"pruned"), origin=Origin(recipe="edge")))
    finished(lab, add("kws", "small", upload(lab, b"small"), origin=Origin("pruned", "edge")))
    made = {item.manifest.name: item.manifest for item in lab.service.models.variants(lab.service.models.get("kws"))}
    assert (made["pruned"].parent_variant_id, made["pruned"].recipe) == ("kws.v1.fp32", "edge")
    assert (made["small"].parent_variant_id, made["small"].recipe) == ("kws.v1.pruned", "edge")
    with pytest.raises(NotFoundError, match=r'"prunde".*pruned'):
        add("kws", "other", upload(lab, b"other"), origin=Origin("prunde", "edge"))

import threading

import numpy as np
import pytest

from muster_bench.golden import self_test
from muster_compression.face import open_face
from muster_compression.import_model import import_model
from muster_compression.judge import judge
from muster_compression.process import ChildError, Limits
from muster_protos.errors import InvalidInputError, NotFoundError


def test_an_imported_model_has_a_complete_manifest(model_path, data_path, tmp_path):
    seen = []
    model = import_model(
        str(model_path), "kws", 3, str(data_path), tmp_path, lambda ratio, note: seen.append((ratio, note))
    )
    manifest = model.manifest
    assert manifest.variant_id == "kws.v3.fp32"
    assert manifest.accuracy.value == 1.0
    assert manifest.accuracy.ci_low < 1.0
    assert manifest.accuracy.agreement == 1.0
    assert (manifest.precision, manifest.opset, manifest.params) == ("fp32", 17, 8 * 27 + 288 * 5)
    assert manifest.macs == 8 * 36 * 27 + 288 * 5
    assert 0 < manifest.transit_bytes <= manifest.artifact.size_bytes
    assert all((manifest.golden, manifest.evaluation, manifest.calibration))
    assert model.signature.layout == "NCHW"
    assert (model.signature.task, model.signature.metric) == ("classification", "accuracy")
    assert model.is_labelled
    assert all(path.is_file() for path in model.files)
    assert model.artifact_path.read_bytes() == model_path.read_bytes()
    assert [ratio for ratio, _ in seen] == sorted(ratio for ratio, _ in seen)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in model.files)


def test_golden_answers_pass_here_and_fail_on_a_damaged_model(model_path, data_path, tmp_path):
    import onnx
    from onnx import numpy_helper

    model = import_model(str(model_path), "m", 1, str(data_path), tmp_path)
    manifest = model.manifest

    def test(path):
        face = open_face(path, manifest.format, manifest.signature, manifest.binding)
        return self_test(face, model.golden_path, manifest.golden_max_abs_error)

    assert test(model.artifact_path) <= manifest.golden_max_abs_error
    damaged = onnx.load(str(model.artifact_path))
    weights = numpy_helper.to_array(damaged.graph.initializer[1]).copy()
    weights[:40] *= -1
    damaged.graph.initializer[1].CopyFrom(numpy_helper.from_array(weights, "g"))
    onnx.save(damaged, str(tmp_path / "damaged.onnx"))
    with pytest.raises(Exception, match="golden"):
        test(tmp_path / "damaged.onnx")


def test_corrupting_one_label_changes_the_measured_accuracy(model_path, data_path, tmp_path):
    model = import_model(str(model_path), "m", 1, str(data_path), tmp_path)
    manifest = model.manifest
    with np.load(model.evaluation_path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["y"][5] = (arrays["y"][5] + 1) % 5
    np.savez(tmp_path / "corrupted.npz", **arrays)

    def accuracy(path):
        judgement = judge(
            model.artifact_path, manifest.format, manifest.signature, manifest.binding, path, "fp32", lambda *_: None
        )
        return judgement.accuracy.value

    count = len(arrays["y"])
    assert accuracy(model.evaluation_path) == 1.0
    assert accuracy(tmp_path / "corrupted.npz") == pytest.approx((count - 1) / count)


def test_without_data_only_agreement_is_known(model_path, tmp_path):
    model = import_model(str(model_path), "m", 1, "", tmp_path)
    assert not model.is_labelled
    assert model.signature.metric == ""
    assert model.manifest.accuracy.value is None
    assert model.manifest.accuracy.unavailable_reason == "no labels"
    assert model.manifest.accuracy.agreement == 1.0
    assert model.calibration_path is None
    assert any("generated" in note for note in model.notes)


def test_a_metric_without_labels_is_refused(model_path, tmp_path):
    with pytest.raises(InvalidInputError, match="y_val"):
        import_model(str(model_path), "m", 1, "", tmp_path, metric="accuracy")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y_val": np.full(64, 7)}, "only \\[7\\]"),
        ({"y_val": np.arange(64)}, "labels 0 to 4"),
        ({"x_val": np.zeros((64, 3, 9, 9), np.float32)}, r"\[3, 12, 12\].*\[3, 9, 9\]"),
    ],
)
def test_data_that_cannot_belong_to_the_model_are_refused(model_path, arrays, tmp_path, change, words):
    np.savez(tmp_path / "data.npz", **{**arrays, **change})
    with pytest.raises(InvalidInputError, match=words):
        import_model(str(model_path), "m", 1, str(tmp_path / "data.npz"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_model_is_refused_by_the_check(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"this is no model" * 100)
    with pytest.raises(InvalidInputError, match=r"model\.onnx: (rejected|unsupported)"):
        import_model(str(tmp_path / "model.onnx"), "m", 1, "", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_there_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        import_model(str(tmp_path / "none.onnx"), "m", 1, "", tmp_path / "out")


def test_two_imports_give_the_same_bytes(model_path, data_path, tmp_path):
    first = import_model(str(model_path), "m", 1, str(data_path), tmp_path / "a").manifest
    second = import_model(str(model_path), "m", 1, str(data_path), tmp_path / "b").manifest
    for field in ("artifact", "golden", "evaluation", "calibration", "accuracy", "golden_max_abs_error"):
        assert getattr(first, field) == getattr(second, field)


def test_a_stop_ends_the_child_and_leaves_nothing(tmp_path):
    (tmp_path / "net.py").write_text("import time\ndef make():\n    time.sleep(600)\n")
    stop = threading.Event()

    def on_progress(ratio: float, note: str) -> None:
        if "net.py:make" in note:
            stop.set()

    with pytest.raises(InterruptedError):
        import_model(f"{tmp_path}/net.py:make", "m", 1, "", tmp_path / "out", on_progress, stop=stop)
    assert not (tmp_path / "out").exists()


def test_a_crash_is_named_with_its_signal(tmp_path):
    (tmp_path / "net.py").write_text("import os, signal\ndef make():\n    os.kill(os.getpid(), signal.SIGSEGV)\n")
    with pytest.raises(ChildError, match="SIGSEGV"):
        import_model(f"{tmp_path}/net.py:make", "m", 1, "", tmp_path / "out")


def test_a_child_that_takes_too_long_is_ended(tmp_path):
    (tmp_path / "net.py").write_text("import time\ndef make():\n    time.sleep(600)\n")
    with pytest.raises(ChildError, match="longer than 4 s"):
        import_model(f"{tmp_path}/net.py:make", "m", 1, "", tmp_path / "out", limits=Limits(wall_s=4.0))

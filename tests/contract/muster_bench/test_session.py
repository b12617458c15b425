"""One contract over every runtime: each opens the null model and a small one of its own format."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from muster_bench.errors import ModelLoadError
from muster_bench.null_model import null_artifact, null_bytes
from muster_bench.runtimes import open_session
from muster_bench.runtimes.session_litert import import_interpreter
from muster_protos.errors import InvalidInputError
from muster_protos.model import Format

RUNTIMES = [
    ("onnxruntime", "cpu", Format.ONNX),
    ("litert", "cpu", Format.TFLITE),
    ("litert", "xnnpack", Format.TFLITE),
]


@pytest.mark.parametrize(("runtime", "provider", "kind"), RUNTIMES)
class TestSession:
    def open(self, runtime, provider, kind, threads=1):
        with null_artifact(kind) as path:
            return open_session(path, kind, runtime, provider, threads)

    def test_names_dtypes_and_shapes_are_told(self, runtime, provider, kind):
        session = self.open(runtime, provider, kind)
        assert [(spec.name, spec.dtype, spec.shape) for spec in session.inputs] == [("x", "float32", (1,))]
        assert [(spec.name, spec.dtype, spec.shape) for spec in session.outputs] == [("y", "float32", (1,))]
        assert session.runtime_version[0].isdigit()
        assert session.quantization == {}

    def test_outputs_of_a_run_are_the_callers_own(self, runtime, provider, kind):
        session = self.open(runtime, provider, kind)
        first = session.run({"x": np.array([3], np.float32)})
        second = session.run({"x": np.array([-3], np.float32)})
        assert (first["y"].tolist(), second["y"].tolist()) == ([3.0], [0.0])

    def test_a_bound_query_reads_its_memory_at_every_run(self, runtime, provider, kind):
        session = self.open(runtime, provider, kind, threads=2)
        x = np.array([1], np.float32)
        query = session.bind({"x": x})
        query.run()
        outputs = query.outputs["y"]
        assert outputs.tolist() == [1.0]
        x[0] = 5
        query.run()
        assert query.outputs["y"] is outputs
        assert outputs.tolist() == [5.0]

    def test_bound_queries_live_beside_each_other(self, runtime, provider, kind):
        session = self.open(runtime, provider, kind)
        queries = [session.bind({"x": np.array([value], np.float32)}) for value in (1, 2, -1)]
        for query in queries:
            query.run()
        assert [query.outputs["y"].tolist() for query in queries] == [[1.0], [2.0], [0.0]]

    def test_wrong_feeds_are_one_error(self, runtime, provider, kind):
        session = self.open(runtime, provider, kind)
        with pytest.raises(ModelLoadError) as caught:
            session.run({"x": np.zeros((2, 3, 4), np.float32)})
        assert "\n" not in str(caught.value)

    def test_broken_files_are_one_error(self, runtime, provider, kind, tmp_path):
        path = tmp_path / "broken"
        path.write_bytes(null_bytes(kind)[:20] + b"\xff" * 40)
        with pytest.raises(ModelLoadError, match=runtime):
            open_session(path, kind, runtime, provider, 1)

    def test_unknown_providers_other_formats_and_no_threads_are_refused(self, runtime, provider, kind):
        with pytest.raises(InvalidInputError, match="provider"):
            self.open(runtime, "abacus", kind)
        with pytest.raises(InvalidInputError, match="thread"):
            self.open(runtime, provider, kind, threads=0)
        other = Format.TFLITE if kind is Format.ONNX else Format.ONNX
        with pytest.raises(InvalidInputError, match="does not execute"), null_artifact(other) as path:
            open_session(path, other, runtime, provider, 1)


def test_an_unknown_runtime_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="expected the runtime"):
        open_session(tmp_path / "x", Format.ONNX, "abacus", "cpu", 1)


def saved(tmp_path, nodes, inputs, outputs, weights=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    path = tmp_path / "model.onnx"
    opset = helper.make_opsetid("", 17)
    path.write_bytes(helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())
    return open_session(path, Format.ONNX, "onnxruntime", "cpu", 1)


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def test_onnx_free_dimensions_keep_their_names_and_take_any_size(tmp_path):
    weight = numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    session = saved(tmp_path, [node], [value("x", ["batch", 3])], [value("y", ["batch", 3])], [weight])
    assert (session.inputs[0].shape, session.inputs[0].dim_names) == ((-1, 3), ("batch", ""))
    query = session.bind({"x": np.ones((5, 3), np.float32)})
    query.run()
    assert query.outputs["y"].shape == (5, 3)


def test_onnx_outputs_whose_size_depends_on_values_are_not_preallocated(tmp_path):
    node = helper.make_node("NonZero", ["x"], ["y"])
    session = saved(tmp_path, [node], [value("x", [4])], [value("y", [1, "n"], TensorProto.INT64)])
    x = np.array([1, 0, 1, 0], np.float32)
    query = session.bind({"x": x})
    query.run()
    assert query.outputs["y"].tolist() == [[0, 2]]
    x[:] = 1
    query.run()
    assert query.outputs["y"].tolist() == [[0, 1, 2, 3]]


def test_onnx_reaches_for_no_file_beside_it(tmp_path):
    (tmp_path / "w.bin").write_bytes(np.eye(3, dtype=np.float32).tobytes())
    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 3], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="w.bin")
    with pytest.raises(ModelLoadError):
        saved(
            tmp_path,
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            [value("x", [1, 3])],
            [value("y", [1, 3])],
            [outside],
        )


def test_litert_is_the_package_that_is_installed():
    module, version = import_interpreter()
    assert module.__name__ in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
    assert version

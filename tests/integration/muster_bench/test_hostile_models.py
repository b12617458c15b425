"""Files that a stranger might hand in. Each is judged within 15 s, by a child, and nothing of it ever runs here."""

import os
import pickle
import time
import zipfile

import numpy as np
import pytest
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper

from muster_bench.check import Verdict, check_model
from muster_bench.limits import ChildLimits
from muster_bench.null_model import null_bytes
from muster_protos.errors import NotFoundError
from muster_protos.model import Format, TensorSpec

WEIGHT = np.eye(4, dtype=np.float32)


def assert_rejected(path, *words, verdict=Verdict.REJECTED):
    started = time.monotonic()
    found = check_model(path)
    assert time.monotonic() - started < 15
    assert found.verdict is verdict, found
    assert "\n" not in found.reason
    for word in words:
        assert word in found.reason
    return found


def test_a_good_onnx_file_is_accepted_with_its_facts(classifier):
    found = check_model(classifier)
    assert (found.verdict, found.format, found.reason, found.precision) == ("accepted", "onnx", "", "fp32")
    assert found.inputs == (TensorSpec("x", "float32", (-1, 4), ("batch", "")),)
    assert found.outputs == (TensorSpec("y", "float32", (-1, 4), ("batch", "")),)


def test_a_good_tflite_file_is_accepted_whatever_its_suffix(save_tflite):
    found = check_model(save_tflite(name="model.onnx"))
    assert (found.verdict, found.format, found.precision) == ("accepted", "tflite", "fp32")
    assert found.inputs == (TensorSpec("t0", "float32", (1, 4)),)


def test_a_fully_convolutional_net_is_tried_at_larger_sizes(save_onnx):
    kernel = np.ones((1, 3, 7, 7), np.float32)
    path = save_onnx(
        [("Conv", ["x", "k"], ["y"])],
        {"x": ["n", 3, "h", "w"]},
        {"y": ["n", 1, "h2", "w2"]},
        {"k": kernel},
    )
    assert check_model(path).verdict is Verdict.ACCEPTED


def test_truncated_files(classifier, save_tflite):
    classifier.write_bytes(classifier.read_bytes()[:-40])
    assert_rejected(classifier, "truncated")
    tflite = save_tflite()
    tflite.write_bytes(tflite.read_bytes()[:-100])
    assert_rejected(tflite)


def test_empty_and_random_files(tmp_path):
    (tmp_path / "empty.onnx").write_bytes(b"")
    assert_rejected(tmp_path / "empty.onnx", "empty")
    (tmp_path / "random.onnx").write_bytes(np.random.default_rng(5).bytes(4096))
    assert assert_rejected(tmp_path / "random.onnx", "neither").format == "unknown"


def test_a_folder_is_rejected_and_nothing_is_not_found(tmp_path):
    assert_rejected(tmp_path, "folder")
    with pytest.raises(NotFoundError):
        check_model(tmp_path / "nowhere.onnx")


class Bomb:
    """Unpickling it leaves a trace."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_pickles_and_pytorch_archives_are_named_and_never_unpickled(tmp_path):
    trace = tmp_path / "executed"
    (tmp_path / "model.onnx").write_bytes(pickle.dumps(Bomb(trace)))
    raw = assert_rejected(tmp_path / "model.onnx", "pickle", "torch.onnx.export", verdict=Verdict.UNSUPPORTED)
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(Bomb(trace)))
    packed = assert_rejected(tmp_path / "model.pt", "PyTorch", "torch.onnx.export", verdict=Verdict.UNSUPPORTED)
    assert (raw.format, packed.format) == ("pickle", "pytorch")
    assert not trace.exists()


@pytest.mark.parametrize("location", ["w.bin", "../../../etc/passwd", "/etc/passwd"])
def test_external_data(save_onnx, location):
    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 4], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value=location)
    path = save_onnx([("MatMul", ["x", "w"], ["y"])], weights={"w": outside})
    (path.parent / "w.bin").write_bytes(WEIGHT.tobytes())
    assert_rejected(path, "another file", location)


@pytest.mark.parametrize("shape", [[1, -4], [1, 2**40], [2**40, 2**40]])
def test_impossible_dimensions(save_onnx, shape):
    assert_rejected(save_onnx([("Relu", ["x"], ["y"])], {"x": shape}, {"y": shape}))


def test_cycles_and_duplicate_outputs(save_onnx):
    assert_rejected(save_onnx([("Add", ["x", "y"], ["a"]), ("Relu", ["a"], ["y"])]), "cycle")
    assert_rejected(save_onnx([("Relu", ["x"], ["y"]), ("Sigmoid", ["x"], ["y"])]), "two operators")


def test_unknown_operators_and_custom_domains(save_onnx):
    assert_rejected(save_onnx([("Frobnicate", ["x"], ["y"])]), "Frobnicate")
    custom = helper.make_node("Op", ["x"], ["y"], domain="evil.example")
    assert_rejected(save_onnx([custom], domains=["evil.example"]), "evil.example.Op")


def test_a_constant_of_4_tib(save_onnx):
    nodes = [
        ("ConstantOfShape", ["s"], ["c"]),
        helper.make_node("ReduceSum", ["c"], ["r"], keepdims=0),
        ("Add", ["x", "r"], ["y"]),
    ]
    assert_rejected(save_onnx(nodes, weights={"s": np.array([1 << 20, 1 << 20], np.int64)}), "alloc")


def test_a_model_that_takes_more_memory_than_it_may(save_onnx):
    nodes = [
        ("ConstantOfShape", ["s"], ["c"]),
        helper.make_node("ReduceMax", ["c"], ["r"], keepdims=0),
        ("Add", ["x", "r"], ["y"]),
    ]
    path = save_onnx(nodes, weights={"s": np.array([1 << 20, 1 << 9], np.int64)})  # 2 GiB of floats
    found = check_model(path, ChildLimits(memory_bytes=1 << 30))
    assert found.verdict is Verdict.REJECTED
    assert "alloc" in found.reason


def test_a_loop_without_end_is_killed(save_onnx):
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Add", ["v", "one"], ["v2"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1, 4]),
        ],
        [
            helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", TensorProto.FLOAT, [1, 4]),
        ],
        [numpy_helper.from_array(np.ones((1, 4), np.float32), "one")],
    )
    loop = helper.make_node("Loop", ["n", "c0", "x"], ["y"], body=body)
    path = save_onnx([loop], weights={"n": np.array(2**62, np.int64), "c0": np.array(True)})
    started = time.monotonic()
    found = check_model(path, ChildLimits(wall_s=4.0))
    assert time.monotonic() - started < 6
    assert found.verdict is Verdict.REJECTED
    assert "did not end within 4 s (while making the first inference) and was killed" in found.reason


def test_deeply_nested_subgraphs(save_onnx):
    def identity(name):
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4])
        return GraphProto(name=name, node=[helper.make_node("Identity", ["x"], [name])], output=[output])

    def branch(inner, depth):
        node = NodeProto(op_type="If", input=["c"], output=[f"z{depth}"])
        for name, graph in (("then_branch", inner), ("else_branch", identity(f"e{depth}"))):
            node.attribute.append(AttributeProto(name=name, type=AttributeProto.GRAPH, g=graph))
        output = helper.make_tensor_value_info(f"z{depth}", TensorProto.FLOAT, [1, 4])
        return GraphProto(name=f"g{depth}", node=[node], output=[output])

    graph = identity("z0")
    for depth in range(1, 20):
        graph = branch(graph, depth)
    path = save_onnx(list(graph.node), outputs={"z19": [1, 4]}, weights={"c": np.array(True)})
    assert_rejected(path, "nest deeper than 16 levels")


def test_outputs_that_are_nan_or_have_another_shape(save_onnx):
    nodes = [("Neg", ["x"], ["n"]), ("Sqrt", ["n"], ["y"])]
    assert_rejected(save_onnx(nodes), "NaN")
    lying = save_onnx([("MatMul", ["x", "w"], ["y"])], outputs={"y": [1, 7]}, weights={"w": WEIGHT})
    assert_rejected(lying, "[1, 7]", "[1, 4]")


def test_models_without_inputs(save_onnx):
    assert_rejected(
        save_onnx([("Relu", ["w"], ["y"])], inputs={}, outputs={"y": [4, 4]}, weights={"w": WEIGHT}), "no inputs"
    )


def test_a_tflite_file_that_crashes_the_runtime_is_reported_by_its_signal(save_tflite):
    found = assert_rejected(save_tflite([(-1, 1)]))
    # ai-edge-litert 2.3 dies of it, older ones notice
    assert "killed by SIGSEGV while loading the model" in found.reason or "was expected" in found.reason
    assert (found.format, found.precision) == ("tflite", "fp32")


def test_a_tflite_file_with_wrong_indices(save_tflite):
    assert_rejected(save_tflite(outputs=(77,)), "the tensor 77 of 2")


@pytest.mark.parametrize("seed", range(6))
def test_a_tflite_file_with_flipped_bits_never_harms_the_caller(tmp_path, seed):
    random = np.random.default_rng(seed)
    content = bytearray(null_bytes(Format.TFLITE))
    for position in random.integers(8, len(content), 12):
        content[position] ^= 1 << int(random.integers(0, 8))
    path = tmp_path / "flipped.tflite"
    path.write_bytes(bytes(content))
    assert check_model(path).verdict in set(Verdict)  # whatever it is, it is a verdict


def test_an_operator_that_is_not_implemented_here_is_unsupported(save_onnx):
    def values(name):
        return helper.make_tensor_value_info(name, TensorProto.UINT16, [4])

    node = helper.make_node("BitShift", ["x", "x"], ["y"], direction="LEFT")
    path = save_onnx([node], {"x": values("x")}, {"y": values("y")})
    assert_rejected(path, "BitShift", verdict=Verdict.UNSUPPORTED)


def test_an_opset_of_the_future_is_unsupported(save_onnx):
    assert_rejected(save_onnx([("Relu", ["x"], ["y"])], opset=99), "99", verdict=Verdict.UNSUPPORTED)

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from muster_bench.errors import HostileArtifactError
from muster_bench.files.tflite_reader import read_tflite
from muster_bench.files.tflite_rules import check_tflite, tflite_precision
from muster_bench.null_model import null_bytes
from muster_protos.model import Format

FLOAT, INT8, INT32 = schema.TensorType.FLOAT32, schema.TensorType.INT8, schema.TensorType.INT32


def tensor(shape=(4, 4), kind=FLOAT, buffer=0, name=b"t"):
    made = schema.TensorT()
    made.shape, made.type, made.buffer, made.name = list(shape), kind, buffer, name
    return made


def tflite(tensors, operators, inputs=(0,), outputs=(1,), buffers=(), version=3):
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = list(tensors), list(inputs), list(outputs), []
    for code, ins, outs in operators:
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = code, list(ins), list(outs)
        graph.operators.append(operator)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RELU
    model = schema.ModelT()
    model.version, model.subgraphs, model.operatorCodes, model.buffers = version, [graph], [code], [schema.BufferT()]
    for content in buffers:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        model.buffers.append(buffer)
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return read_tflite(memoryview(bytes(builder.Output())))


def relu(**kind):
    return tflite([tensor(), tensor()], [(0, [0], [1])], **kind)


def test_an_honest_model_passes():
    check_tflite(relu())
    check_tflite(read_tflite(memoryview(null_bytes(Format.TFLITE))))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: relu(version=2), "schema version 3, found 2"),
        (lambda: relu(inputs=()), "no inputs"),
        (lambda: relu(outputs=()), "no outputs"),
        (lambda: relu(inputs=(7,)), "an input is the tensor 7 of 2"),
        (lambda: relu(outputs=(-1,)), "an output is the tensor -1 of 2"),
        (lambda: tflite([tensor(), tensor()], [(0, [9], [1])]), "operator's input is the tensor 9"),
        (lambda: tflite([tensor(), tensor()], [(0, [-2], [1])]), "operator's input is the tensor -2"),
        (lambda: tflite([tensor(), tensor()], [(5, [0], [1])]), "code 5 of 1"),
        (lambda: tflite([tensor(), tensor()], [(0, [0], [1]), (0, [0], [1])]), "two operators produce"),
        (lambda: tflite([tensor(), tensor()], [(0, [1], [1])]), "takes its own output"),
        (lambda: tflite([tensor()] * 3, [(0, [2], [1]), (0, [1], [2])]), "before it exists"),
        (lambda: tflite([tensor((-4, 4)), tensor()], [(0, [0], [1])]), "negative dimension"),
        (lambda: tflite([tensor((2**30, 2**30)), tensor()], [(0, [0], [1])]), "more than"),
        (lambda: tflite([tensor(buffer=3), tensor()], [(0, [0], [1])]), "buffer 3 of 1"),
        (lambda: tflite([tensor(buffer=1), tensor()], [(0, [0], [1])], buffers=[bytes(8)]), "holds 8 bytes"),
    ],
)
def test_models_with_wrong_indices_or_sizes_are_refused(build, message):
    with pytest.raises(HostileArtifactError, match=message):
        check_tflite(build())


@given(st.integers(0, len(null_bytes(Format.TFLITE)) - 1), st.integers(0, 255))
def test_a_flipped_byte_is_read_or_refused_but_never_crashes(position, byte):
    content = bytearray(null_bytes(Format.TFLITE))
    content[position] = byte
    try:
        check_tflite(read_tflite(memoryview(bytes(content))))
    except HostileArtifactError:
        return


@given(st.integers(0, len(null_bytes(Format.TFLITE)) - 1))
def test_every_truncation_is_refused_or_harmless(length):
    try:
        check_tflite(read_tflite(memoryview(null_bytes(Format.TFLITE)[:length])))
    except HostileArtifactError:
        return


def test_precision_is_that_of_the_buffers():
    weights = [tensor((16, 16), INT8, 1), tensor((4,), FLOAT, 2), tensor((100,), INT32, 3)]
    buffers = [bytes(256), bytes(16), bytes(400)]
    assert tflite_precision(tflite([tensor(), tensor(), *weights], [(0, [0], [1])], buffers=buffers)) == "int8"
    assert tflite_precision(relu()) == "fp32"

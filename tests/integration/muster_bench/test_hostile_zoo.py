"""Every way we know to make a model file hostile, in both formats: which verdict is right, and why.

All of them are judged once, two at a time, through ``check_model``; then each test looks at one verdict. Those whose
structure is fine go through a benchmark child as well, which must end with a reason that names what happened.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import time
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from muster_bench.binding import identity_binding
from muster_bench.check import CHECK_LIMITS, ModelCheck, Verdict, check_model
from muster_bench.errors import ChildError
from muster_bench.limits import ChildLimits
from muster_bench.measure import MeasureSpec, run_benchmark
from muster_bench.null_model import null_bytes
from muster_protos.model import (
    ArtifactRef,
    BenchmarkRequest,
    Configuration,
    DeviceFacts,
    Format,
    RecordState,
    Scenario,
    Signature,
    TensorSpec,
    Tier,
    VariantManifest,
)

LIMITS = ChildLimits(wall_s=4.0, memory_bytes=1536 << 20)
PROMISED_S = 15.0
REJECTED, UNSUPPORTED, ACCEPTED = Verdict.REJECTED, Verdict.UNSUPPORTED, Verdict.ACCEPTED
F32, I64 = TensorProto.FLOAT, TensorProto.INT64
NO_SANE_VERDICT = (ACCEPTED, REJECTED, UNSUPPORTED)


@dataclass(frozen=True)
class Case:
    """How a file is made, and what may be said of it."""

    build: Callable[[], bytes]
    why: str
    right: tuple[Verdict, ...] = (REJECTED,)
    says: str = ""  # in the reason; "" = any
    beside: Mapping[str, bytes] | None = None  # files in the same folder
    passes_structure: bool = False  # only running it tells


def value(name: str, shape: Any = (1, 4), kind: int = F32) -> Any:
    return helper.make_tensor_value_info(name, kind, None if shape is None else list(shape))


def node(kind: str, ins: list[str], outs: list[str], **attributes: Any) -> NodeProto:
    return helper.make_node(kind, ins, outs, **attributes)


def ints(name: str, *numbers: int) -> TensorProto:
    return numpy_helper.from_array(np.array(numbers, np.int64), name)


def onnx(
    nodes: list[NodeProto],
    inputs: Any = None,
    outputs: Any = None,
    weights: Any = (),
    functions: Any = (),
    opsets: Mapping[str, int] | None = None,
    ir_version: int = 8,
) -> bytes:
    graph = helper.make_graph(
        nodes, "g", [value("x")] if inputs is None else inputs, [value("y")] if outputs is None else outputs, weights
    )
    imports = [helper.make_opsetid(domain, number) for domain, number in (opsets or {"": 17}).items()]
    made = helper.make_model(graph, opset_imports=imports, ir_version=ir_version, functions=list(functions))
    content: bytes = made.SerializeToString()
    return content


def relu(**more: Any) -> bytes:
    return onnx([node("Relu", ["x"], ["y"])], **more)


def external(location: str) -> TensorProto:
    made = TensorProto(name="w", data_type=F32, dims=[4, 4], data_location=TensorProto.EXTERNAL)
    made.external_data.add(key="location", value=location)
    return made


def external_model(location: str) -> bytes:
    return onnx([node("MatMul", ["x", "w"], ["y"])], weights=[external(location)])


def external_in_function_default() -> bytes:
    body = helper.make_function(
        "own", "F", ["a"], ["b"], [node("Identity", ["a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    body.attribute_proto.append(AttributeProto(name="t", type=AttributeProto.TENSOR, t=external("../w.bin")))
    call = helper.make_node("F", ["x"], ["y"], domain="own")
    return onnx([call], functions=[body], opsets={"": 17, "own": 1})


def external_in_subgraph() -> bytes:
    branch = helper.make_graph([node("MatMul", ["x", "w"], ["z"])], "b", [], [value("z")], [external("/etc/passwd")])
    other = helper.make_graph([node("Identity", ["x"], ["z"])], "c", [], [value("z")])
    choice = node("If", ["c"], ["y"], then_branch=branch, else_branch=other)
    return onnx([choice], weights=[numpy_helper.from_array(np.array(False), "c")])


def huge_constant(kind: str) -> bytes:
    """Operators that make 4 TiB from a few bytes."""
    nodes = {
        "ConstantOfShape": [node("ConstantOfShape", ["s"], ["c"])],
        "Expand": [node("Expand", ["x0", "s"], ["c"])],
        "Tile": [node("Tile", ["x00", "s"], ["c"])],
    }[kind]
    nodes += [node("ReduceSum", ["c"], ["r"], keepdims=0), node("Add", ["x", "r"], ["y"])]
    if kind != "ConstantOfShape":  # of the input, or the runtime folds it at load
        nodes = [
            node("ReduceSum", ["x"], ["x0"], keepdims=0),
            node("Reshape", ["x0", "one_one"], ["x00"]),
            *nodes,
        ]
    return onnx(nodes, weights=[ints("s", 1 << 20, 1 << 20), ints("one_one", 1, 1)])


def endless_range() -> bytes:
    nodes = [
        node("Range", ["zero", "n", "one"], ["r"]),
        node("ReduceMax", ["r"], ["m"], keepdims=0),
        node("Cast", ["m"], ["f"], to=F32),
        node("Add", ["x", "f"], ["y"]),
    ]
    scalars = [numpy_helper.from_array(np.array(n, np.int64), k) for k, n in (("zero", 0), ("n", 2**62), ("one", 1))]
    return onnx(nodes, weights=scalars)


def loop(trips: int, *, is_growing: bool = False) -> bytes:
    step = node("Concat", ["v", "v"], ["v2"], axis=0) if is_growing else node("Add", ["v", "step"], ["v2"])
    shape = (None, 4) if is_growing else (1, 4)
    body = helper.make_graph(
        [node("Identity", ["c"], ["c2"]), step],
        "body",
        [value("i", (), I64), value("c", (), TensorProto.BOOL), value("v", shape)],
        [value("c2", (), TensorProto.BOOL), value("v2", shape)],
        [numpy_helper.from_array(np.ones((1, 4), np.float32), "step")],
    )
    nodes = [node("Loop", ["n", "c0", "x"], ["l"], body=body)]
    nodes += [node("ReduceMax", ["l"], ["y"], axes=[0], keepdims=1)]
    return onnx(
        nodes,
        weights=[
            numpy_helper.from_array(np.array(trips, np.int64), "n"),
            numpy_helper.from_array(np.array(True), "c0"),
        ],
    )


def nested(depth: int) -> bytes:
    graph = GraphProto(name="e", node=[node("Identity", ["x"], ["z0"])], output=[value("z0")])
    for level in range(1, depth):
        branch = NodeProto(op_type="If", input=["c"], output=[f"z{level}"])
        for name in ("then_branch", "else_branch") if level < 3 else ("then_branch",):
            branch.attribute.append(AttributeProto(name=name, type=AttributeProto.GRAPH, g=graph))
        graph = GraphProto(name=f"g{level}", node=[branch], output=[value(f"z{level}")])
    return onnx(
        list(graph.node), outputs=[value(f"z{depth - 1}")], weights=[numpy_helper.from_array(np.array(True), "c")]
    )


def nested_deep(depth: int) -> bytes:
    """By hand: the protobuf library writes no more than 100 levels."""

    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while size > 127:
            length += bytes([size & 127 | 128])
            size >>= 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    graph = helper.make_graph([node("Identity", ["x"], ["z"])], "g", [], [value("z")]).SerializeToString()
    for _ in range(depth):
        branch = field(1, b"then_branch") + field(6, graph)
        graph = field(1, field(4, b"If") + field(1, b"c") + field(2, b"z") + field(5, branch))
    return b"\x08\x08" + field(7, graph)


def laughs(levels: int) -> bytes:
    """Each function calls the one below it twice."""

    def function(level: int) -> Any:
        below = f"F{level - 1}" if level else "Neg"
        domain = "own" if level else ""
        calls = [
            helper.make_node(below, ["a"], ["m"], domain=domain),
            helper.make_node(below, ["m"], ["b"], domain=domain),
        ]
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        return helper.make_function("own", f"F{level}", ["a"], ["b"], calls, imports)

    call = helper.make_node(f"F{levels - 1}", ["x"], ["y"], domain="own")
    return onnx([call], functions=[function(n) for n in range(levels)], opsets={"": 17, "own": 1})


def self_call() -> bytes:
    body = helper.make_function(
        "own", "F", ["a"], ["b"], [helper.make_node("F", ["a"], ["b"], domain="own")], [helper.make_opsetid("own", 1)]
    )
    call = helper.make_node("F", ["x"], ["y"], domain="own")
    return onnx([call], functions=[body], opsets={"": 17, "own": 1})


def many_weights(count: int) -> bytes:
    weights = [numpy_helper.from_array(np.zeros(1, np.float32), f"w{n}") for n in range(count)]
    return onnx([node("Add", ["x", f"w{count - 1}"], ["y"])], weights=weights)


def many_branches(count: int) -> bytes:
    """Subgraphs in a long chain: their surroundings must not be copied for each."""
    branch = helper.make_graph([node("Identity", ["x"], ["z"])], "b", [], [value("z")])
    nodes = [node("If", ["c"], [f"y{n}"], then_branch=branch, else_branch=branch) for n in range(count)]
    nodes += [node("Sum", [f"y{n}" for n in range(count)], ["gone"]), node("Add", ["gone", "ghost"], ["y"])]
    return onnx(nodes, weights=[numpy_helper.from_array(np.array(True), "c")])


def lying_sparse() -> bytes:
    """A sparse weight whose one index lies far outside of it."""
    values = numpy_helper.from_array(np.array([1.0], np.float32), "w")
    sparse = helper.make_sparse_tensor(values, ints("i", 1 << 40), [4, 4])
    made = ModelProto.FromString(onnx([node("MatMul", ["x", "w"], ["y"])], weights=[ints("w", 1)]))
    del made.graph.initializer[:]
    made.graph.sparse_initializer.append(sparse)
    content: bytes = made.SerializeToString()
    return content


def raw_weight(dims: list[int], content: bytes = b"\0" * 64) -> bytes:
    weight = TensorProto(name="w", data_type=F32, dims=dims, raw_data=content)
    return onnx([node("MatMul", ["x", "w"], ["y"])], weights=[weight])


def zip_of(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


class Bomb:
    """Unpickling it ends the process."""

    def __reduce__(self) -> Any:
        return __import__("os")._exit, (66,)


def tflite(change: Callable[[Any], None] = lambda model: None, ident: bytes = b"TFL3") -> bytes:
    """x -> RELU -> y of (1, 4) floats, changed before it is packed."""
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [], []
    for name in (b"x", b"y"):
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer, tensor.name = [1, 4], schema.TensorType.FLOAT32, 0, name
        graph.tensors.append(tensor)
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [1]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RELU
    code.version = 1
    model = schema.ModelT()
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], [code], [schema.BufferT()]
    change(model)
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), ident)
    return bytes(builder.Output())


def tensor_change(**changed: Any) -> bytes:
    def change(model: Any) -> None:
        for name, found in changed.items():
            setattr(model.subgraphs[0].tensors[1], name, found)

    return tflite(change)


def graph_change(**changed: Any) -> bytes:
    def change(model: Any) -> None:
        for name, found in changed.items():
            setattr(model.subgraphs[0], name, found)

    return tflite(change)


def operator_change(**changed: Any) -> bytes:
    def change(model: Any) -> None:
        for name, found in changed.items():
            setattr(model.subgraphs[0].operators[0], name, found)

    return tflite(change)


def far_buffer() -> bytes:
    def change(model: Any) -> None:
        buffer = schema.BufferT()
        buffer.offset, buffer.size = 1 << 40, 64
        model.buffers.append(buffer)
        model.subgraphs[0].tensors[0].buffer = 1

    return tflite(change)


def small_buffer() -> bytes:
    def change(model: Any) -> None:
        buffer = schema.BufferT()
        buffer.data = np.zeros(3, np.uint8)
        model.buffers.append(buffer)
        model.subgraphs[0].tensors[0].buffer = 1

    return tflite(change)


def custom_operator() -> bytes:
    def change(model: Any) -> None:
        code = model.operatorCodes[0]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = b"Evil"

    return tflite(change)


def endless_while() -> bytes:
    """The body of the loop is the graph itself."""

    def change(model: Any) -> None:
        code = model.operatorCodes[0]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.WHILE
        options = schema.WhileOptionsT()
        options.condSubgraphIndex = options.bodySubgraphIndex = 0
        operator = model.subgraphs[0].operators[0]
        operator.builtinOptions, operator.builtinOptionsType = options, schema.BuiltinOptions.WhileOptions

    return tflite(change)


def shared_tables(count: int) -> bytes:
    """``count`` times the same subgraph of ``count`` times the same tensor; offsets point forwards, as they must."""

    def layout(*fields_at: int) -> bytes:
        return struct.pack(f"<{2 + len(fields_at)}H", 4 + 2 * len(fields_at), 4 + 4 * len(fields_at), *fields_at)

    def many(at: int, target: int) -> bytes:
        return struct.pack("<I", count) + b"".join(
            struct.pack("<I", target - (at + 4 + 4 * index)) for index in range(count)
        )

    model, graphs_at = 20, 36
    graph = graphs_at + 4 + 4 * count + 8
    tensors_at = graph + 8
    tensor = tensors_at + 4 + 4 * count + 8
    parts = (
        (0, struct.pack("<I", model) + b"TFL3"),
        (8, layout(4, 0, 8)),
        (model, struct.pack("<iII", model - 8, 3, graphs_at - (model + 8))),
        (graphs_at, many(graphs_at, graph)),
        (graph - 8, layout(4)),
        (graph, struct.pack("<iI", 8, tensors_at - (graph + 4))),
        (tensors_at, many(tensors_at, tensor)),
        (tensor - 8, layout(0)),
        (tensor, struct.pack("<iI", 8, 0)),
    )
    whole = bytearray(tensor + 8)
    for at, content in parts:
        whole[at : at + len(content)] = content
    return bytes(whole)


def poked(at: int, kind: str, number: int) -> bytes:
    content = bytearray(tflite())
    struct.pack_into(f"<{kind}", content, at, number)
    return bytes(content)


def root_poked(kind: str, number: int) -> bytes:
    """The root table's link to its layout."""
    return poked(struct.unpack_from("<I", tflite(), 0)[0], kind, number)


def flipped(seed: int) -> bytes:
    random = np.random.default_rng(seed)
    content = bytearray(null_bytes(Format.TFLITE))
    for position in random.integers(8, len(content), 12):
        content[position] ^= 1 << int(random.integers(0, 8))
    return bytes(content)


def many_inputs(count: int) -> bytes:
    names = [f"x{n}" for n in range(count)]
    return onnx([node("Sum", names, ["y"])], inputs=[value(name) for name in names])


DIVIDES = [node("Sub", ["x", "x"], ["z"]), node("Div", ["x", "z"], ["y"])]
ZOO: dict[str, Case] = {
    # ---- not a model at all ----
    "empty.onnx": Case(lambda: b"", "nothing in it", says="empty"),
    "one-byte.onnx": Case(lambda: b"\x08", "a tag without its value"),
    "random.onnx": Case(lambda: np.random.default_rng(5).bytes(4096), "noise", says="neither"),
    "random.tflite": Case(lambda: b"\x20\0\0\0TFL3" + np.random.default_rng(6).bytes(4096), "noise with the mark"),
    "portal.onnx": Case(lambda: b"<!DOCTYPE html><title>Log in</title>" * 40, "a captive portal", says="neither"),
    "pickle.onnx": Case(lambda: pickle.dumps(Bomb()), "never unpickled", (UNSUPPORTED,), "pickle"),
    "archive.pt": Case(lambda: zip_of("model/data.pkl", pickle.dumps(Bomb())), "as above", (UNSUPPORTED,), "PyTorch"),
    "bomb.zip": Case(lambda: zip_of("model.onnx", bytes(200 << 20)), "never unpacked", (UNSUPPORTED,), "zip"),
    "gzip.onnx": Case(lambda: gzip.compress(relu()), "never unpacked", says="neither"),
    # ---- cut off ----
    "cut-10.onnx": Case(lambda: relu()[: len(relu()) // 10], "cut off"),
    "cut-50.onnx": Case(lambda: relu()[: len(relu()) // 2], "cut off"),
    "cut-99.onnx": Case(lambda: relu()[:-1], "cut off", says="truncated"),
    "cut-50.tflite": Case(lambda: tflite()[: len(tflite()) // 2], "cut off"),
    "cut-90.tflite": Case(lambda: tflite()[: len(tflite()) * 9 // 10], "cut off"),
    # ---- data elsewhere ----
    "external-beside.onnx": Case(
        lambda: external_model("w.bin"), "no second file travels", says="another file", beside={"w.bin": bytes(64)}
    ),
    "external-above.onnx": Case(lambda: external_model("../../../etc/passwd"), "reads elsewhere", says="another file"),
    "external-absolute.onnx": Case(lambda: external_model("/etc/passwd"), "reads elsewhere", says="another file"),
    "external-symlink.onnx": Case(
        lambda: external_model("link.bin"), "a link out of the folder", says="another file", beside={"->link.bin": b""}
    ),
    "external-hard-link.onnx": Case(
        lambda: external_model("hard.bin"), "another's file", says="another file", beside={"=hard.bin": bytes(64)}
    ),
    "external-unnamed.onnx": Case(lambda: external_model(""), "even without a name", says="another file"),
    "external-in-subgraph.onnx": Case(external_in_subgraph, "hidden one level down", says="another file"),
    "external-in-function.onnx": Case(external_in_function_default, "hidden in a default", says="another file"),
    # ---- impossible sizes ----
    "dim-2-40.onnx": Case(lambda: relu(inputs=[value("x", (1, 2**40))], outputs=[value("y", (1, 2**40))]), "2^40"),
    "dims-overflow.onnx": Case(lambda: raw_weight([2**32, 2**32]), "2^64 wraps to 0 in 64 bits", says="values"),
    "dim-negative.onnx": Case(lambda: raw_weight([-4, -4]), "-4 x -4 is 16, too", says="negative"),
    "dims-many.onnx": Case(lambda: raw_weight([1] * 5_000 + [16]), "no tensor has 5,000 axes", says="dimensions"),
    "weight-too-short.onnx": Case(lambda: raw_weight([4096, 4096]), "the file lies about it", says="holds"),
    "weight-half.onnx": Case(lambda: raw_weight([4, 8]), "the runtime counts", passes_structure=True),
    "dim-zero.onnx": Case(lambda: relu(inputs=[value("x", (1, 0))]), "nothing can go in", says="dimension of 0"),
    "no-shape.onnx": Case(lambda: relu(inputs=[value("x", None)]), "no input can be made", says="declares no shape"),
    "sparse-index.onnx": Case(lying_sparse, "a wild write in a careless runtime", (REJECTED, UNSUPPORTED)),
    # ---- graphs that are none ----
    "cycle.onnx": Case(lambda: onnx([node("Add", ["x", "y"], ["a"]), node("Relu", ["a"], ["y"])]), "", says="cycle"),
    "self-cycle.onnx": Case(lambda: onnx([node("Add", ["x", "y"], ["y"])]), "", says="cycle"),
    "two-writers.onnx": Case(
        lambda: onnx([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])]), "which one counts?", says="two operators"
    ),
    "two-outputs.onnx": Case(lambda: relu(outputs=[value("y"), value("y")]), "one name, twice", says="same name"),
    "two-inputs.onnx": Case(lambda: relu(inputs=[value("x"), value("x")]), "one name, twice", says="same name"),
    "no-input.onnx": Case(
        lambda: onnx(
            [node("Relu", ["w"], ["y"])], inputs=[], weights=[numpy_helper.from_array(np.ones((1, 4), np.float32), "w")]
        ),
        "the runtime would run it",
        says="no inputs",
    ),
    "no-output.onnx": Case(lambda: relu(outputs=[]), "nothing comes out", says="no outputs"),
    "no-graph.onnx": Case(lambda: ModelProto(ir_version=8, producer_name="x").SerializeToString(), "", says="graph"),
    "from-nowhere.onnx": Case(lambda: onnx([node("Relu", ["ghost"], ["y"])]), "", says="nothing produces it"),
    "many-inputs.onnx": Case(lambda: many_inputs(20_000), "each is in every manifest", says="20000 inputs"),
    "unprintable-name.onnx": Case(
        lambda: onnx([node("Relu", ["x\u202e"], ["y"])], inputs=[value("x\u202e")]), "shown to people", says="shown"
    ),
    "endless-name.onnx": Case(
        lambda: onnx([node("Relu", ["x" * (1 << 20)], ["y"])], inputs=[value("x" * (1 << 20))]), "", says="shown"
    ),
    # ---- operators ----
    "unknown-op.onnx": Case(lambda: onnx([node("Frobnicate", ["x"], ["y"])]), "none such", says="Frobnicate"),
    "endless-op.onnx": Case(lambda: onnx([node("F" * (8 << 20), ["x"], ["y"])]), "8 MB of a name", says="F"),
    "custom-op.onnx": Case(
        lambda: onnx([helper.make_node("Op", ["x"], ["y"], domain="evil")], opsets={"": 17, "evil": 1}),
        "a library would be loaded",
        says="evil.Op",
    ),
    "extension-op.onnx": Case(
        lambda: onnx(
            [helper.make_node("PyOp", ["x"], ["y"], domain="ai.onnx.contrib")], opsets={"": 17, "ai.onnx.contrib": 1}
        ),
        "runs any Python",
        says="PyOp",
    ),
    "compiled.onnx": Case(
        lambda: onnx(
            [helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="../../lib.so")],
            opsets={"": 17, "com.microsoft": 1},
        ),
        "names a file of compiled code",
        says="EPContext",
    ),
    "future-opset.onnx": Case(lambda: relu(opsets={"": 99}), "not for this runtime", (UNSUPPORTED,), "99"),
    "future-ir.onnx": Case(lambda: relu(ir_version=999), "not for this runtime", (UNSUPPORTED, REJECTED)),
    "type-lie.onnx": Case(lambda: relu(outputs=[value("y", kind=I64)]), "float declared as int", passes_structure=True),
    "shape-lie.onnx": Case(lambda: relu(outputs=[value("y", (1, 7))]), "the runtime only warns", says="[1, 7]"),
    # ---- what only running it tells ----
    "constant-4-tib.onnx": Case(lambda: huge_constant("ConstantOfShape"), "4 TiB", passes_structure=True),
    "expand-4-tib.onnx": Case(lambda: huge_constant("Expand"), "4 TiB", passes_structure=True),
    "tile-4-tib.onnx": Case(lambda: huge_constant("Tile"), "4 TiB", passes_structure=True),
    "range-2-62.onnx": Case(endless_range, "more than there is memory", passes_structure=True),
    "loop-2-62.onnx": Case(lambda: loop(2**62), "never ends", says="killed", passes_structure=True),
    "loop-doubling.onnx": Case(lambda: loop(2**40, is_growing=True), "doubles until it dies", passes_structure=True),
    "nan.onnx": Case(
        lambda: onnx(
            [node("Sub", ["x", "one"], ["z"]), node("Sub", ["z", "one"], ["n"]), node("Sqrt", ["n"], ["y"])],
            weights=[numpy_helper.from_array(np.ones(1, np.float32), "one")],
        ),
        "no figure can be trusted",
        says="NaN",
    ),
    "infinite.onnx": Case(lambda: onnx(DIVIDES), "division by zero", says="NaN or infinity"),
    "symbolic.onnx": Case(
        lambda: relu(inputs=[value("x", ("a", "b"))], outputs=[value("y", ("a", "b"))]), "honest", (ACCEPTED,)
    ),
    "symbolic-lie.onnx": Case(
        lambda: onnx(
            [node("Concat", ["x", "x"], ["y"], axis=0)], inputs=[value("x", ("a", 4))], outputs=[value("y", ("a", 4))]
        ),
        "one name, two sizes",
        says="declared with shape",
    ),
    # ---- structures that explode ----
    "nested-19.onnx": Case(lambda: nested(19), "exponential to write out", says="nest deeper than 16"),
    "nested-400.onnx": Case(lambda: nested_deep(400), "a stack for each level", says="nest deeper than 16"),
    "function-self.onnx": Case(self_call, "never ends", says="calls itself"),
    "function-laughs.onnx": Case(lambda: laughs(40), "2^40 operators", says="written out"),
    "many-weights.onnx": Case(lambda: many_weights(20_000), "honest, if silly", (ACCEPTED,)),
    "many-branches.onnx": Case(lambda: many_branches(5_000), "read in linear time", says="ghost"),
    "endless-attribute.onnx": Case(
        lambda: onnx([node("Relu", ["x"], ["y"], comment="x" * (32 << 20))]),
        "not an attribute of it",
        passes_structure=True,
    ),
    "endless-comment.onnx": Case(lambda: relu() + b"\x32" + b"\x80\x80\x80\x10" + b"x" * (32 << 20), "", (ACCEPTED,)),
    # ---- TFLite ----
    "wrong-mark.tflite": Case(lambda: tflite(ident=b"TFL2"), "not the format", says="neither"),
    "version-2.tflite": Case(lambda: tflite(lambda model: setattr(model, "version", 2)), "", says="schema version"),
    "root-outside.tflite": Case(lambda: poked(0, "I", 0xFFFFFFF0), "a wild read", says="out of the file"),
    "layout-outside.tflite": Case(lambda: root_poked("i", -(2**30)), "a wild read", says="out of the file"),
    "layout-before.tflite": Case(lambda: root_poked("i", 2**30), "a wild read", says="out of the file"),
    "shared-tables.tflite": Case(lambda: shared_tables(20_000), "4 * 10^8 tensors in 160 kB", says="many times over"),
    "no-graphs.tflite": Case(lambda: tflite(lambda model: setattr(model, "subgraphs", [])), "", says="without a graph"),
    "no-inputs.tflite": Case(lambda: graph_change(inputs=[]), "", says="no inputs"),
    "no-outputs.tflite": Case(lambda: graph_change(outputs=[]), "", says="no outputs"),
    "input-index.tflite": Case(lambda: graph_change(inputs=[99]), "a wild read", says="tensor 99 of 2"),
    "output-index.tflite": Case(lambda: graph_change(outputs=[-7]), "a wild read", says="tensor -7 of 2"),
    "operator-index.tflite": Case(lambda: operator_change(inputs=[1 << 30]), "a wild read", says="tensor 1073741824"),
    "operator-code.tflite": Case(lambda: operator_change(opcodeIndex=9), "a wild read", says="code 9 of 1"),
    "own-output.tflite": Case(lambda: operator_change(inputs=[1]), "", says="cycle"),
    "buffer-index.tflite": Case(lambda: tensor_change(buffer=77), "a wild read", says="buffer 77"),
    "buffer-far.tflite": Case(far_buffer, "a wild read", says="beyond the end"),
    "buffer-small.tflite": Case(small_buffer, "a wild read", says="holds 3 bytes"),
    "dims-huge.tflite": Case(lambda: tensor_change(shape=[2**31 - 1, 2**31 - 1]), "", says="values"),
    "dim-negative.tflite": Case(lambda: tensor_change(shape=[1, -4]), "", says="negative"),
    "dims-many.tflite": Case(lambda: tensor_change(shape=[1] * 5_000), "", says="dimensions"),
    "type-none.tflite": Case(lambda: tensor_change(type=99), "no such type", (REJECTED, UNSUPPORTED)),
    "custom.tflite": Case(custom_operator, "a library would be loaded", (REJECTED, UNSUPPORTED)),
    "while-itself.tflite": Case(endless_while, "a stack without end", (REJECTED, UNSUPPORTED), passes_structure=True),
    **{
        f"flipped-{seed}.tflite": Case(lambda seed=seed: flipped(seed), "only the hash notices", NO_SANE_VERDICT)
        for seed in range(6)
    },
}


def write(folder: Path, name: str, case: Case) -> Path:
    """The file in a folder of its own, with what lies beside it: ``->`` a link out of it, ``=`` a hard link."""
    own = folder / name.replace(".", "-")
    own.mkdir()
    for beside, content in (case.beside or {}).items():
        if beside.startswith("->"):
            (own / beside[2:]).symlink_to("/etc/passwd")
        elif beside.startswith("="):
            (folder / f"outside-{name}").write_bytes(content)
            (own / beside[1:]).hardlink_to(folder / f"outside-{name}")
        else:
            (own / beside).write_bytes(content)
    path = own / name
    path.write_bytes(case.build())
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("zoo")
    return {name: write(folder, name, case) for name, case in ZOO.items()}


@pytest.fixture(scope="module")
def verdicts(files: dict[str, Path]) -> dict[str, tuple[ModelCheck, float]]:
    def judge(path: Path) -> tuple[ModelCheck, float]:
        started_s = time.monotonic()
        found = check_model(path, CHECK_LIMITS if ZOO[path.name].right == (ACCEPTED,) else LIMITS)
        return found, time.monotonic() - started_s

    with ThreadPoolExecutor(2) as threads:  # each is a child process
        return dict(zip(files, threads.map(judge, files.values()), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_the_verdict_is_the_right_one(name: str, verdicts: dict[str, tuple[ModelCheck, float]]) -> None:
    found, took_s = verdicts[name]
    case = ZOO[name]
    assert took_s < PROMISED_S
    assert found.verdict in case.right, f"{found} ({case.why})"
    assert case.says in found.reason
    assert bool(found.reason) == (found.verdict is not ACCEPTED)
    assert len(found.reason) < 1000
    assert "\n" not in found.reason


def test_the_zoo_has_both_formats_in_numbers() -> None:
    assert sum(name.endswith(".onnx") for name in ZOO) >= 40
    assert sum(name.endswith(".tflite") for name in ZOO) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, case in ZOO.items() if case.passes_structure])
def test_a_benchmark_child_ends_with_a_reason(name: str, files: dict[str, Path]) -> None:
    """A device that was pushed the file all the same: its child dies, the device does not, and the record says why."""
    path = files[name]
    content = path.read_bytes()
    is_onnx = name.endswith(".onnx")
    tensors = (TensorSpec("x", "float32", (1, 4)),), (TensorSpec("y", "float32", (1, 4)),)
    signature = Signature(*tensors)
    manifest = VariantManifest(
        variant_id="evil.v1.fp32",
        model_id="evil",
        model_version=1,
        name="fp32",
        artifact=ArtifactRef(hashlib.sha256(content).hexdigest(), len(content)),
        format=Format.ONNX if is_onnx else Format.TFLITE,
        signature=signature,
        binding=identity_binding(signature, *tensors),
    )
    runtime, provider = ("onnxruntime", "cpu") if is_onnx else ("litert", "xnnpack")
    request = BenchmarkRequest(
        "r1", 0, Configuration("evil.v1.fp32", runtime, provider, 1), Tier.DEMO, Scenario.SINGLE_STREAM
    )
    spec = MeasureSpec(path, manifest, request, device=DeviceFacts("d1"), agent_version="1")
    started_s = time.monotonic()
    try:
        record = run_benchmark(spec, LIMITS)
    except ChildError as error:
        reason = str(error)
    else:
        assert record.state is RecordState.INVALID
        reason = "; ".join(record.reasons)
    assert time.monotonic() - started_s < PROMISED_S
    assert len(reason) > 10
    assert len(reason) < 2000

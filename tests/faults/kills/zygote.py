"""A warm interpreter that forks agents and controllers: ``python zygote.py agent|controller``.

Each line on standard input starts one: ``{"argv": [...], "env": {...}, "log": PATH}``; the answer is its pid. The
forked process runs the very command that a user types; only the imports have been done before. Two things are
quicker than in real life, and neither is a durable step: an agent's runtimes are not proved at each start, and a
controller makes models from a seed in its own process instead of in a compression child.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import select
import signal
import sys
from pathlib import Path

WIDTH = 16


def weights(seed: int) -> list:
    import numpy as np

    source = np.random.default_rng(seed)
    shapes = ((64, WIDTH), (WIDTH, 4))
    return [(source.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32) for shape in shapes]


def answer(seed: int, rows):
    """What the model of ``seed`` says to ``rows``."""
    import numpy as np

    first, second = weights(seed)
    return np.maximum(rows @ first, 0) @ second


def model_bytes(seed: int, padding: int) -> bytes:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    first, second = weights(seed)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w0"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("MatMul", ["b", "w1"], ["y"]),
        ],
        "kills",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(first, "w0"), numpy_helper.from_array(second, "w1")],
        doc_string="".join(chr(97 + byte % 26) for byte in np.random.default_rng(seed).bytes(padding)),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(onnx.ModelProto.SerializeToString(model))


class SeedWorkshop:
    """``Workshop`` for sources that say ``seed <number> <padding bytes> <error of the goldens>``."""

    def import_model(self, order, out_folder: Path, on_progress, stop):
        made, signature = self._make(order.source, out_folder, order.model_id, order.version, "fp32", None)
        from muster_controller.service.workshop import MadeVariant, Product

        manifest, files = made
        return Product((MadeVariant(manifest),), files, signature, manifest.evaluation, is_labelled=True)

    def import_variant(self, order, out_folder: Path, on_progress, stop):
        parent = order.parent.manifest
        made, _ = self._make(order.source, out_folder, parent.model_id, parent.model_version, order.name, parent)
        from muster_controller.service.workshop import MadeVariant, Product

        manifest, files = made
        return Product((MadeVariant(manifest),), files)

    def compress(self, order, out_folder: Path, on_progress, stop):
        raise NotImplementedError

    def _make(self, source: Path, folder: Path, model_id: str, version: int, name: str, parent):
        import numpy as np

        from muster_bench.binding import identity_binding
        from muster_protos.ids import variant_id
        from muster_protos.model import Format, Signature, TensorSpec, VariantManifest

        _, seed, padding, error = source.read_text().split()
        inputs = (TensorSpec("x", "float32", (-1, 64), ("batch", "")),)
        outputs = (TensorSpec("y", "float32", (-1, 4), ("batch", "")),)
        signature = Signature(inputs, outputs, task="classification", metric="accuracy")
        rows = np.random.default_rng(7).standard_normal((16, 64)).astype(np.float32)
        said = answer(int(seed), rows)
        artifact = _file(folder, model_bytes(int(seed), int(padding)))
        golden = _file(folder, _npz(in_x=rows[:8], out_y=said[:8] + np.float32(error)))
        evaluation = _file(folder, _npz(x_x=rows, ref_y=said, y=said.argmax(1).astype(np.int64)))
        manifest = VariantManifest(
            variant_id=variant_id(model_id, version, name),
            model_id=model_id,
            model_version=version,
            name=name,
            parent_variant_id=parent.variant_id if parent else "",
            artifact=_ref(artifact),
            format=Format.ONNX,
            precision="fp32",
            signature=signature,
            binding=identity_binding(signature, inputs, outputs),
            golden=_ref(golden),
            golden_max_abs_error=1e-3,
            evaluation=_ref(evaluation),
        )
        return (manifest, (artifact, golden, evaluation)), signature


def _npz(**arrays) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _file(folder: Path, content: bytes) -> Path:
    path = folder / hashlib.sha256(content).hexdigest()
    path.write_bytes(content)
    return path


def _ref(path: Path):
    from muster_protos.model import ArtifactRef

    content = path.read_bytes()
    return ArtifactRef(hashlib.sha256(content).hexdigest(), len(content))


def warm(kind: str):
    """Import everything; returns what a forked process runs."""
    if kind == "agent":
        import muster_agent.adapters.link_grpc
        import muster_agent.cli.device_inventory as inventory
        import muster_agent.cli.run  # noqa: F401
        from muster_agent.cli.main import run_command
        from muster_protos.model import RuntimeSupport

        inventory._probe = lambda: (RuntimeSupport("onnxruntime", "1.31.1", ("cpu",), ("onnx",)),)
        return run_command
    import onnx
    import uvicorn  # noqa: F401

    import muster_controller.cli.controller as controller
    from muster_controller.adapters.store_sqlalchemy import transactions  # noqa: F401

    assert onnx.__version__
    controller.CompressionWorkshop = SeedWorkshop

    def run(argv: list[str]) -> int:
        folder, rest, grpc, join = argv
        ports = {"rest_port": int(rest), "grpc_port": int(grpc), "join_port": int(join)}
        return controller.run_controller(controller.UpOptions(Path(folder), has_device=False, **ports))

    return run


def child(run, order: dict) -> None:
    """In the forked process, until its end."""
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open("/dev/null", os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.update(order["env"])
    signal.set_wakeup_fd(-1)
    from muster_devices import failpoint

    failpoint.reread()
    code = 1
    try:
        code = run(order["argv"])
    except BaseException:  # noqa: BLE001 (the top of a process)
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    run = warm(sys.argv[1])
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([0], [], [], 0.2)
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                break
        if not ready:
            continue
        line = _line()
        if not line:
            return
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(run, order)
        print(pid, flush=True)


def _line() -> bytes:
    """Byte by byte: a buffered reader would hide the next line from select."""
    line = b""
    while (byte := os.read(0, 1)) and byte != b"\n":
        line += byte
    return line


if __name__ == "__main__":
    main()

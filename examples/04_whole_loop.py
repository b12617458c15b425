"""Add, compress, push, benchmark, select and roll out from Python.

muster up                              # in another terminal
python examples/04_whole_loop.py
"""

import tempfile
from pathlib import Path

import muster
from muster_compression.digits.build import build


def main() -> None:
    fleet = muster.connect()
    with tempfile.TemporaryDirectory() as folder:
        files = build(Path(folder), with_tflite=False)
        model = fleet.models.register(files.wide_onnx, name="digits", data="builtin:digits")
        model.add_variant(files.narrow_onnx, "narrow").result()
    for variant in model.compress(recipe="quick", floor={"accuracy": "-0.01"}).result():
        print(f"{variant.name}: accuracy {variant.accuracy:.1%}")
    fleet.push(model).wait()
    for record in fleet.bench(model, tier="quick").stream():
        print(f"{record.device_id} {record.configuration}: p50 {record.p50_ms:.2f} ms ({record.state})")
    plan = fleet.select(model, slo=muster.SLO(p95_ms=50, accuracy_drop=0.02))
    print(plan.explain())
    plan.rollout(canary=1, waves=[1.0]).wait()


if __name__ == "__main__":
    main()

"""Run by .venv-triton's Python: what tritonclient gets from a serving child. Prints one JSON object.

python triton_probe.py http|grpc HOST:PORT INPUTS.npz
"""

import json
import sys

import numpy as np


def main() -> None:
    transport, address, path = sys.argv[1:]
    module = __import__(f"tritonclient.{transport}", fromlist=["InferenceServerClient"])
    client = module.InferenceServerClient(address)
    arrays = np.load(path)
    x, wanted = arrays["in_x"], arrays["out_y"]
    found = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model": client.is_model_ready("net", "1"),
    }
    arguments = {} if transport == "http" else {"as_json": True}
    found["server"] = client.get_server_metadata(**arguments)["name"]
    metadata = client.get_model_metadata("net", **arguments)
    found["inputs"] = [(t["name"], t["datatype"], [int(s) for s in t["shape"]]) for t in metadata["inputs"]]
    errors, variants = [], set()
    for is_binary in (True, False) if transport == "http" else (True,):
        for batch in (1, 4):
            tensor = module.InferInput("x", [batch, 64], "FP32")
            more = {"binary_data": is_binary} if transport == "http" else {}
            tensor.set_data_from_numpy(x[:batch], **more)
            for outputs in (None, [module.InferRequestedOutput("y", **more)]):
                result = client.infer("net", [tensor], outputs=outputs, request_id="7")
                errors.append(float(np.abs(result.as_numpy("y") - wanted[:batch]).max()))
                answer = result.get_response() if transport == "http" else result.get_response(as_json=True)
                assert answer["id"] == "7", answer
                variant = answer["parameters"]["muster_variant"]
                variants.add(variant if transport == "http" else variant["string_param"])
    found["max_abs_error"], found["variants"] = max(errors), sorted(variants)
    found["refusals"] = [
        refusal(module, client, *case)
        for case in (("x", "FP64", [1, 64]), ("x", "FP32", [1, 63]), ("z", "FP32", [1, 64]))
    ]
    print(json.dumps(found))


def refusal(module, client, name, datatype, shape):
    tensor = module.InferInput(name, shape, datatype)
    tensor.set_data_from_numpy(np.zeros(shape, np.float64 if datatype == "FP64" else np.float32))
    try:
        client.infer("net", [tensor])
    except module.InferenceServerException as error:
        return [str(error.status()), error.message()]
    return ["none", ""]


main()

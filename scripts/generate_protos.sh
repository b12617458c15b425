#!/bin/sh
# Regenerates the committed protobuf stubs in place.
# grpcio-tools 1.62 writes stubs without a runtime-version check, so they import under protobuf 4.25 to 7.x;
# it needs an environment of its own because it holds protobuf below 5.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3.11}
VENV=${PROTOS_VENV:-.venv-protos}
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
"$VENV/bin/python" -c 'import grpc_tools' 2>/dev/null || "$VENV/bin/pip" install -q 'grpcio-tools==1.62.3' 'setuptools<81'
"$VENV/bin/python" -m grpc_tools.protoc -I protos \
  --python_out=protos --pyi_out=protos --grpc_python_out=protos \
  protos/muster_protos/v1/*.proto protos/muster_protos/inference/*.proto
# Only link.proto and open_inference.proto define services; the others' empty stubs are noise.
for file in protos/muster_protos/*/*_pb2_grpc.py; do
  grep -q 'class .*Servicer' "$file" || rm -f "$file"
done

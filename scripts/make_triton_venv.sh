#!/bin/sh
# Make .venv-triton: tritonclient in an environment of its own. It needs protobuf < 7 (pip otherwise backtracks to an
# old release without a word), and its copy of the inference protocol clashes with ours in one process.
set -eu
cd "$(dirname "$0")/.."
wanted="2.73.0"
python="${PYTHON:-python3}"
venv=".venv-triton"
if [ -x "$venv/bin/python" ] && [ "$(cat "$venv/complete" 2>/dev/null)" = "$wanted" ]; then
  exit 0
fi
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check "tritonclient[grpc,http]==$wanted" "protobuf<7"
printf '%s' "$wanted" > "$venv/complete"

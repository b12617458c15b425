"""What a controller loads before its links listen: devices that come back wait for each of these modules."""

from __future__ import annotations

import subprocess
import sys

LATE = (
    "alembic",
    "fastapi",
    "mako",
    "multipart",
    "muster_compression",
    "numpy",
    "onnx",
    "starlette",
    "torch",
    "uvicorn",
    "sse_starlette",
)


def test_the_links_wait_for_no_library_of_the_http_doors() -> None:
    code = (
        "import muster_controller.cli.controller, sys; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(found.stdout.replace("'", "").strip("[]\n").split(", "))
    assert "sqlalchemy" in loaded, "expected the names of modules"
    assert loaded.isdisjoint(LATE)

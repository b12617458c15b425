"""What a controller loads before its links listen: devices that come back wait for each of these modules."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

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


def test_its_threads_share_two_heaps() -> None:
    """malloc_info(3) names each heap that threads have begun."""
    code = """
import ctypes, sys, threading
if sys.argv[1] == "shared":
    from muster_controller.cli.controller import _share_arenas
    _share_arenas()
meet = threading.Barrier(6)
def work():
    meet.wait()
    kept = [ctypes.create_string_buffer(50_000) for _ in range(50)]
    meet.wait()
threads = [threading.Thread(target=work) for _ in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""

    def heaps(how: str) -> int:
        found = subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True)
        return found.stdout.count("<heap nr=")

    if platform.libc_ver()[0] != "glibc":
        pytest.skip("another library of C has other heaps")
    assert heaps("shared") <= 2 < heaps("each its own")

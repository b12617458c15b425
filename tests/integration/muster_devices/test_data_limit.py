import resource
import subprocess
import sys

import pytest

from muster_devices.data_limit import DataLimit
from muster_protos.errors import NotFoundError

_MIB = 1 << 20
_ALLOCATE = """
import subprocess, sys
def attempt(mib):
    try:
        return bool(bytearray(mib << 20))
    except MemoryError:
        return False
sys.stdin.readline()
inherited = subprocess.run([sys.executable, "-c", "bytearray(400 << 20)"], stderr=subprocess.DEVNULL).returncode
print(attempt(64), attempt(400), inherited != 0, flush=True)
sys.stdin.readline()
print(attempt(400), flush=True)
"""


@pytest.fixture
def allocator():
    with subprocess.Popen(
        [sys.executable, "-c", _ALLOCATE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as child:
        yield child
        child.kill()


def test_a_process_and_its_children_get_no_more_than_the_limit(allocator):
    limit = DataLimit(256 * _MIB)
    limit.enter(allocator.pid)
    allocator.stdin.write("go\n")
    assert allocator.stdout.readline() == "True False True\n"
    limit.close()
    limit.close()
    allocator.stdin.write("go\n")
    assert allocator.stdout.readline() == "True\n"


def test_a_tighter_limit_stays(allocator):
    resource.prlimit(allocator.pid, resource.RLIMIT_DATA, (128 * _MIB, resource.RLIM_INFINITY))
    limit = DataLimit(256 * _MIB)
    limit.enter(allocator.pid)
    limit.close()
    assert resource.prlimit(allocator.pid, resource.RLIMIT_DATA)[0] == 128 * _MIB


def test_a_dead_process_cannot_be_limited():
    child = subprocess.Popen(["true"])
    child.wait()
    limit = DataLimit(256 * _MIB)
    with pytest.raises(NotFoundError, match=f"found none with id {child.pid}"):
        limit.enter(child.pid)
    limit.close()

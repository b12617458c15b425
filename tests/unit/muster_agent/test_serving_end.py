"""How a serving process ended is said as exactly as the kernel tells; a listener without descriptors rests."""

from __future__ import annotations

import errno
import socket
import threading

import pytest

from muster_agent import local_listener, serving_process
from muster_agent.local_listener import LocalListener
from muster_agent.local_socket import connect
from muster_devices.oom import Oom


class _Says:
    """A watch that has come to its verdict."""

    def __init__(self, oom: Oom) -> None:
        self._oom = oom

    def verdict(self) -> Oom:
        return self._oom


def test_a_child_that_the_kernel_killed_for_want_of_memory_is_named_so():
    assert serving_process._ending(-9, _Says(Oom.YES)) == "was killed by the kernel for want of memory (OOM)"
    assert "perhaps" in serving_process._ending(-9, _Says(Oom.PERHAPS))
    assert serving_process._ending(-9, _Says(Oom.NO)) == "was ended by SIGKILL"
    assert serving_process._ending(-9, None) == "was ended by SIGKILL"
    assert serving_process._ending(-11, _Says(Oom.YES)) == "was ended by SIGSEGV"
    assert serving_process._ending(1, _Says(Oom.YES)) == "exited with status 1"


class _NoDescriptors:
    """A listening socket whose next accepts find no descriptor; counts them."""

    def __init__(self, real: socket.socket, failures: int) -> None:
        self._real = real
        self.accepts = 0
        self.failures = failures
        self.is_heard = threading.Event()

    def accept(self):
        self.accepts += 1
        if self.accepts <= self.failures:
            raise OSError(errno.EMFILE, "Too many open files")
        self.is_heard.set()
        return self._real.accept()

    def __getattr__(self, name):
        return getattr(self._real, name)


@pytest.fixture
def scarce(tmp_path, monkeypatch):
    monkeypatch.setattr(local_listener, "_REST_S", 0.05)
    made = []

    def bind(path):
        made.append(_NoDescriptors(real_bind(path), failures=3))
        return made[0]

    real_bind = local_listener.bind
    monkeypatch.setattr(local_listener, "bind", bind)
    listener = LocalListener(tmp_path / "s", sink=None)
    listener.start()
    yield made[0], listener
    listener.close()


def test_a_listener_without_descriptors_rests_and_hears_again(scarce):
    waiting, listener = scarce
    stream = connect(listener.path, timeout_s=5)
    assert waiting.is_heard.wait(10)
    assert waiting.accepts == 4, "it must rest between tries, not spin"
    stream.close()

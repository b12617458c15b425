"""Real agents whose clocks are at 1970, ten years ahead and a day behind: they join, connect, verify and follow.

A preloaded library moves what the agent's process, its children, OpenSSL and gRPC see of the wall clock.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long shift(void) {
  const char *text = getenv("CLOCK_SHIFT_S");
  return text ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, now);
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += shift();
  return result;
}

time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}

int gettimeofday(struct timeval *out, void *zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  out->tv_sec = now.tv_sec;
  out->tv_usec = now.tv_nsec / 1000;
  return 0;
}
"""
SHIFTS_S = {"epoch": -int(time.time()) + 100, "ahead": 10 * 365 * 86_400, "behind": -86_400}


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler to move the clock of a process")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "shim.so", "shim.c", "-ldl"], cwd=folder, check=True)
    return folder / "shim.so"


class Fleet:
    """A controller of its own process; commands as a person would type them."""

    def __init__(self, folder: Path, shim: Path, link: str) -> None:
        self.folder = folder
        self.link = link
        self.data = folder / "data"
        self._shim = shim
        self.processes: list[subprocess.Popen[bytes]] = []
        ports = ["--port", "0", "--grpc-port", "0", "--join-port", "0"]
        broker = ["--mqtt", "--mqtt-port", "0"] if link == "mqtt" else []
        self.start("muster_controller", "up", "--data", str(self.data), "--no-device", *ports, *broker)
        self.until(lambda: (self.data / "endpoints.json").exists(), "the controller")

    def start(self, module: str, *arguments: str, shift_s: int | None = None) -> None:
        with (self.folder / f"{len(self.processes)}.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", module, *arguments], stdout=log, stderr=log, env=self._environment(shift_s)
                )
            )

    def muster(self, *arguments: str) -> Any:
        return json.loads(self._run("muster_controller", *arguments, "-o", "json"))

    def join(self, device_id: str, shift_s: int) -> None:
        line = str(self.muster("token", "new")["broker_link" if self.link == "mqtt" else "link"])
        state = str(self.folder / device_id)
        self._run("muster_agent", "join", line, "--state", state, "--id", device_id, shift_s=shift_s)
        self.start("muster_agent", "run", "--state", state, shift_s=shift_s)

    def desired_versions(self) -> dict[str, int]:
        devices = [device for device in self.muster("device", "ls") if device["presence"] == "online"]
        return {d["device_id"]: d["reported"]["desired_version"] for d in devices if d["reported"]}

    def until(self, is_true: Any, what: str, timeout_s: float = 90.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not is_true():
            assert time.monotonic() < deadline_s, f"{what}: not within {timeout_s:g} s"
            time.sleep(0.2)

    def close(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _run(self, module: str, *arguments: str, shift_s: int | None = None) -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=self._environment(shift_s),
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _environment(self, shift_s: int | None) -> dict[str, str]:
        environment = {**os.environ, "MUSTER_DATA": str(self.data)}
        if shift_s is not None:
            environment |= {"CLOCK_SHIFT_S": str(shift_s), "LD_PRELOAD": str(self._shim)}
        return environment


@pytest.fixture
def fleet(request: pytest.FixtureRequest, tmp_path: Path, shim: Path, link: str) -> Iterator[Fleet]:
    if link == "mqtt":
        request.getfixturevalue("mosquitto")
    made = Fleet(tmp_path, shim, link)
    yield made
    made.close()


@pytest.mark.parametrize("link", [pytest.param("grpc", marks=pytest.mark.faults), "mqtt"])
def test_agents_with_absurd_clocks_join_connect_verify_and_follow_a_rotation(link: str, fleet: Fleet) -> None:
    for device_id, shift_s in SHIFTS_S.items():
        fleet.join(device_id, shift_s)
    fleet.until(lambda: set(fleet.desired_versions().values()) == {1} and len(fleet.desired_versions()) == 3, "online")
    keys = fleet.muster("key", "rotate", "--yes", "--overlap", "0")
    assert [key["is_retired"] for key in keys] == [False, True]
    fleet.until(lambda: list(fleet.desired_versions().values()) == [2, 2, 2], "what the new key signed")
    for device in fleet.muster("device", "ls"):
        assert device["link"] == link
        offset_s = device["clock_offset_ns"] / 1e9
        assert offset_s == pytest.approx(SHIFTS_S[device["device_id"]], abs=30)
    for device_id in SHIFTS_S:
        identity = json.loads((fleet.folder / device_id / "identity" / "join.json").read_text())
        assert identity["key_set_version"] == 2

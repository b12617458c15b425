"""A pytest plugin of `make test`: how pytest-xdist deals tests out to its workers."""

from __future__ import annotations

from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

TOGETHER = {"e2e", "integration", "regression"}


class FolderScheduling(LoadScopeScheduling):
    """A folder of real processes stays on one worker, for its session's fixtures; elsewhere a file does."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0])
        return str(file.parent if TOGETHER & set(file.parts) else file)

    def remove_node(self, node: WorkerController) -> str | None:
        """A test that ends its worker has failed and is not tried again; what stood behind it goes to the others."""
        units = self.assigned_work.pop(node)
        waiting = [(unit, nodeid) for unit in units.values() for nodeid, is_done in unit.items() if not is_done]
        if not waiting:
            return None
        unit, crashed = waiting[0]
        unit[crashed] = True
        self.workqueue.update({scope: unit for scope, unit in units.items() if not all(unit.values())})
        for other in self.assigned_work:
            self._reschedule(other)
        return crashed

    def _reschedule(self, node: WorkerController) -> None:
        """A worker keeps its last test back until it hears that no other follows."""
        super()._reschedule(node)
        if not self.workqueue and not node.shutting_down:
            node.shutdown()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    return FolderScheduling(config, log)

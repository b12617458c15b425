import pytest
import torch

from muster_compression.code_identity import imported_files, pass_code_sha256, source_sha256
from muster_compression.sources.torch_module import make_module
from muster_compression.torch_origin import module_identity

NET = """
import torch
from torch import nn
from layers.block import Block

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()
        self.last = nn.Linear(4, 2)
    def forward(self, x):
        return self.last(self.block(x))

def make():
    return Net().eval()
"""
BLOCK = """
import torch
from .gain import GAIN
class Block(torch.nn.Module):
    def forward(self, x):
        return x * GAIN
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A project of three files in a folder of its own; its modules are forgotten afterwards."""
    import sys

    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(folder, net=NET, block=BLOCK, gain="GAIN = 2.0\n"):
        for name in set(sys.modules) - before:
            if name.startswith(("layers", "muster_source_")):
                del sys.modules[name]
        (tmp_path / folder / "layers").mkdir(parents=True)
        for name, text in {
            "net.py": net,
            "layers/__init__.py": "",
            "layers/block.py": block,
            "layers/gain.py": gain,
        }.items():
            (tmp_path / folder / name).write_text(text)
        (tmp_path / folder / "other.py").write_text("not even Python")
        return tmp_path / folder / "net.py"

    yield write
    for name in set(sys.modules) - before:
        if name.startswith(("layers", "muster_source_")):
            del sys.modules[name]


def identity(path, seed=0):
    return module_identity(path, make_module(path, "make", seed)[0])


def test_a_users_code_is_what_its_file_imports_from_its_folder(write):
    path = write("a")
    names = {str(item.relative_to(path.parent)) for item in imported_files(path, path.parent)}
    assert names == {"net.py", "layers/__init__.py", "layers/block.py", "layers/gain.py"}


def test_the_same_code_and_weights_are_the_same_in_another_place(write):
    assert identity(write("a")) == identity(write("b"))


@pytest.mark.parametrize(
    "change",
    [
        {"net": NET.replace("self.last(self.block(x))", "self.last(self.block(x)) + 1")},
        {"block": BLOCK.replace("x * GAIN", "GAIN * x + 1")},
        {"gain": "GAIN = 3.0\n"},
    ],
    ids=["forward", "imported class", "imported constant"],
)
def test_other_code_with_the_same_weights_is_another_model(write, change):
    assert identity(write("a")) != identity(write("b", **change))


def test_other_weights_are_another_model_and_the_seed_decides_random_ones(write):
    path = write("a")
    assert identity(path, 1) == identity(path, 1)
    assert identity(path, 1) != identity(path, 2)


def test_a_number_that_comes_from_somewhere_else_counts(write):
    path = write("a", net=NET.replace("self.last =", "self.heads = 4; self.last ="))
    module = make_module(path, "make")[0]
    first = module_identity(path, module)
    module.heads = 2  # as read from a configuration
    assert module_identity(path, module) != first


def test_an_address_in_memory_does_not(write):
    path = write(
        "a", net=NET.replace("return Net()", "net = Net(); net.block.extra_repr = lambda: repr(object()); return net")
    )
    found = {module_identity(path, make_module(path, "make", 0)[0]) for _ in range(3)}
    assert len(found) == 1


def test_torch_itself_is_not_read(write):
    path = write("a")
    assert source_sha256(path, torch.nn.Linear(2, 2)) == source_sha256(path, torch.nn.Conv2d(1, 1, 1))


def test_a_pass_depends_on_what_it_imports_and_on_nothing_else():
    from muster_compression import code_identity

    package = code_identity._PACKAGE_FOLDER
    files = imported_files(package / "passes" / "train.py", package.parent)
    names = {item.relative_to(package).as_posix() for item in files}
    assert {"training/fit.py", "training/checkpoint.py", "torch_model.py", "passes/port.py"} <= names
    assert not names & {"runner.py", "cli.py", "orders.py", "passes/onnx_fp16.py", "process.py"}
    assert pass_code_sha256("train") != pass_code_sha256("export_onnx")

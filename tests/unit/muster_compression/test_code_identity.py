import copy
from dataclasses import dataclass
from enum import Enum
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from muster_compression import code_identity
from muster_compression.code_identity import imported_files, pass_code_sha256, source_sha256
from muster_compression.module_identity import module_identity
from muster_compression.sources.torch_module import make_module
from muster_protos.errors import InvalidInputError

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
    package = code_identity._PACKAGE_FOLDER
    files = imported_files(package / "passes" / "train.py", package.parent)
    names = {item.relative_to(package).as_posix() for item in files}
    assert {"training/fit.py", "training/checkpoint.py", "torch_model.py", "passes/port.py"} <= names
    assert not names & {"runner.py", "cli.py", "orders.py", "passes/onnx_fp16.py", "process.py"}
    assert pass_code_sha256("train") != pass_code_sha256("export_onnx")


PACKAGED = """
import sys
from pathlib import Path
sys.path.append(str(Path(__file__).parent / "elsewhere"))
from torch import nn
from layers_of_ours.deep.block import Block

def make():
    return nn.Sequential(Block(), nn.Linear(4, 2)).eval()
"""


@pytest.mark.parametrize("changed", ["layers_of_ours/gain.py", "layers_of_ours_too.py", "layers_of_ours/unused.py"])
def test_what_a_class_of_another_folder_imports_from_beside_its_package_counts(write, changed):
    """The class stands in a package outside the user's folder, as a project on PYTHONPATH does."""
    files = {
        "layers_of_ours/__init__.py": "",
        "layers_of_ours/gain.py": "GAIN = 2.0",
        "layers_of_ours/unused.py": "GAIN = 2.0",
        "layers_of_ours/deep/__init__.py": "",
        "layers_of_ours/deep/block.py": BLOCK.replace("from .gain", "import layers_of_ours_too\nfrom ..gain"),
        "layers_of_ours_too.py": "OFFSET = 1.0",
    }
    found = []
    for folder in ("a", "b"):
        path = write(folder, net=PACKAGED)
        for name, text in files.items():
            item = path.parent / "elsewhere" / name
            item.parent.mkdir(parents=True, exist_ok=True)
            item.write_text(text.replace("0", "5") if (folder, name) == ("b", changed) else text)
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(path.parent / "elsewhere"))
            found.append(identity(path))
    assert (found[0] == found[1]) is (changed == "layers_of_ours/unused.py")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution of one class; the folder it lies in, and the class."""
    import sys

    place = tmp_path / "site-packages"
    (place / "installed_layers").mkdir(parents=True)
    (place / "installed_layers" / "__init__.py").write_text(BLOCK.replace(".gain", "installed_layers.gain"))
    (place / "installed_layers" / "gain.py").write_text("GAIN = 2.0")
    monkeypatch.syspath_prepend(str(place))
    from installed_layers import Block

    yield place, Block
    code_identity._distributions.cache_clear()
    for name in [name for name in sys.modules if name.startswith("installed_layers")]:
        del sys.modules[name]


def version(place, number):
    info = place / "installed_layers-0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: installed-layers\nVersion: {number}\n")
    (info / "top_level.txt").write_text("installed_layers\n")
    code_identity._distributions.cache_clear()


def test_an_installed_distribution_counts_by_its_version(write, installed):
    (place, block), path = installed, write("a")
    version(place, "1.0")
    first = source_sha256(path, block())
    (place / "installed_layers" / "gain.py").write_text("GAIN = 3.0")
    assert source_sha256(path, block()) == first
    version(place, "1.1")
    assert source_sha256(path, block()) != first


def test_files_that_nothing_installed_count_by_themselves_wherever_they_lie(write, installed):
    (place, block), path = installed, write("a")
    first = source_sha256(path, block())
    (place / "installed_layers" / "gain.py").write_text("GAIN = 3.0")
    assert source_sha256(path, block()) != first


class Mode(Enum):
    FAST = 1
    EXACT = 2


@dataclass
class Config:
    heads: int


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (2.0, 3.0),
        (np.arange(3.0), np.arange(3.0) + 1),
        (np.array([1, "a"], object), np.array([1, "b"], object)),
        (Mode.FAST, Mode.EXACT),
        ([torch.zeros(2)], [torch.ones(2)]),
        ({"mode": Mode.FAST}, {"mode": Mode.EXACT}),
        ({"a", "b"}, {"a", "c"}),
        (Config(2), Config(4)),
        (SimpleNamespace(heads=2), SimpleNamespace(heads=4)),
        (torch.float32, torch.float64),
        (None, 0),
        (1, True),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("name", ["_own", "own"])
def test_what_a_function_puts_into_a_module_counts_whatever_its_name(write, name, before, after):
    path = write("a")
    module = make_module(path, "make", 0)[0]
    found = []
    for value in (before, copy.deepcopy(before), after):
        setattr(module.block, name, value)
        found.append(module_identity(path, module))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_buffers_count_that_no_state_dict_holds(write):
    path = write("a")
    module = make_module(path, "make", 0)[0]
    module.register_buffer("mean", torch.zeros(3), persistent=False)
    first = module_identity(path, module)
    module.mean.add_(1)
    assert module_identity(path, module) != first


def test_a_container_that_holds_itself_ends_and_hooks_are_no_attributes(write):
    path = write("a")
    module = make_module(path, "make", 0)[0]
    first = module_identity(path, module)
    handle = module.register_forward_hook(lambda *_: None)
    assert module_identity(path, module) == first
    handle.remove()
    module.own = []
    module.own.append(module.own)
    assert module_identity(path, module) == module_identity(path, module) != first


SPARSE = torch.tensor([[0.0, 1.0], [2.0, 0.0]])


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize(
    "make",
    [
        lambda x: (SPARSE * x).to_sparse_coo(),
        lambda x: (SPARSE * x).to_sparse_csr(),
        lambda x: SPARSE.to_sparse_coo() if x == 1 else SPARSE.to_sparse_csr(),
        lambda x: torch.tensor([1 + 2j, x * 1j]).conj(),
        lambda x: torch.tensor([1 + 2j, x * 1j]).conj().imag,
        lambda x: torch.tensor(1 + x * 1j),
    ],
    ids=["coo", "csr", "layout", "conjugate", "negative", "complex"],
)
@pytest.mark.parametrize("is_buffer", [True, False])
def test_tensors_of_any_layout_count_by_their_values(write, make, is_buffer):
    path = write("a")
    module = make_module(path, "make", 0)[0]
    if is_buffer:
        module.block.register_buffer("own", None)
    found = []
    for value in (1, 1, 2):
        module.block.own = make(value)
        found.append(module_identity(path, module))
    assert found[0] == found[1]
    assert found[0] != found[2]


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: torch.nn.LazyLinear(2), "an uninitialized .lazy. one; call the module once"),
        (lambda: torch.nn.Linear(4, 2, device="meta"), "one on the meta device; load it to the CPU"),
    ],
    ids=["lazy", "meta"],
)
def test_tensors_without_values_are_named_in_one_line(write, part, words):
    path = write("a")
    module = make_module(path, "make", 0)[0]
    module.last = part()
    with pytest.raises(
        InvalidInputError, match=f"the module's 'last.weight': expected a tensor with values, found {words}"
    ):
        module_identity(path, module)

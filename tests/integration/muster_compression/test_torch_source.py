import textwrap

import pytest

from muster_compression.import_model import import_model
from muster_compression.variant_of import variant_of
from muster_protos.errors import InvalidInputError, NotFoundError

NET = textwrap.dedent(
    """
    import torch
    from torch import nn

    class Net(nn.Module):
        output_names = ("scores",)
        def __init__(self):
            super().__init__()
            torch.manual_seed(3)
            self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(800, 5))
        def forward(self, image):
            return self.body(image)

    def make():
        return Net().eval()

    def make_training():
        return Net()

    def make_with_examples():
        return Net().eval(), (torch.zeros(1, 3, 12, 12),)

    def make_list():
        return [1, 2]

    def make_error():
        raise RuntimeError("weights are missing")

    class Odd(nn.Module):
        def forward(self, image):
            return torch.special.bessel_j0(image)

    def make_odd():
        return Odd().eval(), (torch.zeros(1, 4),)
    """
)


@pytest.fixture
def net_path(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    return tmp_path / "net.py"


@pytest.mark.slow
def test_exports_from_two_folders_have_the_same_sha256(net_path, data_path, tmp_path):
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    other = tmp_path / "elsewhere" / "deep" / "net.py"
    other.write_text(NET)
    first = import_model(f"{net_path}:make", "m", 1, str(data_path), tmp_path / "a")
    second = import_model(f"{other}:make", "m", 1, str(data_path), tmp_path / "b")
    assert first.manifest.artifact == second.manifest.artifact
    payload = first.artifact_path.read_bytes()
    assert b"site-packages" not in payload
    assert str(tmp_path).encode() not in payload
    assert [spec.name for spec in first.signature.inputs] == ["image"]
    assert [spec.name for spec in first.signature.outputs] == ["scores"]
    assert first.manifest.opset == 18
    assert "torch" in first.manifest.tool_versions
    assert first.source == "net.py:make"


@pytest.mark.slow
def test_example_inputs_stand_for_missing_data_and_a_variant_can_come_from_torch(net_path, tmp_path):
    model = import_model(f"{net_path}:make_with_examples", "m", 1, "", tmp_path / "out")
    assert model.signature.inputs[0].shape == (1, 3, 12, 12)
    variant = variant_of(model.parent, f"{net_path}:make", "again", tmp_path / "out")
    assert variant.manifest.accuracy.agreement == 1.0
    assert variant.manifest.parent_variant_id == "m.v1.fp32"


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        ("make", InvalidInputError, "shapes of its inputs are unknown"),
        ("make_training", InvalidInputError, r"return module\.eval\(\)"),
        ("make_list", InvalidInputError, r"torch\.nn\.Module, found list"),
        ("make_error", InvalidInputError, "RuntimeError: weights are missing"),
        ("mak", NotFoundError, "it has make"),
    ],
)
def test_what_a_function_may_not_do_is_one_line(net_path, tmp_path, function, error, words):
    with pytest.raises(error, match=words) as caught:
        import_model(f"{net_path}:{function}", "m", 1, "", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_operator_that_cannot_be_exported_is_named(net_path, tmp_path):
    with pytest.raises(InvalidInputError, match="bessel_j0"):
        import_model(f"{net_path}:make_odd", "m", 1, "", tmp_path / "out")

"""Small networks with every kind of coupling between channels, with weights that nothing hides behind."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from muster_compression.dataset.splits import ONLY_INPUT, Split
from muster_compression.digits.data import digits
from muster_compression.passes.port import PassContext, WorkingModel
from muster_compression.torch_model import save_module
from muster_compression.training.fit import fit
from muster_compression.training.settings import FitSettings
from muster_protos.model import Signature, TensorSpec

IMAGE = (1, 1, 8, 8)


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second_norm(self.second(torch.relu(self.first_norm(self.first(x))))))


class ResidualNet(nn.Module):
    """Two stages of residual blocks."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, 1, 1)
        self.fine = Residual(width)
        self.down = nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.coarse = Residual(2 * width)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fine(torch.relu(self.stem(x)))
        return self.head(self.coarse(torch.relu(self.down(x))).mean((2, 3)))


class DenseNet(nn.Module):
    """Everything that was computed before is concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, 1, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in (16, 24, 32))
        self.layers = nn.ModuleList(nn.Conv2d(width, 8, 3, 1, 1) for width in (16, 24))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, layer in zip(self.norms, self.layers, strict=False):
            x = torch.cat([x, layer(torch.relu(norm(x)))], 1)
        return self.head(torch.relu(self.norms[2](x)).mean((2, 3)))


class Inception(nn.Module):
    """Branches of different widths side by side, flattened into the head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, 1, 1)
        self.one = nn.Conv2d(16, 8, 1)
        self.three = nn.Conv2d(16, 12, 3, 1, 1)
        self.five = nn.Conv2d(16, 4, 5, 1, 2)
        self.out = nn.Conv2d(24, 20, 1)
        self.head = nn.Linear(20 * 64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(torch.cat([self.one(x), self.three(x), self.five(x)], 1))
        return self.head(torch.relu(self.out(x)).flatten(1))


class Mobile(nn.Module):
    """Depthwise and grouped convolutions, a group norm, squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, 1, 1)
        self.up = nn.Conv2d(16, 48, 1)
        self.up_norm = nn.BatchNorm2d(48)
        self.depthwise = nn.Conv2d(48, 48, 3, 1, 1, groups=48)
        self.down = nn.Conv2d(48, 16, 1)
        self.grouped = nn.Conv2d(16, 32, 3, 2, 1, groups=4)
        self.group_norm = nn.GroupNorm(8, 32)
        self.squeeze = nn.Linear(32, 8)
        self.excite = nn.Linear(8, 32)
        self.head = nn.Linear(32 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.down(torch.relu(self.depthwise(torch.relu(self.up_norm(self.up(x))))))
        x = torch.relu(self.group_norm(self.grouped(x)))
        weights = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))
        return self.head((x * weights[:, :, None, None]).flatten(1))


class Shuffle(nn.Module):
    """Channels change places between two grouped convolutions: the graph does not show that."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, 1, 1)
        self.first = nn.Conv2d(16, 16, 1, groups=4)
        self.second = nn.Conv2d(16, 32, 1, groups=4)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(torch.relu(self.stem(x))))
        n, c, h, w = x.shape
        x = x.view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(torch.relu(self.second(x)).mean((2, 3)))


class Packed(nn.Module):
    """Attention as timm writes it: one projection, sizes divided out of the input's width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.attn_drop = nn.Dropout(0.1)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        packed = self.qkv(x).reshape(n, t, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        query, key, value = packed.unbind(0)
        weights = self.attn_drop((query @ key.transpose(-2, -1) * self.scale).softmax(-1))
        return self.proj((weights @ value).transpose(1, 2).reshape(n, t, c))


class Interleaved(nn.Module):
    """One projection whose rows are ordered by head first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.0))

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        query, key, value = self.to_qkv(x).view(n, t, self.heads, 3, -1).permute(3, 0, 2, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.to_out(mixed.transpose(1, 2).reshape(n, t, c))


class Causal(nn.Module):
    """Three projections, no token sees a later one."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.n_heads, self.head_dim = heads, width // heads
        self.out = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.query = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        query, key, value = (
            layer(x).view(n, t, self.n_heads, self.head_dim).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(n, t, c))


class Cosine(nn.Module):
    """Queries and keys of length 1 (Swin 2): not what ``SelfAttention`` computes."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        packed = self.qkv(x).reshape(n, t, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        query, key, value = packed.unbind(0)
        near = nn.functional.normalize(query, dim=-1) @ nn.functional.normalize(key, dim=-1).transpose(-2, -1)
        return self.proj(((10 * near).softmax(-1) @ value).transpose(1, 2).reshape(n, t, c))


class Torchs(nn.Module):
    """torch's own, as most use it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mixed, _ = self.inner(x, x, x, need_weights=False)
        return mixed


class SequenceFirst(nn.Module):
    """torch's own with its default order of axes."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(width, heads, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        turned = x.transpose(0, 1)
        return self.inner(turned, turned, turned)[0].transpose(0, 1)


class Block(nn.Module):
    def __init__(self, width: int, attention: nn.Module) -> None:
        super().__init__()
        self.first_norm = nn.LayerNorm(width)
        self.attention = attention
        self.second_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first_norm(x))
        return x + self.mlp(self.second_norm(x))


class Transformer(nn.Module):
    """A small vision transformer: patches, class token, positions."""

    def __init__(self, make: Callable[[int, int], nn.Module] = Packed, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, 2)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 17, width))
        self.blocks = nn.ModuleList(Block(width, make(width, heads)) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class Encoder(nn.Module):
    """torch's own encoder, whose fused kernel passes the attention by."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 32, 2, 2)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.patch(x).flatten(2).transpose(1, 2)).mean(1))


class OwnNorm(nn.Module):
    """Root mean square over the channels of an image, written by hand."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(width, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * x.square().mean(1, keepdim=True).add(1e-6).rsqrt() * self.scale


class Normed(nn.Module):
    """Norms that the graph's library does not know, over channels first and last."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, 1, 1)
        self.own = OwnNorm(16)
        self.conv = nn.Conv2d(16, 24, 3, 2, 1)
        self.norm = nn.RMSNorm(24)
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(torch.relu(self.own(self.stem(x))))
        return self.head(torch.relu(self.norm(x.permute(0, 2, 3, 1))).mean((1, 2)))


class HardCoded(nn.Module):
    """The width of a layer is written into forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, 1, 1)
        self.head = nn.Linear(16 * 64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(x)).view(-1, 16 * 64))


ATTENTIONS = (Packed, Interleaved, Causal, Torchs, SequenceFirst)
NETWORKS = (ResidualNet, DenseNet, Inception, Mobile, Normed, Transformer, Encoder)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def build() -> Callable[..., nn.Module]:
    """Networks in eval mode whose norms scale and shift every channel differently."""

    def make(network: Callable[..., nn.Module], *arguments: object) -> nn.Module:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(11)
            module = network(*arguments)
            for part in module.modules():
                if isinstance(part, (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)):
                    part.weight.uniform_(0.5, 1.5)
                    part.bias.normal_()
        return module.eval()

    return make


@pytest.fixture
def image() -> Tensor:
    return torch.randn(IMAGE, generator=torch.Generator().manual_seed(2))


@pytest.fixture(params=NETWORKS, ids=lambda network: network.__name__)
def network(request: pytest.FixtureRequest) -> type[nn.Module]:
    return request.param


@pytest.fixture(params=ATTENTIONS, ids=lambda attention: attention.__name__)
def attention(request: pytest.FixtureRequest) -> type[nn.Module]:
    return request.param


@pytest.fixture
def attentions() -> dict[str, type[nn.Module]]:
    """By name."""
    return {item.__name__: item for item in ATTENTIONS}


@pytest.fixture
def networks() -> dict[str, type[nn.Module]]:
    """By name, those that tests ask for one by one."""
    known = (*NETWORKS, Shuffle, HardCoded, Cosine)
    return {item.__name__: item for item in known}


@pytest.fixture(scope="session")
def splits() -> tuple[Split, Split]:
    """Digits to train on, and held out."""
    data = digits(8)
    assert data.train is not None
    assert data.validation is not None
    train, held = (Split({"image": part.inputs[ONLY_INPUT]}, part.labels) for part in (data.train, data.validation))
    return train.sample(480, 0), held.sample(150, 0)


@pytest.fixture(scope="session")
def signature() -> Signature:
    return Signature(
        inputs=(TensorSpec("image", "float32", IMAGE),),
        outputs=(TensorSpec("scores", "float32", (1, 10)),),
        layout="NCHW",
        task="classification",
        metric="accuracy",
    )


@pytest.fixture
def context(signature: Signature, splits: tuple[Split, Split], tmp_path: Path) -> Callable[..., PassContext]:
    """Contexts with a folder of their own each, made under ``name``."""

    def make(name: str = "pass", **changes: object) -> PassContext:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        given: dict[str, object] = {
            "folder": folder,
            "signature": signature,
            "calibration": {"image": splits[0].inputs["image"][:64]},
            "seed": 4,
            "on_progress": lambda ratio, note: None,
            "training": splits[0],
            "holdout": splits[1],
            "checkpoints": folder / "checkpoints",
        }
        return PassContext(**(given | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def trained(
    signature: Signature, splits: tuple[Split, Split], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., WorkingModel]:
    """Networks trained on the digits, once per session, as torch forms."""
    known: dict[str, nn.Module] = {}

    def train(network: Callable[..., nn.Module], *arguments: object) -> WorkingModel:
        key = f"{network.__name__}{arguments}"
        folder = tmp_path_factory.mktemp("trained")
        if key not in known:
            torch.set_num_threads(1)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(11)
                module = network(*arguments).eval()
            bare = PassContext(folder, signature, {}, 4, lambda ratio, note: None)
            fit(module, splits[0], FitSettings(epochs=6, batch_size=16, learning_rate=0.01), bare, name="parent")
            known[key] = module
        return save_module(copy.deepcopy(known[key]), folder / "parent.torch")

    return train


@pytest.fixture
def untrained(build: Callable[..., nn.Module], tmp_path: Path) -> Callable[..., WorkingModel]:
    """Networks as torch forms whose weights are drawn."""

    def make(network: Callable[..., nn.Module], *arguments: object) -> WorkingModel:
        return save_module(build(network, *arguments), tmp_path / "untrained.torch")

    return make

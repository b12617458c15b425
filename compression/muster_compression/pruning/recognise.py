"""Find attention in a module, whoever wrote it, and put ``SelfAttention`` in its place.

Heads can only leave an attention whose forward takes their number from its weights; most forwards divide the input's
width by a fixed number instead. So what looks like an attention by its structure is rebuilt from its own weights, and
the rebuilt one is taken only when it answers a recorded input as the original does. What is not recognised (relative
positions, normalised queries, windows, masks by argument) stays as it is, with all its heads.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn

from muster_compression.pruning.attention import HeadShape, MultiheadSelfAttention, SelfAttention
from muster_compression.training.losses import outputs_in_order

_HEAD_COUNTS = ("num_heads", "n_heads", "heads", "n_head", "nhead", "nheads", "num_attention_heads")
_DROPOUTS = ("attn_drop", "attn_dropout", "attention_dropout", "dropout")
_ALIKE = 1e-4  # of the greatest answer: float32 sums in another order


@dataclass(frozen=True, slots=True)
class Recognised:
    """What became of the attentions of a module."""

    replaced: tuple[str, ...]  # dotted names; these are ``SelfAttention`` now
    unknown: tuple[str, ...]  # look like attention, but answer otherwise: left alone


def with_own_attention(module: nn.Module, examples: Sequence[Tensor]) -> Recognised:
    """Replace, in place, every attention of ``module`` that is understood; the module answers as before.

    ``examples``: one input of each, batch first, as its forward takes them.
    """
    candidates = [(name, part) for name, part in module.named_modules() if name and _looks_like_attention(part)]
    inner = [name for name, _ in candidates]
    candidates = [(name, part) for name, part in candidates if not any(o.startswith(f"{name}.") for o in inner)]
    calls, wanted = _record(module, [part for _, part in candidates], examples)
    replaced, unknown = [], []
    for name, part in candidates:
        if isinstance(part, SelfAttention):
            replaced.append(name)
            continue
        own = next((one for one in _rebuilt(part) if _answers_alike(one, calls.get(id(part), []))), None)
        if own is None:
            unknown.append(name)
            continue
        owner, _, key = name.rpartition(".")
        setattr(module.get_submodule(owner), key, own.train(part.training))
        if _still_answers(module, examples, wanted):
            replaced.append(name)
        else:  # it needs the attention's weights, or looks inside
            setattr(module.get_submodule(owner), key, part)
            unknown.append(name)
    return Recognised(tuple(replaced), tuple(unknown))


def _looks_like_attention(part: nn.Module) -> bool:
    if isinstance(part, (SelfAttention, nn.MultiheadAttention)):
        return True
    return _head_count(part) is not None and len(_linears(part)) in (2, 4) and not _has_deep_parts(part)


def _has_deep_parts(part: nn.Module) -> bool:
    """A block or a whole model may carry a number of heads too; an attention is projections and little else."""
    return any(
        next(inner.parameters(recurse=False), None) is not None and not isinstance(inner, nn.Linear)
        for inner in part.modules()
    )


def _head_count(part: nn.Module) -> int | None:
    for name in _HEAD_COUNTS:
        value = getattr(part, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _linears(part: nn.Module) -> list[nn.Linear]:
    return [inner for inner in part.modules() if isinstance(inner, nn.Linear)]


@dataclass(frozen=True, slots=True)
class _Call:
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    answer: Any


def _record(
    module: nn.Module, parts: Sequence[nn.Module], examples: Sequence[Tensor]
) -> tuple[dict[int, list[_Call]], list[Tensor]]:
    """What each part is called with and answers in one forward of the whole module, and the module's own answers."""
    calls: dict[int, list[_Call]] = {}

    def note(part: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], answer: Any) -> None:
        calls.setdefault(id(part), []).append(_Call(arguments, named, answer))

    handles = [part.register_forward_hook(note, with_kwargs=True) for part in parts]
    # torch's encoder layers pass an attention by in their fused kernel, which they leave when a gradient is wanted
    with torch.enable_grad():
        answers = outputs_in_order(module(*examples))
    for handle in handles:
        handle.remove()
    return calls, [answer.detach() for answer in answers]


def _still_answers(module: nn.Module, examples: Sequence[Tensor], wanted: Sequence[Tensor]) -> bool:
    """The whole module computes as before."""
    try:
        with torch.no_grad():
            found = outputs_in_order(module(*examples))
    except Exception:  # noqa: BLE001  the user's own forward may raise anything
        return False
    return len(found) == len(wanted) and all(_is_near(one, other) for one, other in zip(wanted, found, strict=True))


def _answers_alike(own: SelfAttention, calls: Sequence[_Call]) -> bool:
    if not calls:
        return False
    own.eval()
    for call in calls:
        try:
            with torch.no_grad():
                answer = own(*call.arguments, **call.named)
        except (TypeError, ValueError, RuntimeError, IndexError):
            return False
        wanted, found = _tensor(call.answer), _tensor(answer)
        if wanted is None or found is None or _is_tuple(call.answer, answer):
            return False
        if not _is_near(wanted.detach(), found):
            return False
    return True


def _is_near(wanted: Tensor, found: Tensor) -> bool:
    if wanted.shape != found.shape:
        return False
    allowed = _ALIKE * float(wanted.abs().max()) + 1e-6
    return bool(((wanted - found).abs() <= allowed).all())


def _tensor(answer: Any) -> Tensor | None:
    first = answer[0] if isinstance(answer, tuple) and answer else answer
    return first if isinstance(first, Tensor) else None


def _is_tuple(one: Any, other: Any) -> bool:
    return isinstance(one, tuple) != isinstance(other, tuple)


def _rebuilt(part: nn.Module) -> Iterator[SelfAttention]:
    """Every reading of ``part``'s weights as an attention, the usual ones first."""
    if isinstance(part, nn.MultiheadAttention):
        yield from _of_torch(part)
        return
    heads, linears = _head_count(part), _linears(part)
    assert heads is not None
    for qkv, out in _packed(linears, heads):
        head_dim = qkv.out_features // (3 * heads)
        for scale in _scales(part, head_dim, qkv.in_features):
            for is_causal in (False, True):
                shape = HeadShape(head_dim, scale, is_causal, _dropout(part))
                yield SelfAttention(copy.deepcopy(qkv), copy.deepcopy(out), shape)


def _of_torch(part: nn.MultiheadAttention) -> Iterator[SelfAttention]:
    if part.in_proj_weight is None or part.bias_k is not None or part.bias_v is not None or part.add_zero_attn:
        return
    qkv = _linear(part.in_proj_weight, part.in_proj_bias)
    out = _linear(part.out_proj.weight, part.out_proj.bias)
    shape = HeadShape(part.head_dim, part.head_dim**-0.5, dropout=part.dropout)
    yield MultiheadSelfAttention(qkv, out, shape, bool(part.batch_first))


def _packed(linears: list[nn.Linear], heads: int) -> Iterator[tuple[nn.Linear, nn.Linear]]:
    """(qkv, out) in our order of rows: from one packed projection in three usual orders, or from three."""
    if len(linears) == 2:
        for qkv, out in (linears, linears[::-1]):
            if qkv.out_features == 3 * out.in_features and out.in_features % heads == 0:
                for order in _row_orders(heads, out.in_features // heads):
                    bias = None if qkv.bias is None else qkv.bias[order]
                    yield _linear(qkv.weight[order], bias), out
        return
    for query, key, value, out in permutations(linears):
        inner = query.out_features
        if {key.out_features, value.out_features, out.in_features} != {inner} or inner % heads:
            continue
        if len({query.in_features, key.in_features, value.in_features}) > 1:
            continue
        yield _joined((query, key, value)), out


def _row_orders(heads: int, head_dim: int) -> Iterator[Tensor]:
    """Row numbers that bring (q k v, head, dim), (head, q k v, dim) and (head, dim, q k v) into the first order."""
    rows = torch.arange(3 * heads * head_dim)
    yield rows
    yield rows.reshape(heads, 3, head_dim).permute(1, 0, 2).flatten()
    yield rows.reshape(heads, head_dim, 3).permute(2, 0, 1).flatten()


def _joined(parts: Sequence[nn.Linear]) -> nn.Linear:
    weight = torch.cat([part.weight.detach() for part in parts])
    if all(part.bias is None for part in parts):
        return _linear(weight, None)
    biases = [part.weight.new_zeros(part.out_features) if part.bias is None else part.bias.detach() for part in parts]
    return _linear(weight, torch.cat(biases))


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    with torch.device("meta"):
        made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    made.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().clone())
    return made


def _scales(part: nn.Module, head_dim: int, width: int) -> list[float]:
    """Factors of the logits to try: the usual one, the module's own, by the whole width, none."""
    own = getattr(part, "scale", None)
    if isinstance(own, Tensor) and own.numel() == 1 and not isinstance(own, nn.Parameter):
        own = float(own)
    scales = [head_dim**-0.5, *([float(own), 1 / float(own)] if isinstance(own, (int, float)) and own else [])]
    scales += [width**-0.5, 1.0]
    return [scale for index, scale in enumerate(scales) if not any(math.isclose(scale, s) for s in scales[:index])]


def _dropout(part: nn.Module) -> float:
    for name in _DROPOUTS:
        value = getattr(part, name, None)
        if isinstance(value, nn.Dropout):
            return float(value.p)
        if isinstance(value, float) and 0 <= value < 1:
            return value
    return 0.0

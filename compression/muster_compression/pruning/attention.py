"""Self-attention whose number of heads follows from its weights, so that heads can leave it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class HeadShape:
    """How one projection's rows are heads."""

    head_dim: int
    scale: float
    is_causal: bool = False
    dropout: float = 0.0


class SelfAttention(nn.Module):
    """(..., tokens, channels) -> (..., tokens, channels): softmax(q k' scale) v over ``num_heads`` heads, projected.

    Vaswani et al. 2017, section 3.2. ``qkv``: channels -> 3 x heads x head_dim, ordered by (q, k, v), then by head.
    """

    def __init__(self, qkv: nn.Linear, out: nn.Linear, shape: HeadShape) -> None:
        super().__init__()
        self.qkv = qkv
        self.out = out
        self.head_dim = shape.head_dim
        self.scale = shape.scale
        self.is_causal = shape.is_causal
        self.dropout = shape.dropout

    @property
    def num_heads(self) -> int:
        """What the weights say."""
        return self.qkv.out_features // (3 * self.head_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.attend(tokens, None, self.is_causal)

    def attend(self, tokens: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        """``mask``: added to the logits, or True where attention is allowed; broadcast to (n, heads, t, t)."""
        leading = tokens.shape[:-1]
        rows = tokens.reshape(-1, leading[-1], tokens.shape[-1])
        packed = self.qkv(rows)  # its width says how many heads there are, also when a pass put a chain of layers there
        packed = packed.reshape(*packed.shape[:2], 3, packed.shape[2] // (3 * self.head_dim), self.head_dim)
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=is_causal and mask is None,
            scale=self.scale,
        )
        joined = mixed.transpose(1, 2).flatten(2).reshape(*leading, -1)
        projected: Tensor = self.out(joined)
        return projected


class MultiheadSelfAttention(SelfAttention):
    """Stands where a ``torch.nn.MultiheadAttention`` stood whose query, key and value are one tensor."""

    in_proj_bias = None  # torch's encoder layers look here for their own fused kernel, and then leave it alone
    in_proj_weight = None
    _qkv_same_embed_dim = False

    def __init__(self, qkv: nn.Linear, out: nn.Linear, shape: HeadShape, batch_first: bool) -> None:
        super().__init__(qkv, out, shape)
        self.batch_first = batch_first

    def forward(  # type: ignore[override]
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """As torch's, but the attention weights are not returned."""
        del need_weights, average_attn_weights
        if key is not query or value is not query:
            raise ValueError("expected self-attention: query, key and value one tensor")
        tokens = query if self.batch_first or query.dim() == 2 else query.transpose(0, 1)
        mixed = self.attend(tokens, self._mask(attn_mask, key_padding_mask), is_causal and attn_mask is None)
        return (mixed if self.batch_first or query.dim() == 2 else mixed.transpose(0, 1)), None

    def _mask(self, attn_mask: Tensor | None, padding: Tensor | None) -> Tensor | None:
        """Both of torch's masks as one that is added to the logits; there, True means "not allowed"."""
        added = None if attn_mask is None else _as_added(attn_mask)
        if added is not None and added.dim() == 3:  # (n x heads, t, t): one mask per head cannot lose heads
            raise ValueError("expected an attention mask for all heads, found one per head")
        if padding is None:
            return added
        hidden = _as_added(padding)[:, None, None, :]
        return hidden if added is None else added + hidden


def _as_added(mask: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, device=mask.device).masked_fill(mask, float("-inf"))

"""Layers of Transformers (Vaswani et al., NeurIPS 2017): attention of several heads, and a layer of an encoder."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu


class Softmax(nn.Module):
    """What attention makes of queries, keys and values: softmax(Q K' / sqrt(E)) V (eq. 1)."""

    def __init__(self, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Queries (B, L, heads, E), keys and values (B, M, heads, E) -> (B, L, heads, E)."""
        scores = torch.einsum("blhe,bmhe->bhlm", queries, keys) / math.sqrt(queries.shape[-1])
        return torch.einsum("bhlm,bmhe->blhe", self.dropout(torch.softmax(scores, dim=-1)), values)


class Heads(nn.Module):
    """Maps to heads, what is made of them, and a map back (section 3.2.2).

    Args:
        mix: of queries, keys and values by head, as `Softmax`.
    """

    def __init__(self, d_model: int, n_heads: int, mix: nn.Module):
        super().__init__()
        self.n_heads, self.mix = n_heads, mix
        self.query, self.key = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.value, self.out = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)

    def forward(self, tokens: Tensor, of: Tensor) -> Tensor:
        """(B, L, D), that ask, and (B, M, D), that are asked -> (B, L, D)."""
        parts = ((self.query, tokens), (self.key, of), (self.value, of))
        mixed = self.mix(*(each(x).unflatten(-1, (self.n_heads, -1)) for each, x in parts))
        return self.out(mixed.flatten(-2))


class Feed(nn.Module):
    """Two maps with a GELU between them, of each token alone."""

    def __init__(self, d_model: int, d_ff: int, dropout: float = 0.0, bias: bool = True):
        super().__init__()
        self.inner, self.outer = nn.Linear(d_model, d_ff, bias=bias), nn.Linear(d_ff, d_model, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.outer(self.dropout(gelu(self.inner(tokens)))))


class EncoderLayer(nn.Module):
    """Attention, then `Feed`, each added to what it reads and normalised.

    Args:
        attention: whether tokens read each other at all.
    """

    def __init__(self, d_model: int, n_heads: int, d_ff: int, dropout: float, attention: bool = True):
        super().__init__()
        self.attention = Heads(d_model, n_heads, Softmax(dropout)) if attention else None
        self.feed = Feed(d_model, d_ff, dropout)
        self.norm_attention = nn.LayerNorm(d_model) if attention else None
        self.norm_feed = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        if self.attention is not None and self.norm_attention is not None:
            tokens = self.norm_attention(tokens + self.dropout(self.attention(tokens, tokens)))
        return self.norm_feed(tokens + self.feed(tokens))

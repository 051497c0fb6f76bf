"""CLIP's text tower: a causal Transformer whose feature of a caption is that of its end token.

Radford et al., ICML 2021 (arXiv 2103.00020), section 2.4: 12 layers, 512 wide, 8 heads, a context of 77 tokens, layer
norm before each part. The names of the tensors and their initial values, which the paper does not state, are those of
OpenAI's release, so public weights load by name. DeCLIP's tower (arXiv 2110.05208) differs in its vocabulary only.

Shapes: N captions, T tokens, W width, D the space that images and texts share.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from interngv.errors import did_you_mean
from interngv.registry import MODELS

_MOST_ROWS = 8  # that a message names


@dataclass(frozen=True)
class TextFeatures:
    """Of N captions of at most T tokens; nothing is normalised.

    Attributes:
        embedding: (N, D) in the shared space, taken at the end token.
        lengths: (N,) tokens of each caption, its start and its end among them.
        words: (N, T, W) word features before any projection, zero behind the end; None where not asked for.
        tokens: (N, T, D) word features in the space in which tokens are compared, zero behind the end; None likewise.
    """

    embedding: Tensor
    lengths: Tensor
    words: Tensor | None = None
    tokens: Tensor | None = None


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, the approximate GELU of OpenAI's CLIP weights."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(1.702 * x) / 1.702  # keeps one tensor for the backward pass where the product keeps two


ACTIVATIONS: dict[str, type[nn.Module]] = {"quick_gelu": QuickGELU, "gelu": nn.GELU}


class CausalSelfAttention(nn.Module):
    """Self-attention in which a token sees itself and those before it; tensors as in ``nn.MultiheadAttention``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x_NTW: Tensor) -> Tensor:
        parts = F.linear(x_NTW, self.in_proj_weight, self.in_proj_bias).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class ResidualBlock(nn.Module):
    """Attention, then a perceptron of four times the width, each behind a layer norm and added to its input."""

    def __init__(self, width: int, heads: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = CausalSelfAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        parts = [("c_fc", nn.Linear(width, 4 * width)), ("gelu", activation()), ("c_proj", nn.Linear(4 * width, width))]
        self.mlp = nn.Sequential(OrderedDict[str, nn.Module](parts))

    def forward(self, x_NTW: Tensor) -> Tensor:
        x_NTW = x_NTW + self.attn(self.ln_1(x_NTW))
        return x_NTW + self.mlp(self.ln_2(x_NTW))


class Transformer(nn.Module):
    """Blocks one after the other; ``with_cp`` recomputes each in the backward pass instead of keeping activations."""

    def __init__(self, width: int, layers: int, heads: int, activation: type[nn.Module], with_cp: bool) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.resblocks = nn.ModuleList(ResidualBlock(width, heads, activation) for _ in range(layers))

    def forward(self, x_NTW: Tensor) -> Tensor:
        for block in self.resblocks:
            recompute = self.with_cp and torch.is_grad_enabled()
            x_NTW = checkpoint(block, x_NTW, use_reentrant=False) if recompute else block(x_NTW)
        return x_NTW


@MODELS.register_module()
class TextTransformer(BaseModule):
    """Token ids to features.

    Only as many positions as the longest caption of a batch has are computed: behind a causal mask the others change
    nothing. Reading the lengths waits for the device that holds the ids; ids on the CPU let a GPU run on.

    Args:
        vocab_size: rows of the token table.
        end_id: the id that ends a caption. CLIP's is the greatest of its vocabulary, 49 407; a vocabulary with a mask
            word behind it has a greater one, so the end is looked up, which is CLIP's argmax on plain captions.
        embed_dim: D.
        context_length: the most tokens of a caption.
        width, layers, heads: of the Transformer.
        activation: ``'quick_gelu'``, as in OpenAI's weights, or ``'gelu'``.
        projection_bias: whether the projection to the shared space has a bias.
        token_dim: width of a projection that tokens have for themselves; None sends them through that of the caption.
        with_cp: recomputes each block's activations in the backward pass instead of keeping them.
        init_cfg: mmengine's initialisation config.

    Raises:
        ValueError: sizes that do not go together, an unknown activation.
    """

    def __init__(
        self,
        vocab_size: int,
        end_id: int,
        embed_dim: int,
        context_length: int = 77,
        width: int = 512,
        layers: int = 12,
        heads: int = 8,
        activation: str = "quick_gelu",
        projection_bias: bool = False,
        token_dim: int | None = None,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if activation not in ACTIVATIONS:
            hint = did_you_mean(str(activation), ACTIVATIONS)
            raise ValueError(f"activation {activation!r} is none of {', '.join(ACTIVATIONS)}{hint}")
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads")
        if not 0 <= end_id < vocab_size:
            raise ValueError(f"end_id {end_id} is not in a vocabulary of {vocab_size} ids")
        self.vocab_size, self.end_id, self.context_length = vocab_size, end_id, context_length
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        self.transformer = Transformer(width, layers, heads, ACTIVATIONS[activation], with_cp)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, embed_dim))
        self.text_projection_bias = nn.Parameter(torch.zeros(embed_dim)) if projection_bias else None
        self.token_projection = None if token_dim is None else nn.Linear(width, token_dim, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        # What is not named here keeps torch's initial values, in the release too.
        width, layers = self.ln_final.weight.numel(), len(self.transformer.resblocks)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        into_residual = width**-0.5 * (2 * layers) ** -0.5
        for name, param in self.transformer.named_parameters():
            if name.endswith("in_proj_weight"):
                nn.init.normal_(param, std=width**-0.5)
            elif name.endswith("c_fc.weight"):
                nn.init.normal_(param, std=(2 * width) ** -0.5)
            elif name.endswith(("out_proj.weight", "c_proj.weight")):
                nn.init.normal_(param, std=into_residual)
            elif name.endswith("out_proj.bias"):
                nn.init.zeros_(param)
        nn.init.normal_(self.text_projection, std=width**-0.5)
        if self.token_projection is not None:
            nn.init.normal_(self.token_projection.weight, std=width**-0.5)

    def forward(self, ids: Tensor, words: bool = False, tokens: bool = False) -> TextFeatures:
        """Features of captions.

        Args:
            ids: (N, T) start, words, end, then anything; T is at most ``context_length``.
            words, tokens: whether these are wanted.

        Raises:
            ValueError: ids of another shape or outside the vocabulary, or captions without an end, by their rows.
        """
        lengths, longest = self._lengths(ids)
        device = self.positional_embedding.device
        kept = ids[:, :longest].to(device, non_blocking=True)
        lengths = lengths.to(device, non_blocking=True)
        x_NTW = self.token_embedding(kept) + self.positional_embedding[:longest]
        x_NTW = self.ln_final(self.transformer(x_NTW))
        embedding = self._projected(x_NTW[torch.arange(len(kept), device=device), lengths - 1])
        if not (words or tokens):
            return TextFeatures(embedding, lengths)
        behind = (torch.arange(longest, device=device) >= lengths[:, None])[..., None]

        def full(features: Tensor) -> Tensor:
            return F.pad(features.masked_fill(behind, 0), (0, 0, 0, ids.shape[1] - longest))

        shared = self._projected if self.token_projection is None else self.token_projection
        return TextFeatures(embedding, lengths, full(x_NTW) if words else None, full(shared(x_NTW)) if tokens else None)

    def _projected(self, x: Tensor) -> Tensor:
        x = x @ self.text_projection
        return x if self.text_projection_bias is None else x + self.text_projection_bias

    def _lengths(self, ids: Tensor) -> tuple[Tensor, int]:
        """Tokens of each caption, on the device of the ids, and the greatest of these numbers."""
        if ids.ndim != 2 or not 0 < ids.shape[1] <= self.context_length or not len(ids):
            wanted = f"(N, T) of at least one caption, T from 1 to {self.context_length}"
            raise ValueError(f"token ids have shape {tuple(ids.shape)}, expected {wanted}")
        ends = ids == self.end_id
        lengths = (ends.int().argmax(1) + 1) * ends.any(1)
        extremes = [*lengths.aminmax(), *ids.aminmax()]
        shortest, longest, lowest, highest = torch.stack([one.long() for one in extremes]).tolist()
        if not 0 <= lowest <= highest < self.vocab_size:
            raise ValueError(f"token ids from {lowest} to {highest} in a vocabulary of {self.vocab_size}")
        if not shortest:
            rows = (lengths == 0).nonzero().flatten().tolist()
            shown = ", ".join(map(str, rows[:_MOST_ROWS])) + (", ..." if len(rows) > _MOST_ROWS else "")
            raise ValueError(f"{len(rows)} of {len(ids)} captions have no end (id {self.end_id}): rows {shown}")
        return lengths, longest

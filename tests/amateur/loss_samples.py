"""What the tests of the losses share: small outputs of two towers, plain losses to compare with, two processes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from interngv.amateur.outputs import MaskedText, TowerOutputs

VOCABULARY = 11
FEATURES = ("image", "text", "pooled", "image_tokens", "text_tokens")


def outputs(count: int, width: int = 6, seed: int = 0, dtype: torch.dtype = torch.float64) -> TowerOutputs:
    """Two views of everything; pairs 0, 2 and 3 share a caption, as do 1 and the last."""
    generator = torch.Generator().manual_seed(seed)

    def features(*shape: int) -> tuple[Tensor, Tensor]:
        first, second = torch.randn(2, count, *shape, generator=generator, dtype=torch.float64).to(dtype)
        return first.requires_grad_(), second.requires_grad_()

    image, text, pooled = features(width), features(width), features(5)
    image_tokens, text_tokens = features(4, width), features(7, width)
    lengths = torch.arange(count) % 7 + 1
    ids = torch.arange(count) * 2**40
    ids[2:4], ids[4:][-1:] = 0, 2**40
    targets = torch.randint(VOCABULARY, (count, 7), generator=generator)
    targets[torch.rand(count, 7, generator=generator) < 0.7] = -100
    return TowerOutputs(
        image,
        text,
        torch.tensor(7.0, dtype=dtype, requires_grad=True),
        torch.tensor(-2.0, dtype=dtype, requires_grad=True),
        pooled,
        image_tokens,
        text_tokens,
        (lengths, lengths),
        ids,
        MaskedText(text_tokens[0], targets),
    )


def without_ids(given: TowerOutputs) -> TowerOutputs:
    return replace(given, caption_ids=None)


def leaves(given: TowerOutputs) -> dict[str, Tensor]:
    """Everything that a gradient may reach, by name."""
    found = {f"{name}.{view}": value for name in FEATURES for view, value in enumerate(getattr(given, name))}
    return {**found, "logit_scale": given.logit_scale, "logit_bias": given.logit_bias}


def gradients(loss: Tensor, given: TowerOutputs) -> dict[str, Tensor]:
    """The gradient of every leaf, zeros where none flows."""
    named = leaves(given)
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
    return {
        name: torch.zeros_like(value) if grad is None else grad
        for (name, value), grad in zip(named.items(), found, strict=True)
    }


def assert_same(ours: Tensor, plain: Tensor, given: TowerOutputs, tolerance: float = 1e-10) -> None:
    """Loss and every gradient."""
    torch.testing.assert_close(ours, plain, atol=tolerance, rtol=tolerance)
    expected = gradients(plain, given)
    for name, grad in gradients(ours, given).items():
        torch.testing.assert_close(grad, expected[name], atol=tolerance, rtol=tolerance, msg=f"gradient of {name}")


def cosine(one: Tensor, two: Tensor) -> Tensor:
    return (one @ two) / (one.norm() * two.norm())


def plain_info_nce(image: Tensor, text: Tensor, scale: Tensor, ids: Tensor | None = None) -> Tensor:
    """By loops over the pairs, from the formula."""
    count, total = len(image), 0.0
    logits = [[scale * cosine(image[i], text[j]) for j in range(count)] for i in range(count)]
    for i in range(count):
        others = [j for j in range(count) if j != i and (ids is None or ids[i] != ids[j])]
        over_texts = sum(logits[i][j].exp() for j in others) + logits[i][i].exp()
        over_images = sum(logits[j][i].exp() for j in others) + logits[i][i].exp()
        total = total - (logits[i][i].exp() / over_texts).log() - (logits[i][i].exp() / over_images).log()
    return total / (2 * count)


def saved_bytes(compute: Callable[[], Any]) -> int:
    """Bytes that autograd keeps for the backward pass, each storage once."""
    kept: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        result = compute()
    assert result is not None
    return sum(kept.values())

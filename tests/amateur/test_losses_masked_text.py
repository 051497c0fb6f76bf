"""Masked words: against a loop over the places, and a batch in which nothing is asked."""

from dataclasses import replace

import pytest
import torch
from loss_samples import VOCABULARY, outputs
from torch import Tensor

from interngv.amateur.losses import MaskedTextLoss
from interngv.amateur.outputs import MaskedText


def loss_and_text(count: int = 5) -> tuple[MaskedTextLoss, MaskedText]:
    torch.manual_seed(0)
    return MaskedTextLoss(6, VOCABULARY).double(), outputs(count).masked_text


def grads(loss: MaskedTextLoss, value: Tensor, text: MaskedText) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, [*loss.parameters(), text.tokens])


def test_equals_a_loop_over_the_places() -> None:
    loss, text = loss_and_text()
    asked = [(i, t) for i in range(5) for t in range(7) if text.targets[i, t] != -100]
    expected = sum(
        -(loss.head.weight @ text.tokens[i, t] + loss.head.bias).log_softmax(0)[text.targets[i, t]] for i, t in asked
    ) / len(asked)
    value = loss(replace(outputs(5), masked_text=text))
    torch.testing.assert_close(value, expected)
    for ours, plain in zip(grads(loss, value, text), grads(loss, expected, text), strict=True):
        torch.testing.assert_close(ours, plain)
    assert 5 < len(asked) < 35


def test_nothing_asked_costs_nothing_and_trains_nothing() -> None:
    loss, text = loss_and_text()
    nothing = replace(text, targets=torch.full_like(text.targets, -100))
    value = loss(replace(outputs(5), masked_text=nothing))
    assert value.item() == 0
    assert all(grad.count_nonzero() == 0 for grad in grads(loss, value, nothing))


def test_logits_are_those_of_the_places_only() -> None:
    loss, text = loss_and_text(40)
    seen: list[int] = []
    loss.head.register_forward_hook(lambda module, args, logits: seen.append(logits.numel()))
    loss(replace(outputs(40), masked_text=text))
    assert seen == [int((text.targets != -100).sum()) * VOCABULARY]


def test_needs_masked_captions() -> None:
    assert MaskedTextLoss.masked_text and MaskedTextLoss.image_views == MaskedTextLoss.text_views == 0
    with pytest.raises(ValueError, match="MaskedTextLoss needs captions with masked words"):
        loss_and_text()[0](replace(outputs(3), masked_text=None))

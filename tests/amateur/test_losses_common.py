"""What holds of every loss: built by name, content with what it asks for, the same on two processes as on one."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from loss_samples import FEATURES, leaves, outputs
from torch import Tensor
from two_processes import in_two_processes

from interngv.amateur.losses import SupervisionLoss, gather
from interngv.amateur.losses.gather import collect
from interngv.amateur.outputs import TowerOutputs
from interngv.registry import MODELS

CONFIGS = {
    "InfoNCE": dict(type="interngv.InfoNCE"),
    "InfoNCE of the first pair": dict(type="interngv.InfoNCE", pairs="first", same_caption="negative", chunk_mib=1e-4),
    "SigLIP": dict(type="interngv.SigLIPLoss", chunk_mib=1e-4),
    "tokenwise": dict(type="interngv.TokenwiseLoss", top_tokens=3, chunk_mib=1e-4),
    "tokenwise with all tokens": dict(type="interngv.TokenwiseLoss", top_tokens=None),
    "SimSiam": dict(type="interngv.SimSiamLoss", width=5, hidden=8),
    "SimCLR": dict(type="interngv.SimCLRLoss", width=5, hidden=8, out=4, chunk_mib=1e-4),
    "masked text": dict(type="interngv.MaskedTextLoss", width=6, vocab_size=11),
    "nearest neighbour": dict(type="interngv.NearestNeighbourLoss", width=6, size=16),
}
every_loss = pytest.mark.parametrize("name", CONFIGS)


def built(name: str) -> SupervisionLoss:
    torch.manual_seed(0)
    return MODELS.build(CONFIGS[name]).double()


@every_loss
def test_is_content_with_what_it_asks_for_and_trains_all_it_has(name: str) -> None:
    given, loss = outputs(5), built(name)
    least = TowerOutputs(
        image=given.image[: loss.image_views],
        text=given.text[: loss.text_views],
        logit_scale=given.logit_scale,
        logit_bias=given.logit_bias,
        pooled=given.pooled[: loss.image_views],
        image_tokens=given.image_tokens[: loss.image_views] if loss.tokens else (),
        text_tokens=given.text_tokens[: loss.text_views] if loss.tokens else (),
        text_lengths=given.text_lengths[: loss.text_views] if loss.tokens else (),
        masked_text=given.masked_text if loss.masked_text else None,
    )
    value = loss(least)
    value.backward()
    assert value.shape == () and value.isfinite()
    assert [parameter for parameter, weight in loss.named_parameters() if weight.grad is None] == []
    assert any(leaf.grad is not None for leaf in leaves(given).values())


@every_loss
def test_takes_half_precision_under_autocast(name: str) -> None:
    given = outputs(5, dtype=torch.bfloat16)
    loss = built(name).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(given)
    value.backward()
    assert value.dtype == torch.float32 and value.isfinite()
    assert all(leaf.grad.isfinite().all() for leaf in leaves(given).values() if leaf.grad is not None)


@every_loss
def test_no_number_gives_no_number(name: str) -> None:
    """A fault must reach the loss, where the training step looks for it."""
    given = outputs(5)
    with torch.no_grad():
        for part in FEATURES:
            for view in getattr(given, part):
                view[0] = torch.nan
    given.masked_text.targets[0] = 1
    assert built(name)(given).isnan()


def share(given: TowerOutputs, rank: int) -> TowerOutputs:
    """The half of a batch that one of two processes has."""
    half = slice(None, 4) if rank == 0 else slice(4, None)
    parts = {part: tuple(view.detach()[half].requires_grad_() for view in getattr(given, part)) for part in FEATURES}
    numbers = {name: getattr(given, name).detach().requires_grad_() for name in ("logit_scale", "logit_bias")}
    masked = replace(given.masked_text, tokens=parts["text_tokens"][0], targets=given.masked_text.targets[half])
    lengths = tuple(form[half] for form in given.text_lengths)
    return TowerOutputs(
        **parts, **numbers, text_lengths=lengths, caption_ids=given.caption_ids[half], masked_text=masked
    )


def step(loss: SupervisionLoss, given: TowerOutputs) -> dict[str, Tensor]:
    """Loss and gradients of two training steps' features, and of the loss's own parameters and buffers after them."""
    loss.eval() if "Sim" in type(loss).__name__ else loss.train()  # batch statistics are each process's own
    loss(replace(given, image=given.text)).backward()
    value = loss(given)
    value.backward()
    named = {**leaves(given), **dict(loss.named_parameters())}
    grads = {f"gradient of {key}": leaf.grad for key, leaf in named.items() if leaf.grad is not None}
    return {"loss": value.detach(), **grads, **{key: value.clone() for key, value in loss.named_buffers()}}


@every_loss
def test_two_processes_are_one(name: str, tmp_path: Path) -> None:
    """The mean of both is one process's; a feature's gradient, which DDP's mean will halve, is twice as large."""
    given = outputs(8)
    whole = step(built(name), given)

    def of_rank(rank: int) -> dict[str, Tensor]:
        return step(built(name), share(given, rank))

    first, second = in_two_processes(of_rank, tmp_path)
    assert first.keys() == second.keys() == whole.keys()
    for key, expected in whole.items():
        if any(f"gradient of {part}." in key for part in FEATURES):
            found = torch.cat([first[key], second[key]]) / 2
        elif key.startswith(("gradient", "loss")):
            found = (first[key] + second[key]) / 2
        else:
            found = first[key]
            assert torch.equal(first[key], second[key]), key
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10, msg=key)


def test_gathered_in_the_order_of_the_ranks(tmp_path: Path) -> None:
    def of_rank(rank: int) -> dict[str, Tensor]:
        ids, real = torch.tensor([2**60 + rank, rank]), torch.tensor([True, rank == 0])
        transposed = torch.arange(6.0).view(3, 2).T + 10 * rank
        *found, features = gather(ids, real, transposed.requires_grad_())
        features.square().sum().mul(rank + 1).backward()
        return {
            "ids": found[0],
            "real": found[1],
            "grad": transposed.grad,
            "mine": collect(torch.arange(4) + 10 * rank),
        }

    for rank, found in enumerate(in_two_processes(of_rank, tmp_path)):
        assert found["ids"].tolist() == [2**60, 0, 2**60 + 1, 1]
        assert found["real"].tolist() == [True, True, True, False]
        # What both processes found for this one's rows, 1 and 2 times the derivative of the square.
        assert torch.equal(found["grad"], 6 * (torch.arange(6.0).view(3, 2).T + 10 * rank))
        assert found["mine"].tolist() == [[2 * rank, 2 * rank + 1], [10 + 2 * rank, 11 + 2 * rank]]


@pytest.mark.parametrize("sizes", [(3, 2), (2, 0)])
def test_unequal_batches_are_refused_on_every_process(sizes: tuple[int, int], tmp_path: Path) -> None:
    def of_rank(rank: int) -> dict[str, Tensor]:
        with pytest.raises(ValueError, match=f"equally many on every process, got {sizes[0]}, {sizes[1]}"):
            gather(torch.zeros(sizes[rank], 2))
        return {}

    in_two_processes(of_rank, tmp_path)


def test_one_process_is_left_alone() -> None:
    features = torch.rand(3, 2)
    assert gather(features)[0] is features
    assert collect(torch.arange(3)).tolist() == [[0, 1, 2]]

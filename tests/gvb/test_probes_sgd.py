"""SGD over a grid: every head against a plain PyTorch loop, minibatches against mmengine's sampler."""

from itertools import islice

import pytest
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.model import initialize
from probe_samples import blobs
from torch import nn
from torch.utils.data import BatchSampler

from interngv.errors import UserError
from interngv.gvb.probes import RELEASED, ProbeData, Samples, Schedule, sgd_grid
from interngv.gvb.probes.sgd import _Training, initial_head, minibatches

SCHEDULE = Schedule(iterations=150, batch_size=48, milestones=(60, 120))


def plain_loop(samples: Samples, classes: int, schedule: Schedule, seed: int, **sgd: float) -> nn.Linear:
    """The released probe as anyone would write it: nn.Linear, torch.optim.SGD, MultiStepLR, mmengine's sampler."""
    head = nn.Linear(samples.features.shape[1], classes)
    start = initial_head(classes, samples.features.shape[1], seed)
    head.load_state_dict({"weight": start[:, :-1], "bias": start[:, -1]})
    optimizer = torch.optim.SGD(head.parameters(), **sgd)
    decay = torch.optim.lr_scheduler.MultiStepLR(optimizer, schedule.milestones, schedule.gamma)
    batches = BatchSampler(InfiniteSampler(samples.labels, seed=seed), schedule.batch_size, drop_last=False)
    for batch in islice(batches, schedule.iterations):
        loss = nn.functional.cross_entropy(head(samples.features[batch]), samples.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return head


@pytest.mark.parametrize("count", [20, 100, 120])  # smaller than a batch, no multiple of it, larger
@pytest.mark.parametrize(
    "grid",
    [
        [RELEASED],
        [
            dict(lr=0.001, weight_decay=0.0, momentum=0.9),
            dict(lr=0.1, weight_decay=0.01, momentum=0.0),
            dict(lr=0.1, weight_decay=0.1, momentum=0.9),
        ],
    ],
    ids=["released", "grid"],
)
def test_every_head_is_that_of_a_single_run(grid: list[dict], count: int) -> None:
    samples = blobs(count)
    heads = _Training(samples, 4, SCHEDULE, normalise=False, seed=5)(grid)
    for weights, setting in zip(heads.weights, grid, strict=True):
        expected = plain_loop(samples, 4, SCHEDULE, 5, **setting)
        torch.testing.assert_close(weights[:, :-1], expected.weight.detach(), rtol=1e-4, atol=2e-6)
        torch.testing.assert_close(weights[:, -1], expected.bias.detach(), rtol=1e-4, atol=2e-6)


def test_a_head_does_not_depend_on_those_beside_it() -> None:
    """Even where they diverge."""
    grid = [RELEASED, dict(lr=1e30, weight_decay=0.1, momentum=0.9), dict(RELEASED, lr=0.1)]
    train = _Training(blobs(), 4, SCHEDULE, normalise=False, seed=0)
    together = train(grid)
    assert [bool(note) for note in together.notes] == [False, True, False]
    for index in (0, 2):
        torch.testing.assert_close(together.weights[index], train([grid[index]]).weights[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("n", "size"), [(1, 1), (7, 3), (10, 10), (10, 5), (6, 20), (100, 64)])
def test_minibatches_are_those_of_mmengines_sampler(n: int, size: int) -> None:
    expected = islice(BatchSampler(InfiniteSampler(range(n), seed=11), size, drop_last=False), 50)
    for ours, theirs in zip(islice(minibatches(n, size, 11), 50), expected, strict=True):
        assert ours.tolist() == theirs


def test_eight_ranks_draw_a_minibatch_together(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = []
    for rank in range(8):
        monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda rank=rank: (rank, 8))
        ranks.append(list(islice(BatchSampler(InfiniteSampler(range(1000), seed=2), 64, drop_last=False), 5)))
    for ours, *theirs in zip(islice(minibatches(1000, 512, 2), 5), *ranks, strict=True):
        assert sorted(ours.tolist()) == sorted(index for part in theirs for index in part)


def test_the_start_is_distributed_as_the_hosts_initialiser_makes_it() -> None:
    head = nn.Linear(4000, 10)
    config = dict(type="Kaiming", layer="Linear", a=5**0.5, mode="fan_out", distribution="uniform")
    initialize(head, config)
    ours = initial_head(10, 4000, seed=0)
    assert ours[:, :-1].std().item() == pytest.approx(head.weight.std().item(), rel=0.02)
    assert ours[:, :-1].abs().max().item() == pytest.approx(head.weight.abs().max().item(), rel=0.02)
    assert not ours[:, -1].any() and not head.bias.any()


@pytest.mark.parametrize("step", [0, 59, 60, 119, 120, 149])
def test_the_learning_rate_steps_as_pytorchs(step: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, SCHEDULE.milestones, SCHEDULE.gamma)
    for _ in range(step):
        optimizer.step()
        scheduler.step()
    assert SCHEDULE.factor(step) == pytest.approx(scheduler.get_last_lr()[0])


def test_normalised_features_need_no_other_learning_rate() -> None:
    """Scaled and shifted features give the same choice and score once they are standardised."""
    moved = [Samples(1e4 * x.features + 3e4, x.labels) for x in (blobs(), blobs(seed=1))]
    grid = dict(lrs=(0.01, 0.1, 1.0), schedule=SCHEDULE, normalise=True)
    plain = sgd_grid(ProbeData(blobs(), blobs(seed=1), 4), **grid)
    scaled = sgd_grid(ProbeData(*moved, 4), **grid)
    assert plain.chosen == scaled.chosen and plain.score == pytest.approx(scaled.score, abs=1)


def test_divergence_is_reported() -> None:
    data = ProbeData(blobs(), blobs(seed=1), 4)
    some = sgd_grid(data, lrs=(0.1, 1e30), weight_decays=(0.1,), schedule=SCHEDULE)
    assert some.chosen["lr"] == 0.1 and some.table[1]["score"] is None and some.table[1]["diverged"]
    with pytest.raises(UserError, match="none of 2 settings could be judged"):
        sgd_grid(data, lrs=(1e29, 1e30), weight_decays=(0.1,), schedule=SCHEDULE)
    with pytest.raises(UserError, match=r"diverged with \{'lr': 1e\+30"):
        sgd_grid(data, lrs=(1e30,), weight_decays=(0.1,), schedule=SCHEDULE)

"""Self-supervision of images: SimSiam and SimCLR against loops, where gradients stop, and what one sample does."""

import math
from dataclasses import replace

import pytest
import torch
from loss_samples import assert_same, cosine, outputs
from torch import Tensor, nn

from interngv.amateur.losses import BatchError, SimCLRLoss, SimSiamLoss
from interngv.amateur.losses.projectors import Projector


def simsiam() -> SimSiamLoss:
    torch.manual_seed(0)
    return SimSiamLoss(5, hidden=8).double()


def simclr(**options: float) -> SimCLRLoss:
    torch.manual_seed(0)
    return SimCLRLoss(5, hidden=8, out=4, **options).double()


def test_simsiam_equals_a_loop() -> None:
    given, loss = outputs(6), simsiam()
    z = [loss.projector(view) for view in given.pooled]
    p = [loss.predictor(view) for view in z]
    expected = -sum(cosine(p[0][i], z[1][i].detach()) + cosine(p[1][i], z[0][i].detach()) for i in range(6)) / 12
    assert_same(loss(given), expected, given)
    assert -1 <= loss(given).item() <= 1


def test_simsiam_stops_the_gradient_at_the_target() -> None:
    """With a predictor of zeros nothing flows back at all, though both projections depend on the trunk."""
    given, loss = outputs(6), simsiam()
    nn.init.zeros_(loss.predictor[-1].weight)
    first, second = torch.autograd.grad(loss(given), given.pooled)
    assert first.count_nonzero() == 0 and second.count_nonzero() == 0


def test_sizes_are_the_published_ones() -> None:
    simsiam, simclr = SimSiamLoss(7), SimCLRLoss(7)
    widths = [tuple(layer.weight.shape) for layer in simsiam.modules() if isinstance(layer, nn.Linear)]
    assert widths == [(1024, 7), (1024, 1024), (1024, 1024), (512, 1024), (1024, 512)]
    assert [type(layer).__name__ for layer in simsiam.projector][-2:] == ["Linear", "BatchNorm1d"]
    assert [type(layer).__name__ for layer in simsiam.predictor] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    widths = [tuple(layer.weight.shape) for layer in simclr.modules() if isinstance(layer, nn.Linear)]
    assert widths == [(4096, 7), (4096, 4096), (256, 4096)] and simclr.temperature == 0.1


def plain_nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    views, count, total = [*first, *second], len(first), 0.0
    for i, view in enumerate(views):
        logits = {j: cosine(view, other) / temperature for j, other in enumerate(views) if j != i}
        total = total + torch.stack(list(logits.values())).logsumexp(0) - logits[(i + count) % (2 * count)]
    return total / (2 * count)


@pytest.mark.parametrize("chunk_mib", [1e-6, 1e-4, 32])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_simclr_equals_loops_over_the_views(chunk_mib: float, temperature: float) -> None:
    given, loss = outputs(6), simclr(temperature=temperature, chunk_mib=chunk_mib)
    first, second = map(loss.projector, given.pooled)
    assert_same(loss(given), plain_nt_xent(first, second, temperature), given)


def test_simclr_of_one_image_has_no_negatives() -> None:
    given, loss = outputs(1), simclr().eval()
    value = loss(given)
    assert value.item() == 0
    assert all(grad.abs().max() < 1e-14 for grad in torch.autograd.grad(value, given.pooled))


def test_simclr_of_a_random_start_is_the_log_of_the_negatives() -> None:
    given, loss = outputs(200), simclr(temperature=1e3)
    assert loss(given).item() == pytest.approx(math.log(2 * 200 - 1), abs=0.01)


@pytest.mark.parametrize("loss", [simsiam(), simclr()], ids=lambda loss: type(loss).__name__)
def test_one_sample_has_no_batch_statistics(loss: nn.Module) -> None:
    given = outputs(1)
    with pytest.raises(BatchError, match="1 sample a process: the projector's batch norm needs two"):
        loss(given)
    assert loss.eval()(given).isfinite()


def test_a_projector_whose_norm_spans_processes_takes_one_sample() -> None:
    projector = nn.SyncBatchNorm.convert_sync_batchnorm(Projector(3, 4, 2))
    assert projector.eval()(torch.rand(1, 3)).shape == (1, 2)
    with pytest.raises((RuntimeError, ValueError)) as error:  # torch's own: the norm is in no group here
        projector.train()(torch.rand(1, 3))
    assert not isinstance(error.value, BatchError)


def test_needs_two_views() -> None:
    with pytest.raises(ValueError, match="SimSiamLoss needs 2 views of pooled features, got 1"):
        simsiam()(replace(outputs(3), pooled=outputs(3).pooled[:1]))
    assert (
        (SimSiamLoss.image_views, SimSiamLoss.text_views) == (2, 0) == (SimCLRLoss.image_views, SimCLRLoss.text_views)
    )

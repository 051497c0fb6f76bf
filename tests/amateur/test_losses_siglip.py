"""The sigmoid loss in chunks: against a question for every pair, and open_clip's."""

import math
from dataclasses import replace

import pytest
import torch
from loss_samples import assert_same, cosine, gradients, outputs, saved_bytes, without_ids
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from interngv.amateur.losses import SigLIPLoss
from interngv.amateur.losses.siglip import _SoftplusSums
from interngv.amateur.outputs import TowerOutputs

ROW = 2**-20 * 8  # MiB of one float64


def plain(given: TowerOutputs, ids: Tensor | None = None) -> Tensor:
    (image, _), (text, _), total = given.image, given.text, 0.0
    for i in range(len(image)):
        for j in range(len(text)):
            if i != j and ids is not None and ids[i] == ids[j]:
                continue
            logit = given.logit_scale * cosine(image[i], text[j]) + given.logit_bias
            total = total - logsigmoid(logit if i == j else -logit)
    return total / len(image)


@pytest.mark.parametrize("rows", [1, 3, 7, 1000])
def test_equals_a_question_for_every_pair(rows: int) -> None:
    given = outputs(7)
    chunk = rows * 7 * ROW
    assert_same(SigLIPLoss(chunk_mib=chunk)(given), plain(given, given.caption_ids), given)
    assert_same(SigLIPLoss(chunk_mib=chunk)(without_ids(given)), plain(given), given)
    assert_same(SigLIPLoss("negative", chunk_mib=chunk)(given), plain(given), given)


def test_gradients_of_every_row() -> None:
    given = outputs(5, width=3)
    ids = torch.tensor([5, 6, 7, 8]), torch.tensor([6, 5, 6, 7, 8])
    tensors = given.image[0][:4], given.text[0], given.logit_bias
    assert torch.autograd.gradcheck(lambda *some: _SoftplusSums.apply(*some, 1, ids, 3 * 5 * ROW), tensors)


@pytest.mark.parametrize(("scale", "bias"), [(10.0, -10.0), (100.0, 0.0)])
def test_equals_open_clip(scale: float, bias: float) -> None:
    sig_lip_loss = pytest.importorskip("open_clip.loss").SigLipLoss()
    numbers = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (scale, bias))
    given = replace(outputs(50, width=16), **dict(zip(("logit_scale", "logit_bias"), numbers, strict=True)))
    features = normalize(given.image[0]), normalize(given.text[0])
    expected = sig_lip_loss(*features, given.logit_scale, given.logit_bias)
    assert_same(SigLIPLoss("negative", chunk_mib=11 * 50 * ROW)(given), expected, given)


def test_float32_is_close_to_float64() -> None:
    given, precise = outputs(40, width=32, dtype=torch.float32), outputs(40, width=32)
    ours, expected = SigLIPLoss()(given), SigLIPLoss()(precise)
    torch.testing.assert_close(ours.double(), expected, atol=1e-5, rtol=1e-5)
    expected_grads = gradients(expected, precise)
    for name, grad in gradients(ours, given).items():
        torch.testing.assert_close(grad.double(), expected_grads[name], atol=1e-5, rtol=1e-5, msg=name)


def test_nothing_as_large_as_the_matrix_is_kept() -> None:
    given = outputs(512, width=8)
    kept = saved_bytes(lambda: SigLIPLoss(chunk_mib=16 * 512 * ROW)(given))
    assert kept < 8 * 512 * 8 * 8 < 512**2 * 8


def test_a_sure_model_is_exact() -> None:
    """Far from the decision the loss of a pair is exp(-|logit|), which a difference of large numbers would lose."""
    features = torch.eye(2, dtype=torch.float32)
    given = TowerOutputs((features,), (features,), torch.tensor(40.0), torch.tensor(-20.0))
    assert SigLIPLoss()(given).item() == pytest.approx(2 * math.exp(-20), rel=1e-5)


@pytest.mark.parametrize("shared", [2, 3, 5])
def test_what_equal_captions_cost(shared: int) -> None:
    """No logit serves a text that k pairs must accept once and refuse k - 1 times better than ln(1 / (k - 1))."""
    features, ids = torch.ones(shared, 1, dtype=torch.float64), torch.zeros(shared, dtype=torch.long)
    bound = shared * math.log(shared) - (shared - 1) * math.log(shared - 1)
    for bias in (-math.log(shared - 1) - 1, -math.log(shared - 1), 20.0):
        given = TowerOutputs((features,), (features,), torch.tensor(0.0), torch.tensor(bias), caption_ids=ids)
        cost = SigLIPLoss("negative")(given).item()
        assert cost >= bound - 1e-6 and (abs(cost - bound) < 1e-6) == (bias == -math.log(shared - 1))
    assert SigLIPLoss()(given).item() == pytest.approx(math.exp(-20), rel=1e-3)


def test_needs_a_bias() -> None:
    with pytest.raises(ValueError, match="SigLIPLoss needs a model with a logit bias"):
        SigLIPLoss()(replace(outputs(3), logit_bias=None))

"""InfoNCE in chunks: against loops over the pairs, open_clip's loss, and what must hold of any such loss."""

import math
from dataclasses import replace

import pytest
import torch
from loss_samples import assert_same, gradients, outputs, plain_info_nce, saved_bytes, without_ids
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from interngv.amateur.losses import BatchError, InfoNCE
from interngv.amateur.losses.similarities import log_sums
from interngv.amateur.outputs import TowerOutputs

ROW = 2**-20 * 8  # MiB of one float64


def plain(given: TowerOutputs, pairs: list[tuple[int, int]], ids: Tensor | None) -> Tensor:
    losses = [plain_info_nce(given.image[i], given.text[j], given.logit_scale, ids) for i, j in pairs]
    return torch.stack(losses).mean()


@pytest.mark.parametrize(
    ("pairs", "of_views"),
    [("first", [(0, 0)]), ("others", [(0, 1), (1, 0), (1, 1)]), ("all", [(0, 0), (0, 1), (1, 0), (1, 1)])],
)
@pytest.mark.parametrize("same_caption", ["ignore", "negative"])
def test_equals_loops_over_the_pairs(pairs: str, of_views: list[tuple[int, int]], same_caption: str) -> None:
    given = outputs(7)
    expected = plain(given, of_views, given.caption_ids if same_caption == "ignore" else None)
    assert_same(InfoNCE(pairs, same_caption)(given), expected, given)


@pytest.mark.parametrize("rows", [1, 2, 3, 6, 7, 1000])
def test_chunks_of_any_size_give_the_same(rows: int) -> None:
    given = outputs(7)
    loss = InfoNCE("first", chunk_mib=rows * 7 * ROW)
    assert_same(loss(given), plain(given, [(0, 0)], given.caption_ids), given)
    assert_same(loss(without_ids(given)), plain(given, [(0, 0)], None), given)


def test_float32_is_close_to_float64() -> None:
    precise = outputs(40, width=32)
    given = outputs(40, width=32, dtype=torch.float32)
    loss = InfoNCE(chunk_mib=7 * 40 * ROW)
    ours = loss(given)
    torch.testing.assert_close(ours.double(), loss(precise), atol=1e-5, rtol=1e-5)
    expected = gradients(loss(precise), precise)
    for name, grad in gradients(ours, given).items():
        torch.testing.assert_close(grad.double(), expected[name], atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("own", [None, 1])
@pytest.mark.parametrize("with_columns", [True, False])
def test_gradients_of_the_sums(own: int | None, with_columns: bool) -> None:
    """Every output by itself, by finite differences; of row 1 columns 0 and 2 are left out, unless one is its own."""
    given = outputs(5, width=3)
    ids = torch.tensor([5, 6, 7, 8]), torch.tensor([6, 5, 6, 7, 8])
    rows, columns = given.image[0][:4], given.text[0]

    def sums(rows: Tensor, columns: Tensor) -> tuple[Tensor, ...]:
        found = log_sums(rows, columns, own, ids, with_columns, chunk_mib=3 * 5 * ROW)
        return tuple(values for values in found if len(values))

    assert len(sums(rows, columns)) == 1 + with_columns + (own is not None)
    assert torch.autograd.gradcheck(sums, (rows, columns))


def test_rows_of_which_all_is_left_out() -> None:
    rows, columns = outputs(3).image[0], outputs(3, seed=1).text[0]
    ids = torch.tensor([4, 4, 5]), torch.tensor([4, 4, 4])
    sums = log_sums(rows, columns, ids=ids)
    assert sums.rows.tolist()[:2] == [-math.inf] * 2 and len(sums.own) == 0
    torch.testing.assert_close(sums.columns, columns @ rows[2])
    grad, _ = torch.autograd.grad(sums.rows[2] + sums.columns.sum(), (rows, columns))
    assert grad[:2].count_nonzero() == 0 and grad.isfinite().all()


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_equals_open_clip(scale: float) -> None:
    clip_loss = pytest.importorskip("open_clip.loss").ClipLoss()
    given = replace(outputs(50, width=16), logit_scale=torch.tensor(scale, dtype=torch.float64, requires_grad=True))
    expected = clip_loss(normalize(given.image[0]), normalize(given.text[0]), given.logit_scale)
    assert_same(InfoNCE("first", "negative", chunk_mib=11 * 50 * ROW)(given), expected, given)


def test_nothing_as_large_as_the_matrix_is_kept() -> None:
    kept = {}
    for count in (256, 512):
        given = outputs(count, width=8)
        loss = InfoNCE("first", chunk_mib=16 * count * ROW)
        kept[count] = saved_bytes(lambda given=given, loss=loss: loss(given))
        logits = saved_bytes(
            lambda given=given: cross_entropy(
                normalize(given.image[0]) @ normalize(given.text[0]).T, torch.arange(len(given.image[0]))
            )
        )
        assert logits > 8 * count**2 > kept[count]
    assert kept[512] < 2.1 * kept[256]
    assert kept[512] < 12 * 512 * 8 * 8


def test_one_pair_costs_nothing() -> None:
    given = outputs(1)
    loss = InfoNCE()(given)
    assert loss.item() == 0
    for name, grad in gradients(loss, given).items():
        assert grad.abs().max() < 1e-14, name


def test_an_empty_batch_is_refused() -> None:
    given = outputs(2)
    empty = replace(given, image=tuple(view[:0] for view in given.image), text=tuple(form[:0] for form in given.text))
    with pytest.raises(BatchError, match="expected samples"):
        InfoNCE()(empty)
    assert issubclass(BatchError, ValueError)


def test_a_random_start_costs_the_log_of_the_batch() -> None:
    given = replace(outputs(256, width=512), logit_scale=torch.tensor(1.0))
    assert InfoNCE(same_caption="negative")(given).item() == pytest.approx(math.log(256), abs=0.01)


def perfect(names: str) -> TowerOutputs:
    """Pairs of which image and text point where their caption's name does, at the temperature's bound."""
    ids = torch.tensor([ord(name) for name in names])
    features = torch.eye(len(names), dtype=torch.float64)[ids - ord("a")]
    return TowerOutputs((features,), (features,), torch.tensor(100.0), caption_ids=ids)


@pytest.mark.parametrize("names", ["abcd", "aabc", "aaaa", "aabbb"])
def test_what_equal_captions_cost(names: str) -> None:
    given = perfect(names)
    assert InfoNCE("first")(given).item() == pytest.approx(0, abs=1e-12)
    bound = sum(math.log(names.count(name)) for name in names) / len(names)
    assert InfoNCE("first", "negative")(given).item() == pytest.approx(bound, abs=1e-12)
    spread = replace(given, image=(given.image[0] + 0.1 * outputs(len(names), len(names)).image[0],))
    assert InfoNCE("first", "negative")(spread).item() >= bound


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    given = outputs(30, width=16, dtype=dtype)
    single = replace(
        given,
        image=tuple(view.detach().float().requires_grad_() for view in given.image),
        text=tuple(form.detach().float().requires_grad_() for form in given.text),
        logit_scale=given.logit_scale.detach().float().requires_grad_(),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = InfoNCE()(replace(given, logit_scale=single.logit_scale))
        half_grads = torch.autograd.grad(half, given.image)  # under autocast too
    whole = InfoNCE()(single)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, whole, atol=0, rtol=0)
    for ours, expected in zip(half_grads, torch.autograd.grad(whole, single.image), strict=True):
        torch.testing.assert_close(ours, expected.to(dtype), atol=0, rtol=0)


def test_the_loss_is_never_negative_at_the_temperatures_bound() -> None:
    given = outputs(20, width=8, dtype=torch.float32)
    aligned = replace(given, text=given.image, logit_scale=torch.tensor(100.0))
    assert InfoNCE("first")(aligned).item() >= 0


def test_frozen_texts_cost_no_gradient() -> None:
    given = outputs(6)
    frozen = replace(given, text=tuple(form.detach() for form in given.text))
    for ours, expected in zip(
        torch.autograd.grad(InfoNCE()(frozen), given.image),
        torch.autograd.grad(InfoNCE()(given), given.image),
        strict=True,
    ):
        torch.testing.assert_close(ours, expected)


def test_says_what_it_needs() -> None:
    assert [(InfoNCE(pairs).image_views, InfoNCE(pairs).text_views) for pairs in ("first", "all", "others")] == [
        (1, 1),
        (2, 2),
        (2, 2),
    ]
    assert not InfoNCE().tokens and not InfoNCE().masked_text
    given = outputs(3)
    with pytest.raises(ValueError, match="InfoNCE needs 2 text forms, got 1"):
        InfoNCE()(replace(given, text=given.text[:1]))
    with pytest.raises(ValueError, match=r"as many captions as images, got \[2, 3\]"):
        InfoNCE("first")(replace(given, text=(given.text[0][:2],)))


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"pairs='al': expected one of all, first, others; did you mean 'all'"):
        InfoNCE("al")
    with pytest.raises(ValueError, match="did you mean 'ignore'"):
        InfoNCE(same_caption="ignored")

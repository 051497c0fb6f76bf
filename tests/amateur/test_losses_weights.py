"""The paper's and the released code's sums are one sum in two forms; their weights are two choices."""

import pytest
import torch
from loss_samples import gradients, outputs, plain_info_nce
from torch import Tensor

from interngv.amateur.losses import InfoNCE, MaskedTextLoss, NearestNeighbourLoss, SimSiamLoss, paper_weights
from interngv.amateur.outputs import TowerOutputs


def group(given: TowerOutputs) -> dict[str, Tensor]:
    """Every term of either form, by our losses."""
    torch.manual_seed(0)
    losses = {
        "all": InfoNCE("all"),
        "first": InfoNCE("first"),
        "others": InfoNCE("others"),
        "simsiam": SimSiamLoss(5, hidden=8),
        "mlm": MaskedTextLoss(6, 11),
        "nn": NearestNeighbourLoss(6, 32),
    }
    return {name: loss.double()(given) for name, loss in losses.items()}


def weighted(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    return sum(weight * terms[name] for name, weight in weights.items())


def info_nce_by_hand(given: TowerOutputs) -> list[Tensor]:
    """Of the four pairs of views, the first pair first."""
    return [
        plain_info_nce(image, text, given.logit_scale, given.caption_ids)
        for image in given.image
        for text in given.text
    ]


@pytest.mark.parametrize(("alpha", "beta", "gamma"), [(0.2, 0.2, 0.2), (0.1, 0.3, 0.05), (0, 0, 0), (0.25, 0.5, 0.25)])
def test_the_papers_form_is_its_formula(alpha: float, beta: float, gamma: float) -> None:
    given = outputs(5)
    terms, (clip, *multi_view) = group(given), info_nce_by_hand(given)
    formula = (
        (1 - alpha - beta - gamma) * clip
        + alpha * (terms["simsiam"] + terms["mlm"])
        + beta * sum(multi_view) / 3
        + gamma * terms["nn"]
    )
    torch.testing.assert_close(weighted(terms, paper_weights(alpha, beta, gamma)), formula)


@pytest.mark.parametrize("clip", [0.4, 0.6])
def test_the_codes_form_is_one_of_the_papers(clip: float) -> None:
    """A quarter of the weight on the first pair, three on the others: equal by hand, in value and in every gradient."""
    given = outputs(5)
    terms = group(given)
    rest = {"nn": 0.2, "simsiam": 0.2, "mlm": 0.2}
    code = weighted(terms, {"all": clip, **rest})
    paper = weighted(terms, {"first": clip / 4, "others": 3 * clip / 4, **rest})
    by_hand = clip * sum(info_nce_by_hand(given)) / 4 + sum(0.2 * terms[name] for name in rest)
    torch.testing.assert_close(code, by_hand)
    torch.testing.assert_close(paper, by_hand)
    ours, theirs = gradients(code, given), gradients(paper, given)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name])


def test_the_released_weights_agree_with_the_papers_where_all_pairs_cost_the_same() -> None:
    """0.6 on all four is 0.4 + 0.2 only if L_CLIP and L_MVS both stand for the mean of the four."""
    terms = group(outputs(5))
    paper, code = paper_weights(0.2, 0.2, 0.2), {"all": 0.6, "simsiam": 0.2, "mlm": 0.2, "nn": 0.2}
    assert paper == pytest.approx({"first": 0.4, "others": 0.2, "simsiam": 0.2, "mlm": 0.2, "nn": 0.2})
    alike = {**terms, "first": terms["all"], "others": terms["all"]}
    torch.testing.assert_close(weighted(alike, paper), weighted(alike, code))
    apart = weighted(terms, paper) - weighted(terms, code)
    torch.testing.assert_close(apart, 0.25 * (terms["first"] - terms["others"]))
    assert apart.abs() > 1e-3


def test_the_code_with_four_tenths_has_less_in_all() -> None:
    assert sum(paper_weights().values()) == pytest.approx(1.2)
    assert sum({"all": 0.4, "nn": 0.2, "simsiam": 0.2, "mlm": 0.2}.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("weights", [(-0.1, 0.2, 0.2), (0.5, 0.4, 0.2)])
def test_weights_that_are_none(weights: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="sum up to 1 at most"):
        paper_weights(*weights)

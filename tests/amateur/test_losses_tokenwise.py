"""FILIP's interaction: against loops over tokens, with padding, with chosen tokens, in chunks."""

from dataclasses import replace

import pytest
import torch
from loss_samples import assert_same, outputs, saved_bytes, without_ids
from torch import Tensor

from interngv.amateur.losses import TokenwiseLoss
from interngv.amateur.outputs import TowerOutputs


def best(tokens: list[Tensor], partner: list[Tensor], count: int | None) -> list[Tensor]:
    """The tokens with the largest sum of cosines to all of the partner's."""
    sums = [sum(token @ other for other in partner).item() for token in tokens]
    order = sorted(range(len(tokens)), key=lambda place: -sums[place])
    return [tokens[place] for place in order[:count]]


def agreement(tokens: list[Tensor], others: list[Tensor]) -> Tensor:
    return sum(max(token @ other for other in others) for token in tokens) / len(tokens)


def plain(given: TowerOutputs, top: int | None, ids: Tensor | None) -> Tensor:
    images = [[token / token.norm() for token in image] for image in given.image_tokens[0]]
    lengths = given.text_lengths[0].tolist()
    texts = [
        [token / token.norm() for token in text[:length]]
        for text, length in zip(given.text_tokens[0], lengths, strict=True)
    ]
    matched_images = [best(image, text, top) for image, text in zip(images, texts, strict=True)]
    matched_texts = [best(text, image, top) for image, text in zip(images, texts, strict=True)]
    total, everybody = 0.0, range(len(images))
    for rows, columns in ((images, matched_texts), (texts, matched_images)):
        for i in everybody:
            kept = [j for j in everybody if j == i or ids is None or ids[i] != ids[j]]
            logits = {j: given.logit_scale * agreement(rows[i], columns[j]) for j in kept}
            total = total + torch.stack(list(logits.values())).logsumexp(0) - logits[i]
    return total / (2 * len(images))


@pytest.mark.parametrize("top", [None, 1, 3, 16])
@pytest.mark.parametrize("chunk_mib", [1e-6, 2.5e-3, 32])
def test_equals_loops_over_tokens(top: int | None, chunk_mib: float) -> None:
    given = outputs(5, width=3)
    loss = TokenwiseLoss(top, chunk_mib=chunk_mib)
    assert_same(loss(given), plain(given, top, given.caption_ids), given)
    assert_same(loss(without_ids(given)), plain(given, top, None), given)


def test_padding_changes_nothing() -> None:
    given = outputs(4)
    padded = torch.cat([given.text_tokens[0], torch.full((4, 2, 6), 3.0)], 1)
    for top in (None, 2):
        loss = TokenwiseLoss(top)
        torch.testing.assert_close(loss(replace(given, text_tokens=(padded,))), loss(given))


def test_a_caption_of_padding_keeps_its_first_token() -> None:
    given = outputs(4)
    nothing, one = (replace(given, text_lengths=(torch.tensor([length, 2, 3, 4]),)) for length in (0, 1))
    loss = TokenwiseLoss()(nothing)
    assert loss.isfinite() and torch.equal(loss, TokenwiseLoss()(one))


def test_token_similarities_are_not_kept() -> None:
    """What is kept grows as the tokens do, not as their pairs."""
    kept = []
    for count in (48, 96):
        given = outputs(count, width=4)
        kept.append(saved_bytes(lambda given=given: TokenwiseLoss(None, chunk_mib=0.1)(given)))
    assert kept[1] < 2.1 * kept[0] and kept[1] < 96 * 4 * 96 * 7 * 8 / 4


def test_says_what_it_needs() -> None:
    assert TokenwiseLoss.tokens and (TokenwiseLoss.image_views, TokenwiseLoss.text_views) == (1, 1)
    with pytest.raises(ValueError, match="TokenwiseLoss needs 1 image views' tokens, got 0"):
        TokenwiseLoss()(replace(outputs(3), image_tokens=()))
    with pytest.raises(ValueError, match="as many captions as images, got 2 and 3"):
        TokenwiseLoss()(replace(outputs(3), text_tokens=(outputs(2).text_tokens[0],), text_lengths=(torch.ones(2),)))
    with pytest.raises(ValueError, match="top_tokens=0"):
        TokenwiseLoss(0)

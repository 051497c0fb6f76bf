"""Zero-shot: with an encoder of words whose answers can be worked out by hand."""

import math

import pytest
import torch

from interngv.errors import UserError
from interngv.gvb.probes import class_weights, zero_shot

WORDS = ["a", "photo", "drawing", "of", "red", "blue", "fox", "owl"]
TEMPLATES = ["a photo of a {}", "{} drawing"]
NAMES = ["red fox", "blue fox", "owl"]


def encode(texts: list[str]) -> torch.Tensor:
    """Counts of eight words, of any length."""
    return torch.tensor([[float(text.split().count(word)) for word in WORDS] for text in texts])


def test_weights_by_hand() -> None:
    """'a photo of a owl' is (2, 1, 0, 1, 0, 0, 0, 1), of length sqrt 7; 'owl drawing' has two words, length sqrt 2."""
    long, short = 1 / math.sqrt(7), 1 / math.sqrt(2)
    mean = torch.tensor([2 * long, long, short, long, 0, 0, 0, long + short]) / 2
    torch.testing.assert_close(class_weights(encode, NAMES, TEMPLATES)[2], mean / mean.norm())


def test_a_picture_goes_to_the_class_it_has_most_in_common_with() -> None:
    weights = class_weights(encode, NAMES, TEMPLATES)
    pictures = encode(["red fox", "fox of blue", "a owl", "blue", "red owl owl", "blue red red fox"])
    labels = torch.tensor([0, 1, 2, 1, 2, 1])
    result = zero_shot((pictures * torch.tensor([1e-3, 1, 5, 1e4, 1, 1])[:, None], labels), weights)
    assert result.scores["accuracy"] == pytest.approx(500 / 6)  # the last is red rather than blue
    assert result.per_class == pytest.approx((100, 200 / 3, 100))
    assert (result.chosen, result.chosen_by, result.table, result.at_edge) == ({}, "none", (), ())


def test_one_template_is_the_normalised_text_feature() -> None:
    texts = [f"a {name}" for name in NAMES]
    expected = torch.nn.functional.normalize(encode(texts))
    torch.testing.assert_close(class_weights(encode, NAMES, ["a {}"]), expected)


def test_templates_count_alike_however_long_their_features_are() -> None:
    def louder(texts: list[str]) -> torch.Tensor:
        return encode(texts) * torch.tensor([100.0 if "drawing" in text else 0.01 for text in texts])[:, None]

    torch.testing.assert_close(class_weights(louder, NAMES, TEMPLATES), class_weights(encode, NAMES, TEMPLATES))


def test_braces_in_a_class_name_are_part_of_it() -> None:
    seen: list[str] = []
    class_weights(lambda texts: seen.extend(texts) or torch.ones(len(texts), 3), ["{0} %s"], ["the {}, {}"])
    assert seen == ["the {0} %s, {0} %s"]


@pytest.mark.parametrize(
    ("names", "templates", "encoder", "message"),
    [
        ([], TEMPLATES, encode, "got 0 and 2"),
        (NAMES, [], encode, "got 3 and 0"),
        (["owl", "fox", "owl"], TEMPLATES, encode, "'owl' stands for more than one"),
        (NAMES, ["a photo"], encode, "'a photo' has no {}"),
        (NAMES, TEMPLATES, lambda texts: torch.ones(3, 8), r"\(3, 8\) for 2 texts"),
        (NAMES, TEMPLATES, lambda texts: torch.full((2, 8), math.nan), "class 'red fox': template 0"),
        (["owl", "wolf"], ["{}"], encode, "class 'wolf'.*zero or cancel out"),
    ],
)
def test_bad_texts_are_refused(names: list[str], templates: list[str], encoder, message: str) -> None:
    with pytest.raises(UserError, match=message):
        class_weights(encoder, names, templates)


@pytest.mark.parametrize(
    ("features", "labels", "metric", "message"),
    [
        (torch.ones(2, 7), torch.tensor([0, 1]), "accuracy", "do not fit features that are 7 wide"),
        (torch.ones(2, 8), torch.tensor([0, 3]), "accuracy", "label 3 of sample 1"),
        (torch.full((2, 8), math.inf), torch.tensor([0, 1]), "accuracy", "test: sample 0"),
        (torch.ones(2, 8), torch.tensor([0, 1]), "per-class", "did you mean 'per_class'"),
    ],
)
def test_bad_pictures_are_refused(features: torch.Tensor, labels: torch.Tensor, metric: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        zero_shot((features, labels), class_weights(encode, NAMES, TEMPLATES), metric)

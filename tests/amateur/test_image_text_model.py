"""The image-text model: what the losses get, how they add up, its temperature, features, and a real run that learns."""

import copy
import math
from typing import Any

import pytest
import small_model
import torch
from small_model import CLIP, GROUP, IMAGE, TEXT, WEIGHTS
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize


def infonce(image: Tensor, text: Tensor, scale: float) -> Tensor:
    logits = scale * normalize(image, dim=1) @ normalize(text, dim=1).T
    labels = torch.arange(len(logits))
    return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2


def test_clips_loss_is_that_of_its_embeddings() -> None:
    model = small_model.build().eval()
    views, samples = small_model.batch()
    found = model(views, samples, mode="loss")
    image = model.image(views[0]).embedding
    text = model.text(torch.stack([sample.text[0] for sample in samples])).embedding
    assert found["loss_clip"].item() == pytest.approx(infonce(image, text, 1 / 0.07).item(), rel=1e-5)
    assert found["logit_scale"].item() == pytest.approx(1 / 0.07) and set(found) == {"loss_clip", "logit_scale"}


def test_a_weight_multiplies_its_loss() -> None:
    models = [small_model.build(weights=dict(clip=weight)).eval() for weight in (0.4, 0.8)]
    once, twice = (model(*small_model.batch(), mode="loss")["loss_clip"].item() for model in models)
    assert twice == pytest.approx(2 * once, rel=1e-5)


def test_the_group_is_logged_by_name() -> None:
    losses = small_model.build(losses=GROUP)(*small_model.batch(), mode="loss")
    assert set(losses) == {"loss_clip", "loss_nn_text", "loss_simsiam", "loss_mlm", "logit_scale"}


FILIP = dict(type="interngv.TokenwiseLoss")
FORMS: dict[str, dict[str, Any]] = {
    "clip": {},
    "declip": dict(losses=GROUP),
    "siglip": dict(losses=dict(siglip=dict(type="interngv.SigLIPLoss")), logit_bias=-10.0),
    "slip": dict(
        losses=dict(clip=CLIP["clip"], simclr=dict(type="interngv.SimCLRLoss", width=1280, hidden=32, out=16))
    ),
    "filip": dict(losses=dict(filip=FILIP)),
    "defilip": dict(losses={**GROUP, "filip": FILIP}, image=dict(IMAGE, token_dim=8), text=dict(TEXT, token_dim=8)),
}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU in sight")
@pytest.mark.parametrize("form", FORMS)
def test_a_gpu_gives_the_same_losses(form: str) -> None:
    model = small_model.build(**FORMS[form]).eval()
    views, samples = small_model.batch()
    for sample in samples:  # as the pipeline gives it
        sample.caption_id = torch.tensor(sample.caption_id)
    expected = copy.deepcopy(model)(views, samples, mode="loss")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        found = model.cuda()([view.cuda() for view in views], [sample.cuda() for sample in samples], mode="loss")
    assert {name: one.item() for name, one in found.items()} == pytest.approx(
        {name: one.item() for name, one in expected.items()}, rel=1e-3
    )


@pytest.mark.parametrize("form", FORMS)
def test_every_parameter_learns(form: str) -> None:
    """As DDP wants it, and so that no tower is scored by a projection that nothing has trained."""
    model = small_model.build(**FORMS[form])
    losses = model(*small_model.batch(), mode="loss")
    sum(value for name, value in losses.items() if name.startswith("loss_")).backward()
    assert [name for name, one in model.named_parameters() if one.grad is None] == []


@pytest.mark.parametrize(("given", "bound"), [(9.0, math.log(100)), (-3.0, 0.0)])
def test_the_temperature_comes_back_into_its_bounds_and_keeps_its_gradient(given: float, bound: float) -> None:
    model = small_model.build()
    with torch.no_grad():
        model.logit_scale.fill_(given)
    model(*small_model.batch(), mode="loss")["loss_clip"].backward()
    assert model.logit_scale.item() == pytest.approx(bound) and model.logit_scale.grad.abs() > 0


def test_a_batch_of_one_pair_teaches_nothing_and_stays_finite() -> None:
    model = small_model.build().eval()
    loss = model(*small_model.batch(1), mode="loss")["loss_clip"]
    loss.backward()
    grads = [one.grad for one in model.parameters() if one.grad is not None]
    assert loss.item() == pytest.approx(0, abs=1e-6) and all(grad.isfinite().all() for grad in grads)


def test_features_are_of_unit_length_and_predict_puts_them_into_the_samples() -> None:
    model = small_model.build().eval()
    views, samples = small_model.batch(3, forms=4)
    found = model(views[0], samples, mode="predict")
    image = model(views[0], mode="tensor")
    assert torch.allclose(image.norm(dim=1), torch.ones(3)) and image.shape == (3, 16)
    assert all(torch.equal(one.image_feature, row) for one, row in zip(found, image, strict=True))
    assert found[2].text_features.shape == (4, 16)
    assert torch.allclose(found[2].text_features, model.encode_text(samples[2].text), atol=1e-6)


def test_samples_may_have_unequal_numbers_of_captions_or_none() -> None:
    model = small_model.build().eval()
    views, samples = small_model.batch(count=4)
    samples[1].text = samples[1].text[:1]
    del samples[2].text
    found = model(views[0], samples, mode="predict")
    assert [len(one.text_features) if "text_features" in one else None for one in found] == [2, 1, None, 2]
    for one in (found[0], found[1], found[3]):
        assert torch.allclose(one.text_features, model.encode_text(one.text), atol=1e-6)


def test_texts_need_a_tokenizer() -> None:
    with pytest.raises(ValueError, match=r"no tokenizer.*tokenizer=dict"):
        small_model.build().encode_text(["a dog"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(losses={}), "without a supervision"),
        (dict(weights=dict(clp=1.0)), "weights.clp: there is no such loss; did you mean 'clip'"),
        (dict(weights=dict(clip=float("nan"))), "weights.clip=nan"),
        (dict(logit_scale=dict(start=200.0)), "least <= start <= most"),
        (dict(logit_scale=dict(smallest=1.0)), "least <= start <= most"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        small_model.build(**changes)


@pytest.mark.parametrize(("views", "forms", "said"), [(1, 2, "2 views of the images"), (2, 1, "2 forms of the capt")])
def test_a_pipeline_that_gives_too_little_is_named(views: int, forms: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        small_model.build(losses=GROUP)(*small_model.batch(views=views, forms=forms), mode="loss")


def test_masked_words_are_asked_for() -> None:
    views, samples = small_model.batch()
    for sample in samples:
        del sample.masked_text
    with pytest.raises(ValueError, match="guesses masked words"):
        small_model.build(losses=GROUP)(views, samples, mode="loss")


def test_the_bank_is_in_the_state_and_a_copy_goes_on_equally() -> None:
    model, other = small_model.build(losses=GROUP), small_model.build(losses=GROUP)
    batch = small_model.batch()
    model(*batch, mode="loss")
    other.load_state_dict(model.state_dict())
    losses = [one(*batch, mode="loss")["loss_nn_text"] for one in (model, other)]
    assert torch.equal(*losses)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_sixteen_pairs_are_learnt() -> None:
    """Every supervision of the group falls, and images find their captions."""
    model = small_model.build(losses=GROUP, weights=WEIGHTS)
    views, samples = small_model.batch(16)
    captions = torch.stack([sample.text[0] for sample in samples])
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    first = model(views, samples, mode="loss")
    for _ in range(60):
        losses = model(views, samples, mode="loss")
        optimizer.zero_grad()
        sum(value for name, value in losses.items() if name.startswith("loss_")).backward()
        optimizer.step()
    assert losses["loss_clip"] < 0.5 * first["loss_clip"] and losses["loss_mlm"] < 0.8 * first["loss_mlm"]
    images, texts = model.image(views[0]).embedding, model.text(captions).embedding
    assert (normalize(images, dim=1) @ normalize(texts, dim=1).T).argmax(1).tolist() == list(range(16))

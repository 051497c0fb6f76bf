"""The bank against a plain queue, nearest-neighbour supervision against loops, and an exact resume."""

import copy
from collections import deque
from dataclasses import replace

import pytest
import torch
from loss_samples import assert_same, cosine, outputs, without_ids
from torch import Tensor
from torch.nn.functional import normalize

from interngv.amateur.losses import FeatureBank, NearestNeighbourLoss, bank
from interngv.amateur.outputs import TowerOutputs

WIDTH = 6


def features(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("batches", [[3, 3, 3], [5, 10, 1, 7], [25], [10, 23, 10], [1] * 24, [0, 4]])
def test_first_in_first_out(batches: list[int]) -> None:
    ours, queue = FeatureBank(WIDTH, 10), deque(maxlen=10)
    queue.extend(zip(ours.entries.clone(), range(10), strict=True))
    for step, count in enumerate(batches):
        batch, ids = features(count, step), torch.arange(count) + 1000 * (step + 1)
        ours.update(batch, ids)
        queue.extend(zip(normalize(batch), ids.tolist(), strict=True))
    order = [(int(ours.pointer) + place) % 10 for place in range(10)]
    assert ours.ids[order].tolist() == [number for _, number in queue]
    torch.testing.assert_close(ours.entries[order], torch.stack([entry for entry, _ in queue]))


def test_begins_full_the_same_everywhere_and_of_unit_length() -> None:
    torch.manual_seed(1)
    one = FeatureBank(8, 1000)
    torch.manual_seed(2)
    with torch.device("meta"):
        two = FeatureBank(8, 1000)
    assert torch.equal(one.entries, two.entries) and one.ids.tolist() == list(range(1000))
    torch.testing.assert_close(one.entries.norm(dim=1), torch.ones(1000))
    assert one.entries.mean(0).abs().max() < 0.1  # every direction alike


@pytest.mark.parametrize("size", [1, 63, 64, 130, 640, 1000])
@pytest.mark.parametrize("mib", [1e-6, 0.01, 2])
def test_search_finds_the_most_similar(size: int, mib: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of one or several groups, whole or not."""
    monkeypatch.setattr(bank, "_BLOCK_MIB", mib)
    ours = FeatureBank(WIDTH, size)
    queries = torch.cat([5 * features(7), -ours.entries[-1:], 3 * ours.entries[size // 2, None]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ours.search(queries)
    expected = (normalize(queries.double()) @ ours.entries.double().T).argmax(1)
    assert torch.equal(found, expected) and found[-1] == size // 2


def test_of_equal_entries_one_is_found() -> None:
    ours = FeatureBank(WIDTH, 200)
    ours.update(features(1).expand(150, -1))
    found = ours.search(features(1))
    assert torch.equal(ours.entries[found], normalize(features(1)))


def test_what_is_no_number_stays_outside() -> None:
    ours, batch = FeatureBank(WIDTH, 4), features(3)
    before = ours.entries.clone()
    batch[1, 0] = torch.inf
    ours.update(batch, torch.tensor([7, 8, 9]))
    torch.testing.assert_close(
        ours.entries, torch.stack([*normalize(batch)[:1], before[1], *normalize(batch)[2:], before[3]])
    )
    assert ours.ids.tolist() == [7, 1, 9, 3] and int(ours.pointer) == 3


def plain(given: TowerOutputs, entries: Tensor, entry_ids: Tensor | None) -> Tensor:
    """By loops, from the formula; ``entries`` are those before the batch."""
    count, total = len(given.image[0]), 0.0
    for image in given.image:
        for text in given.text:
            nearest = [max(range(len(entries)), key=lambda place, t=t: cosine(t, entries[place])) for t in text]
            for i in range(count):
                kept = [
                    j
                    for j in range(count)
                    if j == i or entry_ids is None or entry_ids[nearest[i]] != entry_ids[nearest[j]]
                ]
                logits = {j: given.logit_scale * cosine(image[i], entries[nearest[j]]) for j in kept}
                total = total + torch.stack(list(logits.values())).logsumexp(0) - logits[i]
    return total / (4 * count)


@pytest.mark.parametrize("same_caption", ["ignore", "negative"])
def test_equals_loops_over_the_pairs(same_caption: str) -> None:
    """Sixteen entries for 2 x 9 captions: neighbours are shared; half of the entries share their captions too."""
    given, loss = outputs(9), NearestNeighbourLoss(WIDTH, 16, same_caption).double()
    loss.bank.update(features(8, seed=3).double(), torch.arange(8) // 2 + 100)
    loss.bank.entries.copy_(normalize(loss.bank.entries))  # begun in float32
    entries, ids = loss.bank.entries.clone(), loss.bank.ids.clone()
    found = loss.bank.search(given.text[0])
    assert len(ids[found].unique()) < len(found.unique()) < 9
    value = loss(given)
    assert_same(value, plain(given, entries, ids if same_caption == "ignore" else None), given)
    assert all(torch.autograd.grad(value, form, allow_unused=True) == (None,) for form in given.text)


def test_looks_before_it_remembers_and_only_in_training() -> None:
    given, loss = outputs(5), NearestNeighbourLoss(WIDTH, 12).double()
    state = copy.deepcopy(loss.state_dict())
    loss.eval()(given)
    assert all(torch.equal(value, state[key]) for key, value in loss.state_dict().items())
    first = loss.train()(given)
    torch.testing.assert_close(loss.bank.entries[:5], normalize(given.text[0].detach()))
    torch.testing.assert_close(loss.bank.entries[5:], state["bank.entries"][5:])
    assert loss.bank.ids[:5].tolist() == given.caption_ids.tolist() and int(loss.bank.pointer) == 5
    assert loss(given).item() != first.item()  # now every caption finds itself


def test_without_ids_entries_differ() -> None:
    loss = NearestNeighbourLoss(WIDTH, 12).double()
    for seed in range(3):
        loss(without_ids(outputs(5, seed=seed)))
    assert sorted(loss.bank.ids.tolist()) == list(range(12))


def test_resumed_with_a_half_full_bank_as_if_never_stopped() -> None:
    batches = [outputs(5, seed=seed) for seed in range(6)]
    whole = NearestNeighbourLoss(WIDTH, 64).double()
    expected = [whole(batch).item() for batch in batches]
    stopped = NearestNeighbourLoss(WIDTH, 64).double()
    assert [stopped(batch).item() for batch in batches[:3]] == expected[:3]
    resumed = NearestNeighbourLoss(WIDTH, 64).double()
    resumed.load_state_dict(copy.deepcopy(stopped.state_dict()))
    assert [resumed(batch).item() for batch in batches[3:]] == expected[3:]
    assert set(resumed.state_dict()) == {"bank.entries", "bank.ids", "bank.pointer"}


def test_refusals() -> None:
    with pytest.raises(ValueError, match="size=0: a bank holds at least one feature"):
        FeatureBank(WIDTH, 0)
    with pytest.raises(ValueError, match="made for features 8 wide, got 6"):
        NearestNeighbourLoss(8, 16)(outputs(2))
    given = outputs(2)
    empty = replace(given, image=tuple(view[:0] for view in given.image), text=tuple(form[:0] for form in given.text))
    with pytest.raises(ValueError, match="expected samples"):
        NearestNeighbourLoss(WIDTH, 8).double()(empty)

"""Selections by name: against a plain restatement, and the properties that make them comparable."""

import hashlib
import random
import subprocess
import sys
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from interngv.errors import UserError
from interngv.gvb.shots import Shots, list_sha256, select, shot_list, tries

PERCENTAGES = ["0.1", "1", "5", "10", "12.5", "35", "99.9", "100"]


def long_tail(seed: int = 0) -> tuple[list[str], list[str]]:
    """Shuffled samples of twelve classes with 1 to 400 members."""
    sizes = [1, 2, 3, 5, 9, 10, 11, 20, 55, 100, 273, 400]
    pairs = [(f"c{c}/{i}.png", str(c)) for c, size in enumerate(sizes) for i in range(size)]
    random.Random(seed).shuffle(pairs)
    return [path for path, _ in pairs], [label for _, label in pairs]


def restated_size(count: int, shots: str) -> int:
    """Samples that a class of ``count`` keeps, in decimal arithmetic."""
    if shots.startswith("k="):
        return min(count, int(shots[2:]))
    share = (Decimal(count) * Decimal(shots) / 100).quantize(Decimal(1), ROUND_HALF_UP)
    return max(1, int(share))


def restated(samples: list[str], labels: list[str], shots: str, seed: int) -> set[str]:
    """What a selection must hold, class by class."""
    kept: set[str] = set()
    for label in set(labels):
        members = [s for s, other in zip(samples, labels, strict=True) if other == label]
        ranked = sorted(members, key=lambda s: hashlib.sha256(f"{seed} {s}".encode()).hexdigest())
        kept |= set(ranked[: restated_size(len(members), shots)])
    return kept


@pytest.mark.parametrize("shots", [*PERCENTAGES, "k=1", "k=7", "k=1000"])
@pytest.mark.parametrize("seed", [0, 3])
def test_equals_the_restatement(shots: str, seed: int) -> None:
    samples, labels = long_tail()
    kept = select(samples, labels, Shots.parse(shots), seed)
    assert kept.dtype == np.int64 and np.all(np.diff(kept) > 0)
    assert {samples[i] for i in kept} == restated(samples, labels, shots, seed)
    numbers = [int(label) for label in labels]
    assert np.array_equal(select(samples, numbers, Shots.parse(shots), seed, classes=12), kept)


@pytest.mark.parametrize("series", [["0.5", "1", "2", "5", "10", "20", "50", "all"], ["k=1", "k=2", "k=30", "all"]])
def test_nested_and_no_class_lost(series: list[str]) -> None:
    samples, labels = long_tail()
    lists = [set(select(samples, labels, Shots.parse(shots)).tolist()) for shots in series]
    assert all(fewer < more for fewer, more in pairwise(lists))
    assert all({labels[i] for i in kept} == set(labels) for kept in lists)
    assert len(lists[-1]) == len(samples)


@pytest.mark.parametrize("percent", PERCENTAGES)
def test_every_class_keeps_its_share(percent: str) -> None:
    samples, labels = long_tail()
    total = Counter(labels)
    for label, count in Counter(labels[i] for i in select(samples, labels, Shots.parse(percent))).items():
        assert count == 1 or abs(count - total[label] * float(percent) / 100) <= 0.5


def test_flowers_gives_two_a_class() -> None:
    """GV-B's Oxford Flowers: 102 classes of 20 samples, 204 images at 10 %, with any seed."""
    labels = np.repeat(np.arange(102), 20)
    for seed in tries(3):
        kept = select([f"{i}.jpg" for i in range(2040)], labels, Shots.parse("10"), seed, classes=102)
        assert len(kept) == 204 and np.all(np.bincount(labels[kept]) == 2)


def test_without_labels_whole_images_are_one_class() -> None:
    """VOC07+12 has 16 551 training images: 1 655 of them at 10 %."""
    names = [f"{i:06}.jpg" for i in range(16_551)]
    kept = select(names, None, Shots.parse("10"))
    assert len(kept) == 1655 and {names[i] for i in kept} == restated(names, ["0"] * len(names), "10", 0)
    assert len(select(names, None, Shots.parse("k=2"))) == 2


def test_order_of_samples_does_not_matter_and_the_seed_does() -> None:
    (one, one_labels), (two, two_labels) = long_tail(0), long_tail(1)
    ten = Shots.parse(10)
    pick = {one[i] for i in select(one, one_labels, ten)}
    assert one != two and pick == {two[i] for i in select(two, two_labels, ten)}
    others = [{one[i] for i in select(one, one_labels, ten, seed)} for seed in tries(4)]
    assert others[0] == pick and len(set(map(frozenset, others))) == 4 and {len(o) for o in others} == {len(pick)}


def test_sizes_do_not_depend_on_binary_fractions() -> None:
    assert Shots.parse(0.1).sizes(np.array([499, 500, 1500, 0])).tolist() == [1, 1, 2, 0]
    assert Shots.parse("1.1").sizes(np.array([50])) == 1
    assert Shots.parse("0.6").sizes(np.array([250])) == 2  # 1.5: half goes up


def test_equal_names_rank_by_position() -> None:
    assert select(["a", "b", "a", "a"], ["x", "y", "x", "x"], Shots.parse("k=2")).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("given", "spelling", "suffix"),
    [
        ("10", "10", "10p"),
        (10, "10", "10p"),
        ("10.0 %", "10", "10p"),
        (12.5, "12.5", "12.5p"),
        (1e-5, "0.00001", "0.00001p"),
        ("k=2", "k=2", "k2"),
        (" K = 30", "k=30", "k30"),
        ("all", "all", "100p"),
        ("100", "all", "100p"),
    ],
)
def test_one_spelling_of_each_amount(given: str | float, spelling: str, suffix: str) -> None:
    shots = Shots.parse(given)
    assert (str(shots), shots.suffix) == (spelling, suffix)
    assert Shots.parse(spelling) == shots == Shots.parse(shots) and len({shots, Shots.parse(spelling)}) == 1


NUMBERS = [0, -1, 101, 100.1, "100.0000001", float("nan"), float("inf"), "snan", "1e-7", "1e-99999999999999999999"]
OTHERS = ["k=0", "k=-1", "k=1.5", "k=" + "9" * 30, "k2", "ten", "", "10,20", "1e999999999", True, None]


@pytest.mark.parametrize("given", [*NUMBERS, *OTHERS])
def test_no_amount_of_samples(given: object) -> None:
    with pytest.raises(UserError, match="expected a percentage with 0.000001 <= percent <= 100, 'k=2'") as error:
        Shots.parse(given)
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize(("given", "hint"), [("al", "'all'"), ("k:1", "'k=1'")])
def test_nearest_amount_is_offered(given: str, hint: str) -> None:
    with pytest.raises(UserError, match=f"did you mean {hint}"):
        Shots.parse(given)


@pytest.mark.parametrize(
    ("names", "labels", "message"),
    [
        ([], [], "empty set"),
        (["a", "b"], [0], "as many labels as samples are needed, got 1 and 2"),
        (["a", "b"], [0, 3], "sample 1 has label 3, expected one of 3 classes"),
        (["a", "b"], [-1, 0], "sample 0 has label -1"),
        (["a", "b"], [0.0, 1.0], "row of integers, got float64"),
        (["a", "b"], [[0], [1]], r"row of integers, got int64 of shape \(2, 1\)"),
    ],
)
def test_bad_samples(names: list[str], labels: list, message: str) -> None:
    with pytest.raises(UserError, match=message):
        select(names, labels, Shots.parse("10"), classes=3)


def test_no_try() -> None:
    assert list(tries(3)) == [0, 1, 2]
    with pytest.raises(UserError, match="at least one try"):
        tries(0)


def test_list_sha256_is_that_of_the_file(tmp_path: Path) -> None:
    names = ["my cat.png", "ü.png", "\udcff.png"]
    (tmp_path / "list.txt").write_bytes("".join(f"{name}\n" for name in names).encode(errors="surrogatepass"))
    assert list_sha256(names) == hashlib.sha256((tmp_path / "list.txt").read_bytes()).hexdigest()
    assert list_sha256(names) != list_sha256(names[::-1])
    with pytest.raises(UserError, match="line breaks"):
        list_sha256(["a\nb"])


def test_list_file(tmp_path: Path) -> None:
    samples, labels = long_tail()
    text = "".join(f"{s} {c}\n" for s, c in zip(samples, labels, strict=True))
    (tmp_path / "train.txt").write_text(text)
    path, digest = shot_list(tmp_path / "train.txt", 10)
    assert path == tmp_path / "train_10p.txt"
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    kept = path.read_text().splitlines()
    assert {line.split()[0] for line in kept} == restated(samples, labels, "10", 0)
    assert [line for line in text.splitlines() if line in set(kept)] == kept  # the list's own order
    assert shot_list(tmp_path / "train.txt", 10) == (path, digest)
    assert shot_list(tmp_path / "train.txt", 2.5, seed=7)[0].name == "train_2.5p_seed7.txt"
    assert shot_list(tmp_path / "train.txt", "k=2")[0].name == "train_k2.txt"


def test_selection_of_a_list_never_changes(tmp_path: Path) -> None:
    """Published figures stand for a list: this digest is the first version's."""
    (tmp_path / "train.txt").write_text("".join(f"{i}.png {i % 3}\n" for i in range(300)))
    assert (
        shot_list(tmp_path / "train.txt", 10)[1] == "547d566467205f9989ec19cfb97af8d36e67e56d8969bbb257f484188f58b893"
    )


def test_paths_with_spaces_stay_whole(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("my cat.png 0\nmy\u2028dog.png 1\n", encoding="utf-8")
    assert shot_list(tmp_path / "train.txt", 1)[0].read_text("utf-8") == "my cat.png 0\nmy\u2028dog.png 1\n"


@pytest.mark.parametrize(("text", "message"), [("a.png 0\nb.png\n", "sample 2, 'b.png'"), ("\n", "no samples")])
def test_bad_list_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "train.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        shot_list(tmp_path / "train.txt", 10)
    assert [path.name for path in tmp_path.iterdir()] == ["train.txt"]


@pytest.mark.slow
def test_command_line(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("".join(f"{i}.png {i % 2}\n" for i in range(40)))
    command = [sys.executable, "-m", "interngv.gvb.shots", "train.txt"]
    done = subprocess.run([*command, "10"], cwd=tmp_path, capture_output=True, text=True, check=True)
    first, *table = done.stdout.splitlines()
    assert first.split() == ["train_10p.txt", "sha256", shot_list(tmp_path / "train.txt", 10)[1]]
    assert table[-1] == "| train_10p.txt | 2 | 40 | 20.0 | 20 | 20 | 4 | 2.0 | 2 | 2 |  |"
    wrong = subprocess.run([*command, "0"], cwd=tmp_path, capture_output=True, text=True)
    assert wrong.returncode == 1 and wrong.stderr.startswith("error: shots '0' say no amount")

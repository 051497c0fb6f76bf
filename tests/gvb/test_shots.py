"""Percentage-shot lists: against a plain restatement, and the properties that make them comparable."""

import hashlib
import random
import subprocess
import sys
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from interngv.gvb.shots import percentage_shot, shot_list, shot_size


def long_tail(seed: int = 0) -> tuple[list[str], list[str]]:
    """Shuffled samples of twelve classes with 1 to 400 members."""
    sizes = [1, 2, 3, 5, 9, 10, 11, 20, 55, 100, 273, 400]
    pairs = [(f"c{c}/{i}.png", str(c)) for c, size in enumerate(sizes) for i in range(size)]
    random.Random(seed).shuffle(pairs)
    return [path for path, _ in pairs], [label for _, label in pairs]


def restated(samples: list[str], labels: list[str], percent: str, seed: int) -> set[str]:
    """What a list must hold, class by class, in decimal arithmetic."""
    kept: set[str] = set()
    for label in set(labels):
        members = [s for s, other in zip(samples, labels, strict=True) if other == label]
        ranked = sorted(members, key=lambda s: hashlib.sha256(f"{seed} {s}".encode()).hexdigest())
        share = (Decimal(len(members)) * Decimal(percent) / 100).quantize(Decimal(1), ROUND_HALF_UP)
        kept |= set(ranked[: max(1, int(share))])
    return kept


@pytest.mark.parametrize("percent", ["0.1", "1", "5", "10", "12.5", "35", "99.9", "100"])
@pytest.mark.parametrize("seed", [0, 3])
def test_equals_the_restatement(percent: str, seed: int) -> None:
    samples, labels = long_tail()
    indices = percentage_shot(samples, labels, float(percent), seed)
    assert indices == sorted(set(indices))
    assert {samples[i] for i in indices} == restated(samples, labels, percent, seed)


def test_nested_proportional_and_no_class_lost() -> None:
    samples, labels = long_tail()
    total, before = Counter(labels), set()
    for percent in (0.5, 1, 2, 5, 10, 20, 50, 100):
        now = set(percentage_shot(samples, labels, percent))
        assert before <= now
        for label, count in Counter(labels[i] for i in now).items():
            assert count == 1 or abs(count - total[label] * percent / 100) <= 0.5
        assert {labels[i] for i in now} == set(labels)
        before = now
    assert len(before) == len(samples)


def test_flowers_gives_two_a_class() -> None:
    """GV-B's Oxford Flowers: 102 classes of 20 samples, 204 images at 10 %."""
    labels = [label for label in range(102) for _ in range(20)]
    kept = percentage_shot([f"{i}.jpg" for i in range(2040)], labels, 10)
    assert len(kept) == 204 and set(Counter(labels[i] for i in kept).values()) == {2}


def test_order_of_lines_does_not_matter_and_the_seed_does() -> None:
    (one, one_labels), (two, two_labels) = long_tail(0), long_tail(1)
    pick = {one[i] for i in percentage_shot(one, one_labels, 10)}
    assert one != two and pick == {two[i] for i in percentage_shot(two, two_labels, 10)}
    other = {one[i] for i in percentage_shot(one, one_labels, 10, seed=1)}
    assert len(other) == len(pick) and other != pick


def test_sizes_do_not_depend_on_binary_fractions() -> None:
    assert [shot_size(n, 0.1) for n in (499, 500, 1500)] == [1, 1, 2]
    assert shot_size(50, 1.1) == 1 and shot_size(250, 0.6) == 2  # 250 * 0.6 / 100 is 1.5: half goes up


@pytest.mark.parametrize("percent", [0, -1, 100.1, float("nan")])
def test_percentage_out_of_range(percent: float) -> None:
    with pytest.raises(ValueError, match="0 < percent <= 100"):
        percentage_shot(["a"], ["0"], percent)


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


def test_paths_with_spaces_stay_whole(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("my cat.png 0\nmy dog.png 1\n")
    assert shot_list(tmp_path / "train.txt", 1)[0].read_text() == "my cat.png 0\nmy dog.png 1\n"


@pytest.mark.parametrize(("text", "message"), [("a.png 0\nb.png\n", "sample 2, 'b.png'"), ("\n", "no samples")])
def test_bad_list_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "train.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        shot_list(tmp_path / "train.txt", 10)
    assert [path.name for path in tmp_path.iterdir()] == ["train.txt"]


def test_command_line(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("".join(f"{i}.png {i % 2}\n" for i in range(40)))
    command = [sys.executable, "-m", "interngv.gvb.shots", "train.txt"]
    done = subprocess.run([*command, "10"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["train_10p.txt", "sha256", shot_list(tmp_path / "train.txt", 10)[1]]
    wrong = subprocess.run([*command, "0"], cwd=tmp_path, capture_output=True, text=True)
    assert wrong.returncode == 1 and wrong.stderr.startswith("error: a percentage-shot needs")

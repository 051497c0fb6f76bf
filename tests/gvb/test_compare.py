"""Which differences exceed the noise: against scipy, against hand-computed cases, and what must not be compared."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from interngv.errors import UserError
from interngv.gvb.report import compare, noise, write

SCORES = [70.0, 71.0, 73.0]


def cell(score: float | None, attempt: int, **changes: Any) -> dict[str, Any]:
    done = {
        "task": "cifar10",
        "kind": "classification",
        "trunk": "one",
        "protocol": "cached",
        "shots": "10",
        "attempt": attempt,
        "seed": attempt,
        "list_sha256": f"list {attempt}",
        "weights_sha256": "aa",
        "versions": {"interngv": "0.1"},
        "metric": "accuracy",
        "higher_is_better": True,
        "score": score,
        "scores": {"accuracy": score},
        "per_class": None,
        "list": {"samples": 100, "min": 10, "mean": 10.0, "max": 10},
        "details": {},
        "seconds": 1.0,
        "status": "done",
        "error": None,
    }
    return {**done, **changes}


def tries(of: list[float], **changes: Any) -> list[dict[str, Any]]:
    return [cell(score, attempt, **changes) for attempt, score in enumerate(of)]


def compared(folder: Path, a: list[dict], b: list[dict]) -> Any:
    return compare(write(folder / "a", "s", a), write(folder / "b", "s", b))


@pytest.mark.parametrize("degrees", [1, 1.37, 2, 2.5, 4, 9.8, 30, 300.5])
def test_t_equals_scipy(degrees: float) -> None:
    assert noise.t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-7)
    for t in (0.0, 0.3, -1.0, 2.0, 4.3, 12.7, 60.0):
        assert noise.t_tail(t, degrees) == pytest.approx(2 * stats.t.sf(abs(t), degrees), abs=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_estimates_equal_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(70, 1, 2 + seed % 3), rng.normal(70.5, 3, 2 + seed)
    theirs = stats.ttest_ind(b, a, equal_var=False)
    ours = noise.welch(a.tolist(), b.tolist())
    interval = theirs.confidence_interval(0.95)
    assert ours is not None
    assert (ours.p, ours.degrees) == pytest.approx((theirs.pvalue, theirs.df), rel=1e-6)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), rel=1e-6)

    a = b + rng.normal(0.3, 1, len(b))
    theirs, ours = stats.ttest_rel(b, a), noise.paired(a.tolist(), b.tolist())
    interval = theirs.confidence_interval(0.95)
    assert ours is not None
    assert (ours.p, ours.low, ours.high) == pytest.approx((theirs.pvalue, interval.low, interval.high), rel=1e-6)


def test_mean_and_deviation_equal_numpy() -> None:
    values = [0.1, 0.2, 0.7, 12.0]
    assert noise.mean(values) == pytest.approx(np.mean(values))
    assert noise.deviation(values) == pytest.approx(np.std(values, ddof=1))
    assert noise.deviation([3.0]) is None


def test_holm_by_hand() -> None:
    assert noise.holm([0.01, 0.04, 0.03, 0.005]) == 2  # 0.005 <= 0.05/4, 0.01 <= 0.05/3, 0.03 > 0.05/2
    assert noise.holm([]) == 0 and noise.holm([0.05]) == 1


def test_tries_on_the_same_lists_are_paired(tmp_path: Path) -> None:
    """Gaps 1.0, 1.1, 0.9: mean 1.0, deviation 0.1, interval 1 -+ 4.303 x 0.1 / sqrt(3); unpaired it would be noise."""
    found = compared(tmp_path, tries(SCORES), tries([71.0, 72.1, 73.9], trunk="two"))
    (one,) = found.differences
    assert (one.method, one.verdict, one.better) == ("paired", "exceeds the noise", "B")
    assert (one.difference, one.low, one.high) == pytest.approx((1.0, 0.75158, 1.24842), abs=1e-4)
    assert noise.welch(SCORES, [71.0, 72.1, 73.9]).low < 0  # type: ignore[union-attr]


def test_pairs_are_found_by_list_not_by_number_and_lone_tries_are_said(tmp_path: Path) -> None:
    b = [cell(73.9, 0, list_sha256="list 2"), cell(71.0, 1, list_sha256="list 0")]
    (one,) = compared(tmp_path, tries(SCORES), b).differences
    assert (one.method, one.a.n, one.b.n) == ("paired", 2, 2)
    assert one.difference == pytest.approx(0.95)
    assert one.note == "1 try without a partner left out"


def test_other_lists_of_the_same_size_are_independent_tries(tmp_path: Path) -> None:
    b = [cell(score, n, list_sha256=f"other {n}") for n, score in enumerate([71.0, 72.1, 73.9])]
    (one,) = compared(tmp_path, tries(SCORES), b).differences
    assert (one.method, one.verdict, one.note) == ("welch", "within the noise", "other lists of the same size")


def test_other_settings_of_the_protocol_are_said(tmp_path: Path) -> None:
    a, b = tries(SCORES, settings_sha256="1"), tries([71.0, 72.1, 73.9], settings_sha256="2")
    (one,) = compared(tmp_path, a, b).differences
    assert (one.method, one.note) == ("paired", "other settings of the protocol")


def test_one_list_for_all_tries_gives_no_pairs(tmp_path: Path) -> None:
    a, b = tries(SCORES, list_sha256="all"), tries([80.0, 81.0, 83.0], list_sha256="all")
    (one,) = compared(tmp_path, a, b).differences
    assert (one.method, one.verdict, one.note) == ("welch", "exceeds the noise", "one list for all tries")


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ([70.0], [90.0], "cannot be said (one try)"),
        ([70.0], [90.0, 91.0], "cannot be said (one try)"),
        ([70.0, 70.0], [90.0, 90.0], "cannot be said (the tries do not differ)"),
        ([70.1, 80.2], [70.4, 80.5], "cannot be said (the tries do not differ)"),
    ],
)
def test_noise_that_was_not_measured_is_not_judged(tmp_path: Path, a: list, b: list, verdict: str) -> None:
    (one,) = compared(tmp_path, tries(a), tries(b)).differences
    assert (one.verdict, one.method, one.p) == (verdict, "none", None)


def test_better_follows_the_direction_of_the_metric(tmp_path: Path) -> None:
    depth = {"task": "kitti", "kind": "depth", "metric": "rmse", "higher_is_better": False}
    (one,) = compared(tmp_path, tries([2.0, 2.1], **depth), tries([2.5, 2.7], **depth)).differences
    assert one.difference > 0 and one.better == "A"


def test_what_cannot_be_compared_is_listed_with_the_reason(tmp_path: Path) -> None:
    size = {"samples": 120, "min": 12, "mean": 12.0, "max": 12}
    failed = {"status": "failed", "error": "no memory"}
    a = [
        *tries(SCORES, task="a"),
        *tries(SCORES, task="b"),
        *tries(SCORES, task="c"),
        *tries(SCORES, task="d"),
        *tries(SCORES, task="e", **failed),
        *tries(SCORES, task="g", test_sha256="1"),
    ]
    b = [
        *tries(SCORES, task="a", metric="per_class"),
        *tries(SCORES, task="b", list=size),
        *tries(SCORES, task="c", **failed),
        *tries(SCORES, task="e", **failed),
        *tries(SCORES, task="f"),
        *tries(SCORES, task="g", test_sha256="2"),
    ]
    found = compared(tmp_path, a, b)
    assert not found.differences
    assert {one.task: one.reason for one in found.not_compared} == {
        "a": "measured in two ways: accuracy and per_class",
        "b": "training lists of other sizes: 100/10/10/10 and 120/12/12/12",
        "c": "every try of B failed: no memory",
        "d": "only in A",
        "e": "every try of both failed: no memory",
        "f": "only in B",
        "g": "tested on different lists",
    }
    assert "not compared (7):" in found.as_text()


def test_pictures_of_a_detection_list_may_hold_other_numbers_of_boxes(tmp_path: Path) -> None:
    det = {"kind": "detection", "metric": "voc_map"}
    other = {"samples": 100, "min": 3, "mean": 11.0, "max": 50}
    assert len(compared(tmp_path, tries(SCORES, **det), tries(SCORES, list=other, **det)).differences) == 1


def test_chance_alone_exceeds_in_five_percent(tmp_path: Path) -> None:
    """400 tasks without a difference: about 20 exceed, and Holm leaves none."""
    rng = np.random.default_rng(0)
    sides = [[c for n in range(400) for c in tries(rng.normal(50, 1, 3).tolist(), task=f"t{n}")] for _ in "ab"]
    found = compared(tmp_path, *sides)
    summary = found.as_json()["summary"]
    assert summary["decided"] == 400 and summary["expected_by_chance"] == pytest.approx(20)
    assert 8 <= summary["exceeding"] <= 36 and summary["after_holm"] == 0
    assert "about 20.0 of 400" in found.as_text()


def test_two_trunks_of_one_file_and_the_ways_to_name_them(tmp_path: Path) -> None:
    file = write(tmp_path, "s", tries(SCORES) + tries([81.0, 82.0, 83.5], trunk="two"))
    found = compare(f"{file}#one", f"{tmp_path}#two")
    assert (found.a, found.b) == (f"{file}#one", f"{tmp_path}#two")
    assert json.loads(json.dumps(found.as_json()))["differences"][0]["verdict"] == "exceeds the noise"
    with pytest.raises(UserError, match="several trunks: say which"):
        compare(file, f"{file}#two")
    with pytest.raises(UserError, match="did you mean 'two'"):
        compare(f"{file}#twob", f"{file}#two")
    with pytest.raises(UserError, match="cannot be read"):
        compare(tmp_path / "none.json", file)


def test_a_hash_sign_may_stand_in_a_path_and_in_a_trunk(tmp_path: Path) -> None:
    file = write(tmp_path / "run#1", "s", tries(SCORES) + tries(SCORES, trunk="a#b"))
    assert compare(file.parent.as_posix() + "#one", f"{file}#a#b").b == f"{file}#a#b"


def test_one_name_with_two_weights_is_two_trunks(tmp_path: Path) -> None:
    file = write(tmp_path, "s", tries(SCORES) + tries([81.0, 82.0, 83.5], weights_sha256="bb"))
    assert compare(f"{file}#one [aa]", f"{file}#one [bb]").differences[0].better == "B"


def test_the_table_lines_up(tmp_path: Path) -> None:
    lines = compared(tmp_path, tries(SCORES), tries([71.0, 72.1, 73.9])).as_text().splitlines()
    header, rule, row = lines[3:6]
    assert set(rule) == {"-"} and len(header) == len(rule) == len(row)
    assert row.split()[:5] == ["cifar10", "cached", "exceeds", "the", "noise"]
    assert "71.33 ± 1.53 (n=3)" in row and "+1.00" in row and "+0.75 to +1.25" in row

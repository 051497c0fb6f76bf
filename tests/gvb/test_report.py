"""The report: hand-computed numbers, what failed is said, both forms say the same, and no name breaks them."""

import base64
import io
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from interngv.errors import UserError
from interngv.gvb.report import read, write, write_report
from interngv.gvb.report.build import build
from interngv.gvb.report.document import Block, Section, Table, plain
from interngv.gvb.report.html import html
from interngv.gvb.report.markdown import markdown
from interngv.gvb.report.means import kind_means, reductions
from interngv.gvb.report.published import published
from interngv.gvb.report.results import Results, checked
from interngv.gvb.report.scores import Scores, shots_order, shots_title
from interngv.gvb.report.wording import MINUS, NONE

HOSTILE = "<b>x</b> | `y` *z* _u_ \\ & &lt; [a](b) $m$ ~~s~~\n# 模型 é \x00 \ud800"


def cell(task: str, trunk: str, score: float | None, attempt: int = 0, **changes: Any) -> dict[str, Any]:
    known = published().tasks.get(task)
    metric = known.metric if known else "accuracy"
    done = {
        "task": task,
        "kind": known.kind if known else "classification",
        "trunk": trunk,
        "protocol": "cached",
        "shots": "10",
        "attempt": attempt,
        "seed": attempt,
        "list_sha256": f"{attempt:064x}",
        "weights_sha256": f"{sum(map(ord, trunk)):064x}",
        "versions": {"interngv": "0.1", "torch": "2.13"},
        "metric": metric,
        "higher_is_better": metric not in ("rmse", "mr2"),
        "score": score,
        "scores": {metric: score},
        "per_class": None,
        "list": {"samples": 5000, "min": 500, "mean": 500.0, "max": 500},
        "details": {"chosen": {"lr": 0.1}, "grid": [{"lr": 0.1, "score": 7.0}], "at_edge": []},
        "seconds": 12.5,
        "status": "done",
        "error": None,
    }
    return {**done, **changes}


def failed(task: str, trunk: str, attempt: int = 0, error: str = "no memory", **changes: Any) -> dict[str, Any]:
    """As a run writes it that could not even say what it would have measured."""
    names = {"task": task, "trunk": trunk, "protocol": "cached", "shots": "10", "attempt": attempt, "seed": attempt}
    return {**names, "status": "failed", "error": error, "seconds": 0.1, **changes}


def scores_of(*cells: dict[str, Any]) -> Scores:
    return Scores(Results("mini", checked(cells, "cells")))


def report_of(*cells: dict[str, Any], suite: str = "mini", baseline: str | None = None) -> Section:
    return build(Results(suite, checked(cells, "cells")), baseline)


def sections(block: Block) -> list[Section]:
    if not isinstance(block, Section):
        return []
    return [block, *(found for inner in block.blocks for found in sections(inner))]


def tables(report: Section) -> list[Table]:
    return [block for section in sections(report) for block in section.blocks if isinstance(block, Table)]


def texts(table: Table) -> list[list[str]]:
    return [[plain(text) for text in row] for row in (table.header, *table.rows)]


def rows_of(report: Section, title: str) -> dict[str, list[str]]:
    """Rows of the first table of a section, by their first column."""
    section = next(section for section in sections(report) if section.title == title)
    return {row[0]: row for row in texts(tables(section)[0])[1:]}


class PageTables(HTMLParser):
    """The tables of a page, a list of rows of texts each, and every tag with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.tables[-1][-1][-1] += data


def markdown_tables(text: str) -> list[list[list[str]]]:
    """The tables that another parser sees in Markdown, their cells' texts without markup."""
    found: list[list[list[str]]] = []
    is_cell = False
    for token in MarkdownIt().enable(["table", "strikethrough"]).parse(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and is_cell:
            inner = [child for child in token.children or () if child.type not in ("strong_open", "strong_close")]
            assert {child.type for child in inner} <= {"text", "text_special"}, token.content
            found[-1][-1].append("".join(child.content for child in inner))
        is_cell = token.type in ("th_open", "td_open")
    return found


# Numbers


def test_mean_and_sample_deviation_of_the_tries() -> None:
    values = [70.0, 71.5, 74.0]
    report = report_of(*(cell("cifar10", "a", value, n) for n, value in enumerate(values)), cell("dtd", "a", 50.0, 0))
    rows = rows_of(report, "Scores")
    assert rows["cifar10"][3] == f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} (n=3)"
    assert rows["dtd"][3] == "50.00 (n=1); 2 missing"  # a single try has no deviation


def test_reduction_in_both_readings_by_hand() -> None:
    """Errors 20 and 40 against 40 and 50: means 30 / 45 = -33.3 %, own changes -50 % and -20 %, their mean -35 %."""
    mine = [cell("cifar10", "a", 80.0), cell("dtd", "a", 60.0)]
    base = [cell("cifar10", "base", 60.0), cell("dtd", "base", 50.0)]
    (one,) = reductions(scores_of(*mine, *base), "base")
    assert one.of_means == pytest.approx(-1 / 3) and one.of_tasks == pytest.approx(-0.35)
    text = markdown(report_of(*mine, *base, baseline="base"))
    assert f"a against base at 10 %: mean error rate {MINUS}33.3 % (cls)" in text
    assert f"| {MINUS}33.3 % ({MINUS}35.0 %) |" in text


def test_the_error_of_a_metric_where_lower_is_better_is_its_value() -> None:
    """Depth: 2 m and 0.4 m against 3 m and 0.5 m."""
    cells = [cell("kitti", "a", 2.0), cell("nyuv2", "a", 0.4), cell("kitti", "b", 3.0), cell("nyuv2", "b", 0.5)]
    (one,) = reductions(scores_of(*cells), "b")
    assert one.of_means == pytest.approx(2.4 / 3.5 - 1)
    assert one.of_tasks == pytest.approx((2 / 3 + 0.8) / 2 - 1)


def test_metrics_of_two_directions_have_a_mean_error_and_no_mean_score() -> None:
    (one,) = kind_means(scores_of(cell("voc0712", "a", 70.0), cell("citypersons", "a", 20.0)))
    assert one.scores is None and one.errors == {"a": 25.0}


def test_only_common_tasks_are_compared_and_the_others_named() -> None:
    cells = [cell("cifar10", "a", 80.0), cell("dtd", "a", 10.0), cell("cifar10", "b", 60.0), failed("dtd", "b")]
    (mean,) = kind_means(scores_of(*cells))
    assert (mean.tasks, mean.left_out, mean.errors) == (("cifar10",), ("dtd",), {"a": 20.0, "b": 40.0})
    (one,) = reductions(scores_of(*cells), "b")
    assert (one.tasks, one.left_out, one.of_means) == (("cifar10",), ("dtd",), pytest.approx(-0.5))
    row = next(iter(rows_of(report_of(*cells), "Means per kind of task").values()))
    assert row[3:] == ["1: cifar10", "dtd", "80.00 (20.00)", "60.00 (40.00)"]


def test_a_trunk_that_finished_nothing_takes_no_task_from_the_others() -> None:
    cells = [cell("cifar10", "a", 80.0), cell("cifar10", "b", 60.0), failed("cifar10", "c")]
    (mean,) = kind_means(scores_of(*cells))
    assert mean.absent == ("c",) and set(mean.errors) == {"a", "b"}
    assert "nothing finished" in markdown(report_of(*cells))


def test_a_baseline_without_error_gives_no_reduction() -> None:
    (one,) = reductions(scores_of(cell("cifar10", "a", 90.0), cell("cifar10", "b", 100.0)), "b")
    assert one.of_means is None and one.of_tasks is None
    assert "mean error rate cannot be said (cls)" in markdown(
        report_of(cell("cifar10", "a", 90.0), cell("cifar10", "b", 100.0), baseline="b")
    )


def test_the_published_numbers_stand_beside_ours_and_are_marked_as_theirs() -> None:
    cells = [cell(task, "a", 50.0) for task in published().of_kind("classification")]
    report = report_of(*cells, cell("own-set", "a", 99.0))
    section = next(one for one in sections(report) if one.title == "Beside the authors' published table")
    assert "published by the authors; their lists, weights and search are not available" in markdown(section)
    table = texts(tables(section)[0])
    assert table[0][2:4] == ["ours: a", "theirs: Up-A R50"] and len(table[0]) == 3 + 14
    by_task = {row[0]: row for row in table}
    assert by_task["widerface"][-1] == "95.9/94.2/79.6" and by_task["widerface"][2] == NONE
    assert by_task["mean of the 20 classification tasks"][3:5] == ["70.90", "74.70"]
    assert by_task["mean of the same tasks (ours by cached)"][2:4] == ["50.00", "70.90"]


def test_a_published_mean_is_taken_over_our_tasks_of_the_same_metric() -> None:
    report = report_of(cell("cifar10", "a", 50.0), cell("dtd", "a", 30.0), cell("pets", "a", 9.0, metric="accuracy"))
    rows = rows_of(report, "Beside the authors' published table")
    assert rows["mean of cifar10, dtd (ours by cached)"][2:4] == ["40.00", f"{(92.4 + 65.0) / 2:.2f}"]
    assert rows["pets"][2] == "9.00 (n=1) cached, accuracy, %"


def test_without_the_authors_shots_their_table_stands_alone() -> None:
    text = markdown(report_of(cell("cifar10", "a", 50.0, shots="5")))
    assert "no cell at 10 %: the table stands alone" in text and "ours: a" not in text


# What failed, what is missing, what a reader must know


def test_failed_and_missing_cells_are_said_with_the_reason_and_are_no_zero() -> None:
    cells = [cell("cifar10", trunk, 80.0 + n, n) for trunk in "ab" for n in range(3)]
    cells += [cell("dtd", "a", 50.0, 0), failed("dtd", "a", 1, "no memory"), failed("dtd", "b", 0, "no picture")]
    report = report_of(*cells)
    row = rows_of(report, "Scores")["dtd"]
    assert row[3:] == ["50.00 (n=1); 1 failed: no memory, 1 missing", "1 failed: no picture, 2 missing"]
    text = markdown(report)
    assert "**2 cells failed**" in text and "**3 cells missing" in text
    assert "| dtd | b | cached | 10 % | 0 | no picture |" in text
    assert "| dtd | b | cached | 10 % | 1, 2 |" in text


def test_a_task_that_failed_everywhere_keeps_its_place_and_its_kind() -> None:
    report = report_of(cell("cifar10", "a", 80.0), failed("kitti", "a"), failed("own-set", "a"))
    assert list(rows_of(report, "Scores")) == ["cifar10", "kitti", "own-set"]
    kinds = [row.kind for row in scores_of(failed("kitti", "a"), failed("own-set", "a")).rows]
    assert kinds == ["depth", "unknown"]


def test_one_name_for_two_weights_is_two_columns_and_a_warning() -> None:
    cells = [cell("cifar10", "a", score, weights_sha256=digit * 64) for score, digit in ((80.0, "1"), (90.0, "2"))]
    report = report_of(*cells)
    assert scores_of(*cells).trunks == ("a [11111111]", "a [22222222]")
    assert "stands for several weights" in markdown(report)


def test_the_best_at_the_grid_s_edge_is_marked() -> None:
    edge = {"chosen": {"lr": 1.0, "wd": 0.001}, "at_edge": ["lr"], "counts": {"no_depth": 3}, "without_sample": [4, 7]}
    text = markdown(report_of(cell("cifar10", "a", 80.0), cell("dtd", "a", 50.0, details=edge)))
    assert "**⚠ 1 of 2 best settings are at the edge of the grid" in text
    assert "| dtd | a | cached | 10 % | 0 | lr=1, wd=0.001 | no_depth=3, without_sample: 2 | **⚠ lr** |" in text


def test_classes_stand_the_worst_first_and_long_lists_are_cut_with_a_word() -> None:
    per_class = {f"c{n}": float(n) for n in range(80)} | {"none": None}
    classes = {"a": per_class, "b": {"c0": 99.0}}
    report = report_of(*(cell("cifar10", trunk, 40.0, per_class=of) for trunk, of in classes.items()))
    section = next(one for one in sections(report) if one.title == "cifar10, cached: 80 classes")
    names = [row[0] for row in texts(tables(section)[0])[1:]]
    assert names[:3] == ["c1", "c2", "c3"] and names.index("c0") == 49 and len(names) == 50
    assert "The 50 worst of 80 classes" in markdown(section)


def test_lists_weights_versions_and_time_are_told() -> None:
    text = markdown(report_of(*(cell("cifar10", "a", 80.0, n) for n in range(2))))
    assert "| cifar10 | 10 % | 1 | 000000000000 | every trunk | 5000 | 500 | 500 | 500 |" in text
    assert "| a | cached | 000000000000 | interngv 0.1 torch 2.13 | 2 | 0 | 25 s |" in text


def test_cells_of_several_versions_are_warned_of() -> None:
    text = markdown(report_of(cell("cifar10", "a", 1.0), cell("dtd", "a", 1.0, versions={"interngv": "0.2"})))
    assert "**cells of different versions" in text


@pytest.mark.parametrize(
    ("key", "said"), [("test_sha256", "test lists"), ("settings_sha256", "settings"), ("image_size", "image sizes")]
)
def test_cells_of_one_row_that_were_measured_in_another_way_are_warned_of(key: str, said: str) -> None:
    cells = [cell("cifar10", "a", 1.0, **{key: "1"}), cell("cifar10", "b", 1.0, **{key: "2"})]
    text = markdown(report_of(*cells, cell("dtd", "a", 1.0, **{key: "3"}), cell("dtd", "b", 1.0, **{key: "3"})))
    assert re.search(rf"\*\*cells with different {said}.*: cifar10 \(cached\)\*\*", text)


def test_a_class_without_a_test_sample_has_no_value() -> None:
    (found,) = checked([cell("cifar10", "a", 1.0, per_class={"cat": float("nan"), "dog": 2.0})], "file")
    assert found["per_class"] == {"cat": None, "dog": 2.0}


def test_an_unknown_baseline_and_an_empty_file_are_refused() -> None:
    with pytest.raises(UserError, match="none of the trunks; did you mean 'mn-b4'"):
        report_of(cell("cifar10", "mn-b4", 1.0), baseline="mn-b5")
    with pytest.raises(UserError, match="have no cells"):
        report_of()


def test_shots_sort_as_their_lists_grow() -> None:
    assert sorted(["all", "k=16", "10", "2.5", "k=2", "0"], key=shots_order) == ["k=2", "k=16", "0", "2.5", "10", "all"]
    assert [shots_title(shots) for shots in ("k=2", "2.5", "all", "odd")] == ["2 a class", "2.5 %", "100 %", "odd"]


# The two forms


def hostile_cells() -> list[dict[str, Any]]:
    classes = {HOSTILE: 1.0, "": 2.0}
    cells = [cell(HOSTILE, trunk, 60.0 + n, n, per_class=classes) for trunk in (HOSTILE, "_b_") for n in (0, 1)]
    lost = failed("+ dtd", HOSTILE, error=f"a | b\n{HOSTILE}")
    return [*cells, lost, cell("1. x", "- c", 5.0, details={"C": HOSTILE})]


@pytest.mark.filterwarnings("ignore:Glyph")
def test_both_forms_hold_the_same_tables_whatever_the_names() -> None:
    report = report_of(*hostile_cells(), suite=HOSTILE)
    wanted = [texts(table) for table in tables(report)]
    assert len(wanted) > 8 and any("\ufffd" in text for table in wanted for row in table for text in row)
    assert sorted(PageTables(html(report)).tables) == sorted(wanted)
    assert sorted(markdown_tables(markdown(report))) == sorted(wanted)


@pytest.mark.filterwarnings("ignore:Glyph")
def test_the_page_is_well_formed_and_asks_for_nothing() -> None:
    page = html(report_of(*hostile_cells(), suite=HOSTILE))
    ET.fromstring(page.replace("<!DOCTYPE html>", ""))
    tags = PageTables(page).tags
    assert {tag for tag, _ in tags}.isdisjoint({"script", "link", "iframe", "b"})
    for tag, attributes in tags:
        if tag == "img":
            assert str(attributes["src"]).startswith("data:image/png;base64,") and attributes["alt"]
        if tag == "a":
            assert any(f"#{found.get('id')}" == attributes["href"] for _, found in tags)
        assert not any(name.startswith("on") for name in attributes)
    ids = [found["id"] for _, found in tags if "id" in found]
    assert len(ids) == len(set(ids))
    assert "url(" not in page and "@import" not in page and "prefers-color-scheme: dark" in page


def test_pictures_decode_and_are_the_same_in_both_forms(tmp_path: Path) -> None:
    places = product(("a/b", "dtd"), ("1", "10"), (0, 1))
    cells = [cell(task, "a", 70.0 + n, n, shots=shots) for task, shots, n in places]
    write(tmp_path, "mini", cells)
    page, text = write_report(tmp_path)
    names = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text.read_text())
    inside = re.findall(r"base64,([^\"]+)", page.read_text())
    assert len(names) == len(inside) == 2
    for name, data in zip(names, inside, strict=True):
        assert (tmp_path / name).read_bytes() == base64.b64decode(data)
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        image.load()
        assert image.format == "PNG" and min(image.size) > 300
        assert len(np.unique(np.asarray(image))) > 10  # something is drawn
    assert "dtd, accuracy, % against training samples: a (cached) 70.50 at 1 %, 70.50 at 10 %." in page.read_text()


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, "mini", [cell("cifar10", "a", 70.0), cell("kitti", "a", 3.0), failed("dtd", "a")])
        write_report(tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) == 5
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)


@pytest.mark.slow
def test_the_whole_suite_at_once(tmp_path: Path) -> None:
    """26 tasks x 3 trunks x 3 shots x 3 tries."""
    sizes = {"1": 100, "10": 1000, "all": 10000}
    cells = [
        cell(task, trunk, 2.0 + place + n / 10, n, shots=shots, list={"samples": size, "min": 1, "mean": 2.0, "max": 3})
        for task in published().tasks
        for place, trunk in enumerate("abc")
        for shots, size in sizes.items()
        for n in range(3)
    ]
    write(tmp_path, "gvb", cells)
    page, text = write_report(tmp_path, baseline="b")
    assert text.read_text().count("![") == page.read_text().count("<img ") == 26
    assert all(f"c against b at {shots}" in text.read_text() for shots in ("1 %", "10 %", "100 %"))


# The file


def test_results_are_read_as_written(tmp_path: Path) -> None:
    cells = [cell("cifar10", "a", 76.6, per_class={"cat": 71.0}), failed("dtd", HOSTILE)]
    file = write(tmp_path, "mini", cells)
    found = read(tmp_path)
    assert found == read(file) and found.suite == "mini"
    assert found.cells[0] == {**cells[0], "test_sha256": None, "settings_sha256": None, "image_size": None}
    assert found.cells[1]["score"] is None and found.cells[1]["error"] == "no memory"
    assert json.loads(file.read_text())["format"] == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"score": float("nan")}, "'score' must be a finite number, got nan"),
        ({"score": float("inf")}, "'score' must be a finite number, got inf"),
        ({"score": None}, "'score' must be a number, got None"),
        ({"score": True}, "'score' must be a number, got True"),
        ({"score": "76"}, "'score' must be a number, got '76'"),
        ({"score": 766.0}, "must be a percentage, got 766.0"),
        ({"scores": {}}, "'scores' is empty"),
        ({"scores": {"accuracy": float("nan")}}, "'scores' of 'accuracy' must be a finite number"),
        ({"per_class": {"cat": float("inf")}}, "'per_class' of 'cat' must be a finite number"),
        ({"seconds": float("inf")}, "'seconds' must be a finite number"),
        ({"attempt": "0"}, "'attempt' must be int, got '0'"),
        ({"status": "running"}, "'status' must be 'done' or 'failed', got 'running'"),
        ({"kind": "classify"}, "'kind' must be one of classification"),
    ],
)
def test_a_wrong_cell_is_named_with_file_and_place(tmp_path: Path, changes: dict, said: str) -> None:
    good, bad = cell("dtd", "a", 50.0), cell("cifar10", "a", 76.6) | changes
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"format": 1, "suite": "s", "cells": [good, bad]}))
    wanted = f"{file}: cell 1 (cifar10 a cached 10 0): "
    with pytest.raises(UserError, match=re.escape(wanted) + ".*" + re.escape(said)):
        read(file)
    with pytest.raises(UserError, match=re.escape(said)):
        write(tmp_path / "new", "s", [good, bad])
    assert not (tmp_path / "new" / "results.json").exists()


@pytest.mark.parametrize("key", sorted(set(cell("dtd", "a", 1.0)) - {"task"}))
def test_a_missing_key_is_named(key: str) -> None:
    lacking = {name: value for name, value in cell("dtd", "a", 1.0).items() if name != key}
    with pytest.raises(UserError, match=rf"file: cell 0 \(dtd.*: the key '{key}' is missing"):
        checked([lacking], "file")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "expected an object with 'format'"),
        ('{"format": 2, "cells": []}', "has format 2; this version of interngv reads format 1"),
        ('{"format": 1, "cells": [7]}', "cell 0: expected an object, got int"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=re.escape(said)):
        read(tmp_path)


def test_a_cell_twice_and_a_task_measured_in_two_ways_are_refused() -> None:
    with pytest.raises(UserError, match="stands there 2 times"):
        checked([cell("dtd", "a", 1.0), cell("dtd", "a", 2.0)], "file")
    with pytest.raises(UserError, match="other cells of the task as"):
        checked([cell("dtd", "a", 1.0), cell("dtd", "b", 2.0, metric="per_class")], "file")

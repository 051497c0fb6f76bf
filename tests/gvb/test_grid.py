"""The grid: every cell once, kept, tried again after a failure, shared by processes, measured again when it must be."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from interngv.engine.checkpoints.lock import work_dir_lock
from interngv.errors import UserError
from interngv.gvb.grid import RESULT, Cell, Store, cells, run

WANTED = cells(["a", "b"], {"pets": "cached", "voc": "faster-rcnn"}, ["1", "10"], 2)


def identity(cell: Cell) -> dict:
    return {"weights_sha256": cell.trunk * 8, "list_sha256": f"{cell.task}{cell.shots}{cell.attempt}"}


class Measure:
    def __init__(self, faults: dict[Cell, Exception] | None = None) -> None:
        self.seen: list[Cell] = []
        self.faults = faults or {}

    def __call__(self, cell: Cell, place: Path) -> dict:
        self.seen.append(cell)
        if cell in self.faults:
            raise self.faults[cell]
        score = float(len(cell.task) + 10 * cell.attempt)
        return {"score": score, "scores": {"accuracy": score}}


def test_the_grid_has_every_combination_once_a_task_after_the_other() -> None:
    assert len(WANTED) == len(set(WANTED)) == 2 * 2 * 2 * 2
    assert [cell.task for cell in WANTED] == ["pets"] * 8 + ["voc"] * 8
    assert {cell.protocol for cell in WANTED if cell.task == "voc"} == {"faster-rcnn"}


def test_cells_are_measured_once_and_kept_in_any_order(tmp_path: Path) -> None:
    measure = Measure()
    first = run(WANTED, Store(tmp_path), identity, measure)
    again = run(WANTED[::-1], Store(tmp_path), identity, measure)
    assert measure.seen == WANTED and again == first[::-1]
    assert all(result["status"] == "done" and result["score"] == result["scores"]["accuracy"] for result in first)
    assert [(r["task"], r["trunk"], r["shots"], r["attempt"]) for r in first] == [
        (c.task, c.trunk, c.shots, c.attempt) for c in WANTED
    ]


@pytest.mark.parametrize("changed", ["weights_sha256", "list_sha256", "settings"])
def test_other_weights_lists_or_settings_are_measured_anew_and_nothing_is_lost(tmp_path: Path, changed: str) -> None:
    measure = Measure()
    before = run(WANTED[:1], Store(tmp_path), identity, measure)
    run(WANTED[:1], Store(tmp_path), lambda cell: identity(cell) | {changed: "other"}, measure)
    assert len(measure.seen) == 2
    assert run(WANTED[:1], Store(tmp_path), identity, measure) == before and len(measure.seen) == 2


@pytest.mark.parametrize("fault", [UserError("picture x.png is empty"), ZeroDivisionError("division by zero")])
def test_a_failing_cell_is_reported_the_rest_goes_on_and_it_is_tried_again(tmp_path: Path, fault: Exception) -> None:
    measure = Measure({WANTED[3]: fault})
    lines: list[str] = []
    results = run(WANTED, Store(tmp_path), identity, measure, say=lines.append)
    assert [result["status"] for result in results].count("failed") == 1
    assert str(fault) in results[3]["error"] and "score" not in results[3] and str(fault) in lines[3]
    mended = Measure()
    assert all(result["status"] == "done" for result in run(WANTED, Store(tmp_path), identity, mended))
    assert mended.seen == [WANTED[3]]


def test_a_cell_that_cannot_be_identified_fails_alone(tmp_path: Path) -> None:
    def identify(cell: Cell) -> dict:
        if cell.task == "voc":
            raise UserError("data/voc0712 is absent")
        return identity(cell)

    results = run(WANTED, Store(tmp_path), identify, Measure())
    assert {result["task"]: result["status"] for result in results} == {"pets": "done", "voc": "failed"}


def test_what_another_process_measures_is_left_to_it(tmp_path: Path) -> None:
    store, measure = Store(tmp_path), Measure()
    with work_dir_lock(store.place(WANTED[0], identity(WANTED[0]))):
        results = run(WANTED[:2], store, identity, measure)
    assert measure.seen == [WANTED[1]] and [r["attempt"] for r in results] == [1]


def _slowly(folder: str, log: str) -> None:
    def measure(cell: Cell, place: Path) -> dict:
        with open(log, "a") as file:
            file.write(f"{cell}\n")
        time.sleep(0.05)
        return {"score": 1.0, "scores": {"accuracy": 1.0}}

    run(WANTED, Store(folder), identity, measure)


def test_processes_share_the_grid_and_a_killed_one_leaves_no_cell_behind(tmp_path: Path) -> None:
    context, log = multiprocessing.get_context("fork"), tmp_path / "log"
    processes = [context.Process(target=_slowly, args=(str(tmp_path), str(log))) for _ in range(3)]
    for process in processes:
        process.start()
    while not log.exists() or len(log.read_text().splitlines()) < 4:
        time.sleep(0.01)
    os.kill(processes[0].pid, signal.SIGKILL)
    for process in processes:
        process.join()
    _slowly(str(tmp_path), str(log))  # what the killed one had begun
    assert all(Store.read(Store(tmp_path).place(cell, identity(cell)))["status"] == "done" for cell in WANTED)
    measured = log.read_text().splitlines()
    assert set(measured) == set(map(str, WANTED)) and len(measured) <= len(WANTED) + 1


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    place = store.place(WANTED[0], identity(WANTED[0]))
    store.write(place, {"status": "done", "score": 1.0})
    (place / RESULT).write_text(json.dumps({"status": "done"})[:-3])
    (result,) = run(WANTED[:1], store, identity, Measure())
    assert result["status"] == "failed" and str(place) in result["error"]

"""The one command on real pictures of all four kinds: cells are measured, kept, compared; a kill loses nothing."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pasted_digits
import psutil
import pytest
from PIL import Image

from interngv.engine.config import shipped_configs_dir
from interngv.errors import UserError
from interngv.gvb.command import judge
from interngv.gvb.report import compare, read

ROOT = Path(__file__).resolve().parents[2]
DENSE = {"detection": "faster-rcnn", "segmentation": "deeplabv3", "depth": "depth"}
ROWS = """
tasks = dict(
    things=dict(title="Things", kind="classification", num_classes=10, metric="accuracy", layout="folders",
                settings=dict(folders=dict(train="train", test="val"))),
    boxes=dict(title="Boxes", kind="detection", num_classes=3, metric="coco_ap", layout="coco", folder="pasted",
               settings=dict(annotations=dict(train="annotations/train.json", test="annotations/val.json"),
                             images="images")),
    masks=dict(title="Masks", kind="segmentation", num_classes=2, metric="miou", layout="masks", folder="pasted",
               class_names=["photo", "digit"],
               settings=dict(parts=dict(train=[dict(images="images/train", masks="annotations/train")],
                                        test=[dict(images="images/val", masks="annotations/val")]))),
    ramps=dict(title="Ramps", kind="depth", metric="rmse", layout="depth", folder="pasted",
               settings=dict(scale=0.001, max_depth=5, images=dict(train="images/train", test="images/val"),
                             depths=dict(train="depth/train", test="depth/val"))),
)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, class_folder: Path) -> Path:
    """A folder a task: pictures of ten classes; photographs with digits, their boxes, masks and a made-up depth."""
    root = tmp_path_factory.mktemp("data")
    (root / "things").symlink_to(class_folder.absolute())
    pasted_digits.write(root / "pasted")
    for split in ("train", "val"):
        (root / "pasted/depth" / split).mkdir(parents=True)
        for file in sorted((root / "pasted/annotations" / split).glob("*.png")):
            digit = np.asarray(Image.open(file)).astype(np.uint16)
            metres = np.linspace(4, 2, digit.shape[0])[:, None] - digit
            Image.fromarray((1000 * metres).astype(np.uint16)).save(root / "pasted/depth" / split / file.name)
    return root


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A suite of these four tasks, with a few steps for everything that trains."""
    folder, shipped = tmp_path_factory.mktemp("suite"), shipped_configs_dir()
    protocols = []
    for name, steps in {"linear-probe": 40, "faster-rcnn": 20, "deeplabv3": 20, "depth": 20}.items():
        base = shipped / "_base_/gvb/mini" / f"{name}.py"
        hooks = f"default_hooks = dict(checkpoint=dict(interval={steps // 2}))"
        (folder / f"{name}.py").write_text(f"_base_ = [{str(base)!r}]\ntrain_cfg = dict(max_iters={steps})\n{hooks}\n")
        key = name.removesuffix("-probe")
        kind = next((kind for kind, own in DENSE.items() if own == key), "classification")
        protocols.append(f"    {key!r}: dict(_delete_=True, kind={kind!r}, config='{name}.py'),")
    schedule = "dict(settings=dict(lrs=[0.1, 1.0], schedule=dict(iterations=60, milestones=(40,))))"
    inner = "\n".join(["protocols = {", f"    'cached': {schedule},", *protocols, "}"])
    end = f"suite = dict(name='mine', data_root={str(data)!r}, image_size=32, tasks=tasks, protocols=protocols)\n"
    text = f"_base_ = [{str(shipped / 'gvb/mini.py')!r}]\n{ROWS}\n{inner}\n{end}"
    (folder / "mine.py").write_text(text)
    return folder / "mine.py"


def run(suite: Path, folder: Path, *more: str, **options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "tools/test.py"), str(suite), "--trunk", "mn-mini", "--checkpoint", "random"]
    return subprocess.run([*command, "--work-dir", str(folder), *more], capture_output=True, text=True, **options)


def test_the_plan_lists_the_cells(suite: Path, tmp_path: Path, capsys: Any) -> None:
    tool = runpy.run_path(str(ROOT / "tools/test.py"))
    options = ["--tasks", "things,boxes", "--shots", "10,all", "--tries", "2", "--work-dir", str(tmp_path / "w")]
    command = [str(suite), "--trunk", "mn-mini", "--checkpoint", "random", *options, "--dry-run"]
    tool["test"](tool["parse_args"](command))
    lines = [line for line in capsys.readouterr().out.splitlines() if "mn-mini" in line]
    assert len(lines) == 8 and "boxes mn-mini random faster-rcnn all #1" in lines and not (tmp_path / "w").exists()


@pytest.mark.slow
def test_all_four_kinds_are_judged_kept_and_reported(suite: Path, tmp_path: Path) -> None:
    done = run(suite, tmp_path, "--tasks", "things,boxes,masks,ramps", "--shots", "10")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {cell["task"]: cell for cell in read(tmp_path).cells}
    assert {cell["status"] for cell in found.values()} == {"done"}, done.stdout
    assert found["things"]["score"] > 15 and len(found["things"]["per_class"]) == 10
    assert found["masks"]["score"] > 35 and 0 < found["ramps"]["score"] < 3 and 0 <= found["boxes"]["score"] <= 100
    assert {name: cell["list"]["samples"] for name, cell in found.items() if name != "things"} == dict.fromkeys(
        ("boxes", "masks", "ramps"), 36
    )
    again = run(suite, tmp_path, "--tasks", "things,boxes,masks,ramps", "--shots", "10")
    assert again.stdout.count("(kept)") == 4
    page = (tmp_path / "report.html").read_text()
    assert all(word in page for word in ("things", "boxes", "masks", "ramps", "mn-mini random"))
    assert "ramps" in (tmp_path / "report.md").read_text()


@pytest.mark.slow
def test_the_probe_on_cached_features_finds_what_the_released_probe_finds(suite: Path, tmp_path: Path) -> None:
    for protocol in ("linear", "cached", "ridge", "knn", "logistic"):
        done = run(suite, tmp_path, "--tasks", "things", "--shots", "all", "--protocol", protocol)
        assert done.returncode == 0, done.stdout + done.stderr
    newest = {cell["protocol"]: cell for cell in map(json.loads, _results(tmp_path))}
    assert set(newest) == {"linear", "cached", "ridge", "knn", "logistic"}
    assert len({cell["weights_sha256"] for cell in newest.values()}) == 1
    assert newest["cached"]["score"] > newest["linear"]["score"] - 1
    assert sum(cell["details"].get("images_seen", 0) > 0 for cell in newest.values()) == 1  # one pass for all probes


def _results(folder: Path) -> list[str]:
    return [file.read_text() for file in sorted((folder / "cells").glob("*/result.json"))]


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["everything", "training"])
def test_a_killed_run_goes_on_where_it_was(suite: Path, tmp_path: Path, victim: str) -> None:
    wanted = ["--tasks", "ramps", "--shots", "all"]
    command = [sys.executable, str(ROOT / "tools/test.py"), str(suite), "--trunk", "mn-mini", "--checkpoint", "random"]
    process = subprocess.Popen([*command, "--work-dir", str(tmp_path), *wanted], start_new_session=True)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("cells/*/run/iter_10")) and time.monotonic() < deadline:
        time.sleep(0.1)
    if victim == "everything":
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not _results(tmp_path)
    else:  # it saves and ends well, and is not taken for a finished one
        children = psutil.Process(process.pid).children(recursive=True)
        next(one for one in children if one.cmdline()[1].endswith("train.py")).terminate()
        assert process.wait() == 2
        (result,) = map(json.loads, _results(tmp_path))
        assert result["status"] == "failed" and "stopped by a signal" in result["error"]
    done = run(suite, tmp_path, *wanted)
    assert done.returncode == 0, done.stdout + done.stderr
    (log,) = tmp_path.glob("cells/*/run/train.log")
    assert "resuming from" in log.read_text()


@pytest.mark.slow
def test_absent_data_fail_their_cell_and_two_runs_are_compared(suite: Path, tmp_path: Path) -> None:
    for trunk, folder in (("random", "a"), ("random:1", "b")):
        judge(
            str(suite),
            "mn-mini",
            checkpoint=trunk,
            tasks=["things", "bccd"],
            shots=["10"],
            tries=2,
            work_dir=str(tmp_path / folder),
        )
        absent = [cell for cell in read(tmp_path / folder).cells if cell["status"] == "failed"]
        assert {cell["task"] for cell in absent} == {"bccd"} and all("data status" in cell["error"] for cell in absent)
    with pytest.raises(UserError, match="other weights under the name"):
        judge(str(suite), "mn-mini", checkpoint="random:2", name="mn-mini random", work_dir=str(tmp_path / "a"))
    judge(str(suite), "mn-mini", checkpoint="random", tasks=["things"], shots=["all"], work_dir=str(tmp_path / "a"))
    cells = read(tmp_path / "a").cells
    assert {cell["shots"] for cell in cells if cell["status"] == "done"} == {"10", "all"}  # earlier results stay
    found = compare(str(tmp_path / "a"), str(tmp_path / "b")).as_json()
    assert "things" in json.dumps(found) and "noise" in json.dumps(found)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (dict(trunk="mn-b44"), "did you mean 'mn-b4'"),
        (dict(trunk="mn-mini", tasks=["thing"]), "did you mean 'things'"),
        (dict(trunk="mn-mini", shots=["101"]), "101"),
        (dict(trunk="mn-mini", tries=0), "--tries 0"),
        (dict(trunk="mn-mini", protocols=["cachd"]), "did you mean 'cached'"),
        (dict(trunk="mn-mini", checkpoint="nowhere.pth"), "nowhere.pth"),
        (dict(trunk="mn-mini", checkpoint=None), "--checkpoint"),
        (dict(trunk="mn-mini", tasks=["things"], protocols=["depth"]), "none of the tasks is"),
        (dict(trunk="mn-mini", baseline="nobody"), "'nobody' has no results"),
    ],
)
def test_mistakes_are_named_before_anything_is_measured(suite: Path, tmp_path: Path, given: dict, words: str) -> None:
    arguments = {"checkpoint": "random", "work_dir": str(tmp_path / "w"), **given}
    with pytest.raises(UserError) as error:
        judge(str(suite), arguments.pop("trunk"), **arguments)
    assert words in str(error.value) and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_trunks_of_other_forms_are_compared_as_they_are(suite: Path, tmp_path: Path) -> None:
    """Another input and another backbone are the trunk's own matter, not other settings of the protocol."""
    grey = dict(
        backbone=dict(type="interngv.MetaNet", arch="mn-mini", drop_path_rate=0.1), mean=[0, 0, 0], std=[9, 9, 9]
    )
    options = {"suite.trunks": {"grey": grey}}
    for trunk in ("mn-mini", "grey"):
        given = dict(checkpoint="random", tasks=["things"], protocols=["knn"], tries=2, work_dir=str(tmp_path))
        judge(str(suite), trunk, name=trunk, options=options, **given)
    first, second = ({cell["settings_sha256"] for cell in read(tmp_path).cells if cell["trunk"] == name}
                     for name in ("mn-mini", "grey"))  # fmt: skip
    assert first == second and None not in first
    assert "different settings" not in (tmp_path / "report.md").read_text()
    said = compare(f"{tmp_path}#mn-mini", f"{tmp_path}#grey").as_text()
    assert "things" in said and "not compared" not in said and "other settings" not in said


@pytest.mark.slow
def test_every_try_draws_a_random_trunk_anew(suite: Path, tmp_path: Path) -> None:
    scores = {}
    for checkpoint in ("random", "random:0", "random:1"):
        given = dict(tasks=["things"], protocols=["knn"], shots=["all"], tries=2, work_dir=str(tmp_path))
        judge(str(suite), "mn-mini", checkpoint=checkpoint, **given)
        cells = [cell for cell in read(tmp_path).cells if cell["trunk"] == f"mn-mini {checkpoint}"]
        assert len({cell["weights_sha256"] for cell in cells}) == 1
        scores[checkpoint] = {cell["attempt"]: cell["score"] for cell in cells}
    assert scores["random"] == {0: scores["random:0"][0], 1: scores["random:1"][1]}
    assert scores["random:0"][1] != scores["random:1"][1]

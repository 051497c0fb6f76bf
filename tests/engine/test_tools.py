"""tools/train.py and tools/test.py, run as users run them."""

import csv
import importlib.util
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import CheckpointLoader

from interngv.checkpoint import read_checkpoint

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path) -> Run:
    """Call a tool's main in this process (quick: for what ends before training) from an empty folder."""
    pytest.importorskip("mmpretrain")
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)

    def call(name: str, *arguments: object) -> tuple[int, str, str]:
        spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
        status = module.main()
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def refused(result: tuple[int, str, str], *words: object) -> None:
    """Status 2, one error line that has all the words, no traceback."""
    status, _, err = result
    assert status == 2
    lines = [line for line in err.splitlines() if line.startswith("error")]
    assert len(lines) == 1 and "Traceback" not in err, err
    for word in words:
        assert str(word) in lines[0], lines[0]


# Tools read as the house wants them


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_tool_is_small(name: str) -> None:
    assert len((ROOT / "tools" / f"{name}.py").read_text().splitlines()) <= 160


# Dry run


def test_dry_run_prints_the_plan_and_writes_nothing(run: Run, lenet_config: Path, class_folder: Path, tmp_path: Path):
    status, out, _ = run("train", lenet_config, "--dry-run", "--cfg-options", "train_cfg.max_epochs=3")
    samples = sum(1 for file in (class_folder / "train").rglob("*.*") if file.is_file())
    assert status == 0
    # LeNet-5 by hand, convolutions and fully connected layers at 1 x 32 x 32.
    parameters = (25 + 1) * 6 + (150 + 1) * 16 + (400 + 1) * 120 + (120 + 1) * 84 + (84 + 1) * 10
    multiply_adds = 25 * 6 * 28**2 + 150 * 16 * 10**2 + 400 * 120 + 120 * 84 + 84 * 10
    lines = out.splitlines()
    assert f"parameters: {parameters}" in lines
    assert f"multiply-adds: {multiply_adds}" in lines
    assert "input: 1 x 32 x 32 (first sample of train_dataloader)" in lines
    assert "world size: 1" in lines and "per-rank batch: 20" in lines
    assert f"steps: {3 * (samples // 20)} ({samples // 20} an epoch of {samples} samples)" in lines
    assert any(line.startswith("learning rate: SGD at lr 0.05; CosineAnnealingLR") for line in lines)
    assert "max_epochs=3" in out
    assert list(tmp_path.iterdir()) == []


def test_dry_run_under_a_launcher_counts_the_processes(run: Run, lenet_config: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in dict(RANK="0", WORLD_SIZE="4", LOCAL_RANK="0", MASTER_ADDR="::1", MASTER_PORT="1").items():
        monkeypatch.setenv(name, value)
    status, out, _ = run("train", lenet_config, "--dry-run", "--launcher", "pytorch")
    assert status == 0
    assert "total batch: 80 (20 x 4 processes)" in out.splitlines()


def test_dry_run_without_data_takes_the_size_that_is_given(run: Run, lenet_config: Path, tmp_path: Path):
    away = ["--cfg-options", f"train_dataloader.dataset.data_root={tmp_path / 'away'}"]
    refused(run("train", lenet_config, "--dry-run", *away), "input size", "--shape C H W")
    status, out, _ = run("train", lenet_config, "--dry-run", "--shape", 1, 32, 32, *away)
    assert status == 0 and "input: 1 x 32 x 32 (--shape)" in out and "steps: unknown" in out


# Mistakes


def test_unknown_config(run: Run):
    refused(run("train", "no_such_config.py"), "no_such_config.py")


def test_missing_data_folder(run: Run, lenet_config: Path, tmp_path: Path):
    options = ["--cfg-options", f"train_dataloader.dataset.data_root={tmp_path / 'away'}"]
    refused(run("train", lenet_config, "--work-dir", tmp_path / "w", *options), "train_dataloader", tmp_path / "away")
    assert not (tmp_path / "w").exists()


def test_picture_size_of_zero(run: Run, lenet_config: Path, tmp_path: Path):
    path = tmp_path / "zero.py"
    path.write_text(lenet_config.read_text().replace('dict(type="PackInputs")', 'dict(type="Resize", scale=0)'))
    refused(run("train", path, "--work-dir", tmp_path / "w"), "Resize", "scale=0")
    refused(run("train", lenet_config, "--dry-run", "--shape", 1, 0, 32), "1 x 0 x 32")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("place", ["/proc/work", "FILE/work"])
def test_work_dir_that_cannot_be_written(run: Run, lenet_config: Path, tmp_path: Path, place: str):
    (tmp_path / "file").write_text("")
    place = place.replace("FILE", str(tmp_path / "file"))
    refused(run("train", lenet_config, "--work-dir", place), "work dir", place)


def test_out_file_that_cannot_be_written(run: Run, lenet_config: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "metrics.json"
    refused(run("test", lenet_config, "any.pth", "--work-dir", tmp_path / "w", "--out", out), "--out")


def test_launcher_without_torchrun(run: Run, lenet_config: Path):
    refused(run("train", lenet_config, "--launcher", "pytorch"), "RANK", "torchrun")


def test_wrong_arch(run: Run, lenet_config: Path, tmp_path: Path):
    path = tmp_path / "arch.py"
    body = lenet_config.read_text().replace('type="LeNet5", num_classes=10', 'type="interngv.MetaNet", arch="mn-mimi"')
    path.write_text(body)
    refused(run("train", path, "--work-dir", tmp_path / "w"), "mn-mimi", "mn-mini")
    assert not (tmp_path / "w").exists()


@pytest.fixture
def lenet_weights() -> dict[str, torch.Tensor]:
    from mmpretrain.models import LeNet5

    return {f"backbone.{name}": value for name, value in LeNet5(num_classes=10).state_dict().items()}


def test_checkpoint_of_the_model_passes_the_look(run: Run, lenet_config: Path, lenet_weights: dict, tmp_path: Path):
    torch.save(dict(state_dict=lenet_weights), tmp_path / "right.pth")
    status, out, _ = run("test", lenet_config, "right.pth", "--dry-run")
    assert status == 0 and "checkpoint: right.pth (10 tensors loaded, 0 new, 0 dropped)" in out


def test_checkpoints_that_do_not_serve(run: Run, lenet_config: Path, lenet_weights: dict, tmp_path: Path):
    torch.save(dict(state_dict=lenet_weights), tmp_path / "right.pth")
    refused(run("test", lenet_config, "rigth.pth"), "rigth.pth", "did you mean 'right.pth'")
    whole = (tmp_path / "right.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    refused(run("test", lenet_config, "cut.pth"), "cut.pth", "truncated")
    (tmp_path / "text.pth").write_text("no tensors in here")
    refused(run("test", lenet_config, "text.pth"), "text.pth", "no checkpoint")
    lenet_weights["backbone.features.0.weight"] = torch.zeros(6, 3, 5, 5)
    torch.save(dict(state_dict=lenet_weights), tmp_path / "other.pth")
    refused(run("test", lenet_config, "other.pth"), "another model", "backbone.features.0.weight")
    refused(run("train", lenet_config, "--resume", "other.pth"), "other.pth", "optimizer")
    torch.save(dict(state_dict={"stem.weight": torch.zeros(1)}), tmp_path / "foreign.pth")
    refused(run("train", lenet_config, "--cfg-options", "load_from=foreign.pth"), "another model", "stem.weight")
    assert not (tmp_path / "work_dirs").exists()


def test_a_url_is_taken_to_start_from_only(run: Run, lenet_config: Path):
    url = "https://nowhere.invalid/a.pth"
    refused(run("test", lenet_config, url), url, "download it first")
    refused(run("train", lenet_config, "--resume", url), url, "download it first")
    status, out, _ = run("train", lenet_config, "--dry-run", "--cfg-options", f"load_from={url}")
    assert status == 0 and f"starting from {url}: fetched when the run begins" in out


def test_a_resumed_checkpoint_is_read_once(run: Run, lenet_config: Path, lenet_weights: dict, monkeypatch):
    content = dict(state_dict=lenet_weights, optimizer={}, message_hub={}, meta={})
    torch.save(content, "run.pth")
    reads = []
    monkeypatch.setattr(torch, "load", lambda *args, _load=torch.load, **kw: reads.append(1) or _load(*args, **kw))
    monkeypatch.setattr(
        "interngv.engine.launch.build_runner",
        lambda cfg, _: SimpleNamespace(
            train=lambda: CheckpointLoader.load_checkpoint(cfg.load_from, "cpu"), register_hook=lambda hook: None
        ),
    )
    status, out, _ = run("train", lenet_config, "--resume", "run.pth")
    assert status == 0 and "resuming from run.pth: 10 tensors loaded" in out
    assert len(reads) == 1


class _Writes:
    """Pickles to a call that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (open, (str(self.path), "w"))


def test_checkpoint_with_code_is_refused_unrun(run: Run, lenet_config: Path, lenet_weights: dict, tmp_path: Path):
    torch.save(dict(state_dict=lenet_weights, extra=_Writes(tmp_path / "ran")), tmp_path / "evil.pth")
    refused(run("test", lenet_config, "evil.pth"), "evil.pth", "it names")
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(_Writes(tmp_path / "ran"))).close()
    assert (tmp_path / "ran").exists()  # the trap works where it is let run


def test_a_bug_keeps_its_traceback(lenet_config: Path, monkeypatch: pytest.MonkeyPatch, run: Run):
    def bug(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("interngv.engine.launch.check_config", bug)
    with pytest.raises(KeyError, match="a bug"):
        run("train", lenet_config)


def test_a_seed_counts_where_the_config_has_none(run: Run, lenet_config: Path):
    lines = run("train", lenet_config, "--dry-run", "--seed", 7, "--cfg-options", "randomness=None")[1].splitlines()
    assert "randomness = dict(seed=7)" in lines
    alone = [line for line in lenet_config.read_text().splitlines() if not line.startswith(("_base_", "default_hooks"))]
    Path("no_runtime.py").write_text("\n".join([*alone, "default_scope = 'mmpretrain'"]))
    lines = run("train", "no_runtime.py", "--dry-run", "--seed", 7)[1].splitlines()
    assert "randomness = dict(seed=7)" in lines


def test_nothing_to_resume_is_said(run: Run, lenet_config: Path):
    status, out, _ = run("train", lenet_config, "--dry-run", "--resume")
    assert status == 0 and "nothing to resume" in out


# Runs


@pytest.mark.slow
def test_training_writes_logs_and_learns(trained: Path):
    assert (trained / "epoch_1/weights.safetensors").is_file()
    table = list(csv.DictReader(next(trained.rglob("scalars.csv")).open()))
    losses = [float(row["loss"]) for row in table if row.get("loss")]
    lines = [json.loads(line) for line in next(trained.rglob("scalars.json")).read_text().splitlines()]
    assert losses == [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0]
    assert float(table[-1]["accuracy/top1"]) > 15  # chance is 10
    assert list(trained.rglob("events.out.tfevents*"))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [0, 2])
def test_test_repeats_the_validation_score(
    tool: Callable, trained: Path, lenet_config: Path, tmp_path: Path, processes: int
):
    out = tmp_path / "metrics.json"
    launcher = ["--launcher", "pytorch"] if processes else []
    arguments = [lenet_config, trained / "epoch_1", "--work-dir", tmp_path / "w", "--out", out, *launcher]
    done = tool("test", *arguments, processes=processes)
    assert done.returncode == 0, done.stderr[-3000:]
    table = list(csv.DictReader(next(trained.rglob("scalars.csv")).open()))
    assert json.loads(out.read_text())["accuracy/top1"] == pytest.approx(float(table[-1]["accuracy/top1"]), abs=1e-3)


@pytest.mark.slow
def test_resume_goes_on_and_runs_no_config_text(tool: Callable, trained: Path, lenet_config: Path, tmp_path: Path):
    work_dir = shutil.copytree(trained, tmp_path / "moved")
    (work_dir / "last_checkpoint").write_text("/no/longer/here/epoch_1.pth")  # as a run of mmengine's own leaves it
    checkpoint = read_checkpoint(work_dir / "epoch_1")
    shutil.rmtree(work_dir / "epoch_1")
    checkpoint["meta"]["cfg"] = checkpoint["meta"]["config"] = f"open({str(tmp_path / 'ran')!r}, 'w')"
    torch.save(checkpoint, work_dir / "epoch_1.pth")
    done = tool(
        "train", lenet_config, "--work-dir", work_dir, "--resume", "--amp", "--cfg-options", "train_cfg.max_epochs=2"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"resuming from {work_dir}/epoch_1.pth: 10 tensors loaded, 0 new, 0 dropped" in done.stdout
    assert "Epoch(train) [2]" in done.stdout and "Epoch(train) [1]" not in done.stdout
    assert not (tmp_path / "ran").exists()
    momentum = read_checkpoint(work_dir / "epoch_2")["optimizer"]["state"][0]["momentum_buffer"]
    assert momentum.dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_picture_is_named(
    tool: Callable, lenet_config: Path, class_folder: Path, tmp_path: Path, workers: int
):
    few = tmp_path / "few"
    for folder in sorted((class_folder / "train").iterdir()):
        (few / "train" / folder.name).mkdir(parents=True)
        for file in sorted(folder.iterdir())[:4]:
            shutil.copy(file, few / "train" / folder.name)
    bad = next((few / "train").rglob("*.*g"))
    bad.write_bytes(b"not a picture")
    options = [f"train_dataloader.dataset.data_root={few}", f"train_dataloader.num_workers={workers}"]
    done = tool("train", lenet_config, "--work-dir", tmp_path / "w", "--cfg-options", *options)
    refused((done.returncode, done.stdout, done.stderr), bad, "cannot be decoded")

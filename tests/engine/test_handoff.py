"""Stage hand-off: what a stage starts from, what of it goes where, what is refused, which stages run before."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import save_checkpoint
from torch import nn

from benchmarks.plain_metanet import PlainMetaNet, randomise
from interngv.checkpoint import directory
from interngv.engine import handoff, lineage
from interngv.engine.config import check_config, load_config
from interngv.engine.handoff import Upstream
from interngv.errors import ConfigError, UserError
from interngv.gva import ARCHS, MetaNet
from interngv.load_report import WeightsError

HOST = """
model = dict(
    type="mmpretrain.ImageClassifier",
    data_preprocessor=dict(mean=[120.0], std=[64.0], to_rgb=False),
    backbone=dict(type="interngv.MetaNet", arch="mn-mini", in_channels=1),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=10, in_channels=1280),
)
"""
SHARED = """
task = dict(
    type="mmpretrain.ImageClassifier",
    data_preprocessor=dict(mean=[120.0], std=[64.0], to_rgb=False),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=10, in_channels=1280),
)
model = dict(
    type="interngv.MultiTaskModel",
    trunk=dict(type="interngv.MetaNet", arch="mn-mini", in_channels=1),
    tasks=dict(digits=task),
)
"""
REST = """
default_scope = "mmpretrain"
custom_imports = dict(imports=["interngv"])
pipeline = [dict(type="LoadImageFromFile", color_type="grayscale"), dict(type="PackInputs")]
train_dataloader = dict(
    batch_size=10, dataset=dict(type="CustomDataset", data_root="{root}", data_prefix="train", pipeline=pipeline),
    sampler=dict(type="DefaultSampler", shuffle=True), collate_fn=dict(type="default_collate"),
)
train_cfg = dict(by_epoch=False, max_iters=4)
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.01))
"""


@pytest.fixture
def stages(tmp_path: Path, digits_folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Configs ``first`` <- ``second`` <- ``third`` in a folder of their own; the second is a multi-task model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stages").mkdir()
    upstreams = {"first": "", "second": "upstream = dict(config='first.py')\n"}
    upstreams["third"] = "upstream = dict(config='stages/second.py', select='trunk', coverage=0.99)\n"
    paths = {}
    for name, upstream in upstreams.items():
        paths[name] = tmp_path / "stages" / f"{name}.py"
        paths[name].write_text((SHARED if name == "second" else HOST) + REST.replace("{root}", str(digits_folder)))
        paths[name].write_text(paths[name].read_text() + upstream)
    return paths


def build(cfg: Config) -> Any:
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return MODELS.build(cfg.model)


def write(path: Path, model: nn.Module, iteration: int = 4, found: dict | None = None) -> Path:
    """A checkpoint folder of a model; gives the path back."""
    directory.write(
        path, dict(state_dict=model.state_dict(), meta=dict(iter=iteration, epoch=0, lineage=found), optimizer={})
    )
    return path


def run(path: Path, steps: int = 4) -> tuple[Any, dict[str, torch.Tensor], Path]:
    """Run a stage: its model, the weights that it started from, the checkpoint that it wrote."""
    cfg = load_config(str(path))
    torch.manual_seed(len(path.stem))
    model = build(cfg)
    upstream = handoff.resolve(cfg)
    if upstream:
        handoff.load(model, upstream)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in range(steps):
        samples = [dataset[index] for index in range(step, len(dataset), 150)]
        batch = dict(
            inputs=torch.stack([sample["inputs"] for sample in samples]),
            data_samples=[sample["data_samples"] for sample in samples],
        )
        batch = {"digits": batch} if hasattr(model, "tasks") else batch
        loss, _ = model.parse_losses(model._run_forward(model.data_preprocessor(batch, True), "loss"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    parents = [lineage.origin(upstream.path, upstream.licence)] if upstream else []
    found = lineage.of_run(cfg, {"train": dataset}, parents)
    return model, start, write(handoff.work_dir(cfg) / f"iter_{steps}", model, steps, found)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# A chain of three


@pytest.mark.slow
def test_three_stages_hand_their_trunk_on(stages: dict[str, Path], tmp_path: Path):
    for path in stages.values():
        check_config(load_config(str(path)))
    models, starts, checkpoints = zip(*(run(path) for path in stages.values()), strict=True)
    for before, after, old, new in ((0, 1, "backbone", "trunk"), (1, 2, "trunk", "backbone")):
        for name, value in getattr(models[before], old).state_dict().items():
            assert torch.equal(starts[after][f"{new}.{name}"], value), name
    stem = "stem.conv.weight"
    values = [starts[0][f"backbone.{stem}"], *(starts[1][f"trunk.{stem}"], starts[2][f"backbone.{stem}"])]
    assert not torch.equal(values[0], values[1]) and not torch.equal(values[1], values[2])  # each stage trained it
    assert not torch.equal(starts[2]["head.fc.weight"], models[1].tasks["digits"].head.fc.weight)
    found = lineage.read(checkpoints[2])
    (second,) = found["parents"]
    (first,) = second["lineage"]["parents"]
    assert first["lineage"]["parents"] == []
    for parent, checkpoint in ((first, checkpoints[0]), (second, checkpoints[1])):
        assert parent["sha256"] == sha256(checkpoint / "weights.safetensors")
        assert parent["path"] == str(checkpoint.relative_to(tmp_path))
    assert first["lineage"]["data"] == found["data"]
    text = lineage.tree(lineage.of_checkpoint(checkpoints[2]))
    assert [line.split()[1] for line in text.splitlines() if line.lstrip().startswith("from ")] == [
        "work_dirs/second/iter_4",
        "work_dirs/first/iter_4",
    ]


@pytest.mark.slow
def test_the_tool_trains_missing_stages_before_and_done_ones_not_again(
    stages: dict[str, Path], tool: Callable, tmp_path: Path
):
    for name in ("first", "second"):
        text = f"{stages[name].read_text().replace(SHARED, HOST)}work_dir = '{tmp_path / name}'\n"
        hook = "dict(type='interngv.CheckpointHook', by_epoch=False, interval=2)"
        stages[name].write_text(f"{text}default_hooks = dict(checkpoint={hook})\n")
    done = tool("train", stages["second"])
    assert done.returncode == 2
    first = stages["first"].relative_to("/")  # where the tool runs
    assert f"run `python tools/train.py {first}`" in done.stderr
    done = tool("train", stages["second"], "--with-upstream")
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{tmp_path}/first/iter_4 (last of {first}): 234 tensors loaded, 0 new, 0 dropped" in done.stdout
    written = (tmp_path / "first/iter_4/meta.json").stat().st_mtime_ns
    done = tool("train", stages["second"], "--with-upstream", "--resume")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "tensors loaded" in done.stdout and "upstream:" not in done.stdout
    assert (tmp_path / "first/iter_4/meta.json").stat().st_mtime_ns == written


# Which checkpoint


def resolved(path: Path, given: str | None = None, **keys: Any) -> Upstream | None:
    cfg = load_config(str(path))
    if keys:
        cfg.upstream = keys
    return handoff.resolve(cfg, given)


def test_a_config_without_upstream_starts_from_nothing(stages: dict[str, Path]):
    assert resolved(stages["first"]) is None


def test_the_order_in_which_an_upstream_is_found(stages: dict[str, Path], tmp_path: Path, zoo: Callable):
    with pytest.raises(UserError) as caught:
        resolved(stages["second"])
    message = str(caught.value)
    for part in (
        "stages/second.py starts from stages/first.py",
        str(tmp_path / "work_dirs/first"),
        "`python tools/train.py stages/first.py`",
        "--with-upstream",
        "--upstream FILE",
    ):
        assert part in message
    published = zoo(stages["first"], nn.Linear(2, 2), License="Apache-2.0")
    found = resolved(stages["second"])
    assert (found.path, found.how, found.licence) == (published, "model zoo's tiny", "Apache-2.0")
    early = write(tmp_path / "work_dirs/first/iter_2", nn.Linear(2, 2), 2)
    found = resolved(stages["second"])
    assert (found.path, found.how) == (early, "last of stages/first.py, which stopped at iter 2 of 4")
    late = write(tmp_path / "work_dirs/first/iter_4", nn.Linear(2, 2), 4)
    found = resolved(stages["second"])
    assert (found.path, found.how, found.licence) == (late, "last of stages/first.py", None)
    given = write(tmp_path / "mine", nn.Linear(2, 2))
    assert resolved(stages["second"], "mine").path.samefile(given)
    assert resolved(stages["second"], checkpoint=str(given)).path == given
    assert resolved(stages["first"], str(given)) == Upstream(given, "given by --upstream")
    found = resolved(stages["third"], str(given))
    assert (found.select, found.coverage) == ("trunk", 0.99)


def test_a_damaged_last_checkpoint_is_passed_over_and_all_damaged_are_none(
    stages: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
):
    older, newer = (write(tmp_path / f"work_dirs/first/iter_{n}", nn.Linear(2, 2), n) for n in (3, 4))
    (newer / "weights.safetensors").write_bytes(b"")
    assert resolved(stages["second"]).path == older
    assert "PASSED OVER" in capsys.readouterr().out
    (older / "state.json").unlink()
    with pytest.raises(UserError, match=r"no checkpoint of stages/first.py in \S+ is whole; run `python tools/train"):
        resolved(stages["second"])


def test_the_upstreams_own_work_dir_counts(stages: dict[str, Path], tmp_path: Path):
    stages["first"].write_text(f"{stages['first'].read_text()}work_dir = '{tmp_path}/other'\n")
    expected = write(tmp_path / "other/iter_4", nn.Linear(2, 2))
    assert resolved(stages["second"]).path == expected


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Publishes weights of a model for a config in a model zoo that holds nothing else; gives their file back."""
    monkeypatch.setattr("interngv.engine.model_zoo.shipped_configs_dir", lambda: tmp_path / "configs")
    (tmp_path / "model_zoo").mkdir()

    def publish(config: Path, model: nn.Module | None = None, **keys: Any) -> Path:
        file = tmp_path / "tiny.pth"
        entry = dict(Name="tiny", Config=str(config.relative_to(tmp_path)), Weights=file.name)
        if model is not None:
            save_checkpoint({"state_dict": model.state_dict()}, str(file))
            entry["SHA256"] = sha256(file)
        text = "".join(f'    {key}: "{value}"\n' for key, value in (entry | keys).items())
        (tmp_path / "model_zoo" / "tiny.yml").write_text(f"Models:\n  -\n{text}")
        return file

    return publish


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        (dict(SHA256="0" * 64), ("tiny.pth has sha256", f"expected {'0' * 64}")),
        (dict(SHA256=""), ("tiny.pth has sha256", "expected its entry to state one (SHA256)")),
        (dict(Weights="https://nowhere.invalid/t.pth"), ("download https://nowhere.invalid/t.pth", "--upstream FILE")),
        (dict(Weights="gone.pth"), ("no file", "gone.pth", "tools/train.py stages/first.py")),
    ],
)
def test_weights_of_the_zoo_are_what_their_entry_says(
    stages: dict[str, Path], zoo: Callable, keys: dict[str, str], parts: tuple[str, ...]
):
    zoo(stages["first"], nn.Linear(2, 2), **keys)
    with pytest.raises(UserError, match="model zoo's tiny") as caught:
        resolved(stages["second"])
    assert all(part in str(caught.value) for part in parts)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (dict(config="first.py", selects="all"), "upstream.selects.*did you mean 'select'"),
        (dict(config="first.py", checkpoint="x.pth"), "one of config and checkpoint, it has config and checkpoint"),
        (dict(select="all"), "one of config and checkpoint, it has neither"),
        (dict(config="first.py", select="trunks"), "select='trunks': expected 'trunk', 'all' or a dict"),
        (dict(config="first.py", select={}), "select={}: expected"),
        (dict(config="first.py", coverage=99), "coverage=99: expected a share"),
        (dict(config="first.py", coverage=0), "coverage=0: expected a share"),
        (dict(config="second.py"), "names the config itself"),
        (dict(config="configs/gva/mn-mini_1xb64-20e_mnist-5k-32.py"), "did you mean .*mnist-5k-32px.py"),
        (dict(checkpoint="stages/first_.py"), "stages/first_.py does not exist; did you mean 'first.py'"),
    ],
)
def test_an_upstream_that_is_not_as_it_should_be(stages: dict[str, Path], keys: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        resolved(stages["second"], **keys)


def test_an_upstream_is_a_dict_and_the_only_start(stages: dict[str, Path], tmp_path: Path):
    cfg = load_config(str(stages["second"]))
    with pytest.raises(ConfigError, match="load_from='x.pth' would replace"):
        cfg.load_from = "x.pth"
        handoff.resolve(cfg)
    cfg.upstream = "x.pth"
    with pytest.raises(ConfigError, match="upstream='x.pth': expected a dict"):
        handoff.resolve(cfg)


def test_a_shipped_config_is_found_from_anywhere(stages: dict[str, Path]):
    name = "configs/gva/mn-mini_1xb64-20e_mnist-5k-32px.py"
    with pytest.raises(UserError, match=r"no checkpoint in \S+/work_dirs/mn-mini_1xb64-20e_mnist-5k-32px"):
        resolved(stages["second"], config=name)


# What goes where


def upstream(model: nn.Module, path: Path, select: Any = "trunk", coverage: float = 1.0, prefix: str = "") -> Upstream:
    path.parent.mkdir(exist_ok=True)
    state = {prefix + name: value for name, value in model.state_dict().items()}
    if path.suffix == ".pth":
        save_checkpoint({"state_dict": state}, str(path))
    else:
        directory.write(path, dict(state_dict=state, meta={}))
    return Upstream(path, "a test", select, coverage)


class Host(nn.Module):
    """A trunk and a head, as hosts name them."""

    def __init__(self, classes: int = 10, arch: str = "mn-mini") -> None:
        super().__init__()
        self.backbone = MetaNet(arch)
        self.head = nn.Linear(1280, classes)


@pytest.fixture(scope="module")
def trained() -> Host:
    torch.manual_seed(5)
    model = Host()
    randomise([model.backbone])
    return model


def same(module: nn.Module, other: nn.Module) -> bool:
    pairs = zip(module.state_dict().items(), other.state_dict().items(), strict=True)
    return all(name == another and torch.equal(value.cpu(), twin.cpu()) for (name, value), (another, twin) in pairs)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["a.pth", "iter_1"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_trunk_of_a_host_model_and_nothing_else(trained: Host, tmp_path: Path, name: str, prefix: str):
    model = Host(classes=3)
    head = model.head.weight.clone()
    report = handoff.load(nn.DataParallel(model), upstream(trained, tmp_path / name, prefix=prefix))
    assert same(model.backbone, trained.backbone)
    assert torch.equal(model.head.weight.cpu(), head)
    assert len(report.loaded) == len(trained.backbone.state_dict()) and not report.lacking + report.dropped
    assert all(name.startswith("backbone.") for name in report.loaded)


@pytest.mark.parametrize("name", ["a.pth", "iter_1"])
def test_a_file_of_nothing_but_a_trunk(trained: Host, tmp_path: Path, name: str):
    model = Host()
    handoff.load(model, upstream(trained.backbone, tmp_path / name))
    assert same(model.backbone, trained.backbone)
    linear = nn.Sequential(nn.Linear(3, 3))
    target = nn.Module()
    target.trunk = nn.Sequential(nn.Linear(3, 3))
    handoff.load(target, upstream(linear, tmp_path / f"linear_{name}"))
    assert same(target.trunk, linear)


def test_a_released_trunk_is_matched_by_structure(tmp_path: Path):
    torch.manual_seed(0)
    released = PlainMetaNet(ARCHS["mn-mini"]).eval()
    randomise([released])
    model = Host().eval()
    report = handoff.load(model, upstream(released, tmp_path / "r.pth", prefix="model.backbone.gv_global."))
    assert report.by_order
    picture = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model.backbone(picture)[0], released(picture), rtol=1e-4, atol=1e-4)


def test_of_two_trunks_the_config_picks_one(trained: Host, tmp_path: Path):
    both = nn.ModuleDict(dict(one=MetaNet("mn-mini"), two=trained.backbone))
    with pytest.raises(WeightsError, match=r"2 trunks.*upstream.select=\{'PREFIX': 'trunk'\}"):
        handoff.load(Host(), upstream(both, tmp_path / "both.pth", prefix="model."))
    model = Host()
    handoff.load(model, upstream(both, tmp_path / "both.pth", {"model.two": "backbone"}, prefix="model."))
    assert same(model.backbone, trained.backbone)


def test_several_parts_by_their_prefixes(trained: Host, tmp_path: Path):
    model = nn.ModuleDict(dict(left=Host(), right=nn.ModuleDict(dict(trunk=MetaNet("mn-mini")))))
    select = {"backbone": "right.trunk", "head": "left.head", "backbone.stem": "left.backbone.stem"}
    report = handoff.load(model, upstream(trained, tmp_path / "iter_1", select))
    assert same(model["right"]["trunk"], trained.backbone)
    assert same(model["left"].head, trained.head)
    assert same(model["left"].backbone.stem, trained.backbone.stem)
    assert not same(model["left"].backbone, trained.backbone)
    assert {"right.trunk.stem.conv.weight", "left.head.bias"} <= set(report.loaded)


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ({"backbon": "backbone"}, "no tensor below 'backbon'; did you mean 'backbone'"),
        ({"xyz": "backbone"}, r"no tensor below 'xyz' \(it has backbone, head\)"),
        ({"backbone": "backbonne"}, "Host has no module 'backbonne'; did you mean 'backbone'"),
    ],
)
def test_a_part_that_is_not_there(trained: Host, tmp_path: Path, select: dict[str, str], message: str):
    with pytest.raises(UserError, match=message):
        handoff.load(Host(), upstream(trained, tmp_path / "iter_1", select))


def test_a_model_without_a_trunk_wants_to_be_told(trained: Host, tmp_path: Path):
    with pytest.raises(UserError, match="Linear has none of trunk, backbone, image.trunk.*select="):
        handoff.load(nn.Linear(1, 1), upstream(trained, tmp_path / "iter_1"))


def test_all_that_fits_and_a_head_of_another_size_is_named(trained: Host, tmp_path: Path):
    model = Host(classes=3)
    head = model.head.weight.clone()
    with pytest.raises(WeightsError, match=r"2 of another shape \(head.weight: 10 x 1280 for 3 x 1280, head.bias"):
        handoff.load(model, upstream(trained, tmp_path / "iter_1", "all"))
    report = handoff.load(model, upstream(trained, tmp_path / "iter_1", "all", coverage=0.9))
    assert set(report.reshaped) == {"head.weight", "head.bias"}
    assert same(model.backbone, trained.backbone)
    assert torch.equal(model.head.weight, head)


def test_below_the_coverage_the_first_missing_are_named_and_nothing_changes(trained: Host, tmp_path: Path):
    state = {f"backbone.{name}": value for name, value in trained.backbone.state_dict().items()}
    counted = sum("num_batches" not in name for name in state)
    for name in ("stem.conv.weight", "blocks.0.norm1.weight", "blocks.6.gamma_1"):
        state.pop(f"backbone.{name}", None)
    lacking = counted - sum("num_batches" not in name for name in state)
    path = tmp_path / "few.pth"
    save_checkpoint({"state_dict": state}, str(path))
    model, before = Host(), Host()
    before.load_state_dict(model.state_dict())
    share = 1 - lacking / counted
    for act in (handoff.load, handoff.check):
        with pytest.raises(WeightsError, match=r"few.pth \(a test\).*new \(backbone.stem.conv.weight, .*must load"):
            act(model, Upstream(path, "a test", coverage=share + 1e-6))
    assert same(model, before)
    report = handoff.load(model, Upstream(path, "a test", coverage=share - 1e-6))
    assert report.new[0] == "backbone.stem.conv.weight" and len(report.new) == lacking
    assert torch.equal(model.backbone.stem.conv.weight, before.backbone.stem.conv.weight)


def test_the_look_ahead_needs_no_memory_for_the_model_and_changes_nothing(trained: Host, tmp_path: Path):
    with torch.device("meta"):
        model = Host()
    source = upstream(trained, tmp_path / "iter_1")
    assert handoff.check(model, source) == handoff.load(Host(), source)
    assert model.backbone.stem.conv.weight.is_meta


def test_one_line_says_what_was_done(trained: Host, tmp_path: Path):
    lines: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: lines.append(record.getMessage())
    MMLogger.get_current_instance().addHandler(listener)
    try:
        handoff.load(Host(), upstream(trained, tmp_path / "iter_1"))
    finally:
        MMLogger.get_current_instance().removeHandler(listener)
    count = len(trained.backbone.state_dict())
    assert lines == [f"upstream {tmp_path}/iter_1 (a test): {count} tensors loaded, 0 new, 0 dropped"]


def test_a_damaged_checkpoint_is_not_handed_over(trained: Host, tmp_path: Path):
    source = upstream(trained, tmp_path / "iter_1")
    file = source.path / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-1000] ^= 1
    file.write_bytes(data)
    with pytest.raises(UserError, match="weights.safetensors is damaged"):
        handoff.load(Host(), source)


# Which stages run before


def test_the_chain_is_what_must_run_the_first_first(stages: dict[str, Path], tmp_path: Path):
    first, second, third = stages.values()
    model = nn.Linear(2, 2)
    assert handoff.chain(str(third)) == [first, second]
    assert handoff.chain(load_config(str(second))) == [first]
    assert handoff.chain(str(first)) == []
    write(tmp_path / "work_dirs/first/iter_3", model, 3)  # not at its end: to be resumed
    assert handoff.chain(str(third)) == [first, second]
    write(tmp_path / "work_dirs/first/iter_4", model, 4)
    assert handoff.chain(str(third)) == [second]
    write(tmp_path / "work_dirs/second/iter_4", model, 4)
    assert handoff.chain(str(third)) == []
    first.write_text(first.read_text().replace("by_epoch=False, max_iters=4", "max_epochs=2"))
    write(tmp_path / "work_dirs/first/iter_5", model, 5)
    assert handoff.chain(str(third)) == []  # nothing before a stage that is done
    assert handoff.chain(str(second)) == [first]


def test_weights_of_the_zoo_end_the_chain(stages: dict[str, Path], zoo: Callable):
    zoo(stages["first"], Weights="https://nowhere.invalid/t.pth")
    assert handoff.chain(str(stages["second"])) == [stages["first"]]
    zoo(stages["first"], nn.Linear(2, 2))
    assert handoff.chain(str(stages["second"])) == []


def test_a_circle_is_printed(stages: dict[str, Path]):
    first, second, third = stages.values()
    first.write_text(f"{first.read_text()}upstream = dict(config='third.py')\n")
    with pytest.raises(UserError, match=f"circle: {third} -> {second} -> {first} -> {third}$"):
        handoff.chain(str(third))

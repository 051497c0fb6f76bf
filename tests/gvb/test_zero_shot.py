"""Zero-shot by the one command: an image-text model that was really trained names classes of pictures it never saw."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

import interngv.amateur  # noqa: F401  (registers the model)
from interngv.amateur.text.tokenizer import BPETokenizer
from interngv.engine.config import load_config, shipped_configs_dir
from interngv.errors import UserError
from interngv.gvb.command import judge
from interngv.gvb.report import read
from interngv.gvb.trunks import resolve, weights_sha256

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PROMPT = "a photo of the number {c}."
MODEL = """
default_scope = "mmpretrain"
tower = dict(vocab_size={vocab_size}, end_id={end_id}, embed_dim=16, context_length=16, width=32, layers=1, heads=2)
model = dict(
    type="interngv.ImageTextModel",
    image=dict(trunk=dict(type="interngv.MetaNet", arch="mn-mini"), embed_dim=16),
    text=tower,
    losses=dict(clip=dict(type="interngv.InfoNCE", pairs="first")),
    tokenizer=dict(type="interngv.BPETokenizer", vocabulary={vocabulary!r}, context_length=16),
    data_preprocessor=dict(type="SelfSupDataPreprocessor", mean=[128, 128, 128], std=[64, 64, 64], to_rgb=True),
)
"""
FASHION = "gva/mn-mini_1xb128-3e_fashion-mnist-32px.py"
SUITE = """
_base_ = [{base!r}]
row = dict(title="Digits", kind="classification", num_classes=10, metric="accuracy", layout="folders",
           settings=dict(folders=dict(train="train", test="val")), class_names={names!r}, prompts=[{prompt!r}])
unlabelled = dict(row, title="Without a training part", folder="digits", settings=dict(folders=dict(test="val")),
                  splits=dict(test=None))
suite = dict(name="mine", rows=None, data_root={root!r}, image_size=32, tasks=dict(digits=row, wordless=dict(
    row, title="Without prompts", folder="digits", prompts=[]), unlabelled=unlabelled))
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, digits_folder: Path) -> dict[str, Any]:
    """A config of an image-text model, its weights after a short training on digits with their names, and a suite."""
    folder = tmp_path_factory.mktemp("stage")
    (folder / "data").mkdir()
    (folder / "data/digits").symlink_to(digits_folder.absolute())
    tokenizer = BPETokenizer.train([PROMPT.replace("{c}", name) for name in NAMES], 560, context_length=16)
    tokenizer.save(folder / "words.json")
    facts = dict(vocab_size=tokenizer.vocab_size, end_id=tokenizer.end_id, vocabulary=str(folder / "words.json"))
    (folder / "stage.py").write_text(MODEL.format(**facts))
    base = str(shipped_configs_dir() / "gvb/mini.py")
    suite = SUITE.format(base=base, names=list(NAMES), prompt=PROMPT, root=str(folder / "data"))
    (folder / "suite.py").write_text(suite)
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    model = MODELS.build(load_config(str(folder / "stage.py")).model)
    images, labels = pictures(digits_folder / "train")
    texts = tokenizer([PROMPT.replace("{c}", name) for name in NAMES])
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(100):
        rows = torch.randint(len(images), (64,))
        logits = 20 * model.encode_image(images[rows]) @ model.encode_text(texts).T
        optimizer.zero_grad()
        cross_entropy(logits, labels[rows]).backward()
        optimizer.step()
    save_file(model.state_dict(), folder / "stage.safetensors")
    return {"folder": folder, "model": model.eval(), "test": pictures(digits_folder / "val"), "texts": texts}


def pictures(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    files = sorted(folder.glob("*/*.png"))
    images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    labels = [sorted({one.parent.name for one in files}).index(file.parent.name) for file in files]
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 128) / 64, torch.tensor(labels)


def words(stage: dict[str, Any], **more: Any) -> dict[str, Any]:
    folder = stage["folder"]
    return dict(trunk=str(folder / "stage.py"), checkpoint=str(folder / "stage.safetensors"), **more)


@pytest.mark.slow
def test_zero_shot_is_the_nearest_prompt_and_uses_no_label(stage: dict[str, Any], tmp_path: Path) -> None:
    suite = str(stage["folder"] / "suite.py")
    judge(suite, **words(stage, tasks=["digits"], protocols=["zero-shot"], tries=3, work_dir=str(tmp_path)))
    (cell,) = read(tmp_path).cells  # one, whatever the tries
    images, labels = stage["test"]
    with torch.no_grad():
        model = stage["model"]
        predicted = (model.encode_image(images) @ model.encode_text(stage["texts"]).T).argmax(1)
    right = 100 * (predicted == labels).float().mean().item()
    assert cell["score"] == pytest.approx(right, abs=0.5) and right > 50
    assert cell["shots"] == "0" and cell["list"]["samples"] == 0
    judge(suite, **words(stage, tasks=["digits"], protocols=["zero-shot"], work_dir=str(tmp_path)))  # again: kept
    judge(suite, **words(stage, tasks=["digits"], protocols=["knn"], shots=["10"], work_dir=str(tmp_path)))
    assert len(read(tmp_path).cells) == 2 and len({one["weights_sha256"] for one in read(tmp_path).cells}) == 1
    assert "0 %" in (tmp_path / "report.md").read_text()


@pytest.mark.slow
def test_a_set_without_a_training_part_is_for_zero_shot_alone(
    stage: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    suite = str(stage["folder"] / "suite.py")
    judge(suite, **words(stage, tasks=["digits", "unlabelled"], protocols=["zero-shot"], work_dir=str(tmp_path)))
    assert len({cell["score"] for cell in read(tmp_path).cells}) == 1 and len(read(tmp_path).cells) == 2
    with pytest.raises(UserError, match="unlabelled has no training part; .* --protocol zero-shot"):
        judge(suite, **words(stage, tasks=["unlabelled"], work_dir=str(tmp_path)))
    capsys.readouterr()
    judge(suite, **words(stage, dry_run=True))
    said = capsys.readouterr().out
    assert "unlabelled is left out: it has no training part" in said and "\nunlabelled" not in said


@pytest.mark.slow
def test_its_trunk_is_judged_as_any_other(stage: dict[str, Any], tmp_path: Path) -> None:
    judge(str(stage["folder"] / "suite.py"), **words(stage, tasks=["digits"], shots=["10"], work_dir=str(tmp_path)))
    (cell,) = read(tmp_path).cells
    assert cell["score"] > 50 and cell["protocol"] == "cached"


@pytest.mark.slow
def test_the_text_tower_is_part_of_what_is_judged(stage: dict[str, Any]) -> None:
    spec = resolve(str(stage["folder"] / "stage.py"), str(stage["folder"] / "stage.safetensors"))
    changed = {name: value + ("text." in name) for name, value in stage["model"].state_dict().items()}
    save_file(changed, stage["folder"] / "other.safetensors")
    other = resolve(str(stage["folder"] / "stage.py"), str(stage["folder"] / "other.safetensors"))
    assert weights_sha256(spec) == weights_sha256(other)
    assert weights_sha256(spec.towers) != weights_sha256(other.towers)


@pytest.mark.slow
def test_a_configs_trunk_is_the_archs_own_with_the_configs_normalisation(stage: dict[str, Any]) -> None:
    spec, bare = resolve(str(stage["folder"] / "stage.py"), "random"), resolve("mn-mini", "random")
    assert (spec.out_indices, spec.widths, spec.strides) == (bare.out_indices, bare.widths, bare.strides)
    assert spec.mean == (128.0, 128.0, 128.0) and resolve(FASHION, "random").mean[0] == pytest.approx(72.94, abs=0.01)


@pytest.mark.slow
def test_what_zero_shot_lacks_is_said(stage: dict[str, Any], tmp_path: Path) -> None:
    suite = str(stage["folder"] / "suite.py")
    with pytest.raises(UserError, match=r"wordless: zero-shot needs prompts"):
        judge(suite, **words(stage, tasks=["wordless"], protocols=["zero-shot"], work_dir=str(tmp_path / "a")))
    with pytest.raises(UserError, match=r"needs a text tower, and trunk mn-mini has none"):
        judge(
            suite, "mn-mini", checkpoint="random", tasks=["digits"], protocols=["zero-shot"],
            work_dir=str(tmp_path / "b"),
        )  # fmt: skip

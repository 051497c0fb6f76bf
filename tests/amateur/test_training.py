"""A run of tools/train.py on real pictures with the names of their classes: it learns, and resumes to the bit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from interngv.amateur.text import BPETokenizer

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CONFIG = """
_base_ = [{base!r}]
tokenizer = dict(type="interngv.BPETokenizer", vocabulary={vocabulary!r}, context_length=16)
words = dict(vocab_size={size}, end_id={end})
model = dict(
    image=dict(embed_dim=32), tokenizer=tokenizer,
    text=dict(_delete_=True, **words, embed_dim=32, context_length=16, width=32, layers=1, heads=2),
    losses=dict(nn_text=dict(width=32, size=960), simsiam=dict(hidden=32), mlm=dict(width=32, vocab_size={size})),
)
crop = [dict(type="RandomResizedCrop", scale=32, crop_ratio_range=(0.6, 1.0), backend="pillow")]
views = [dict(type="MultiView", num_views=2, transforms=[crop])]
caption = dict(type="interngv.EncodeCaption", tokenizer=tokenizer)
train = dict(caption, augment=dict(wordnet=None), mask=True)
folder = dict(data_root={data!r}, data_prefix="")
pairs = dict(batch_size=24, dataset=dict(folder, split=None, pipeline=_base_.load + views + [train] + _base_.pack))
train_dataloader = dict(num_workers=0, sources=dict(pairs=pairs))
seen = [dict(type="ResizeEdge", scale=32), *[dict(caption, choose="first")]]
val_dataloader = dict(dataset=dict(folder, split=None, pipeline=_base_.load + seen + _base_.pack))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [dict(type="LinearLR", start_factor=0.1, end=5, by_epoch=False)]
train_cfg = dict(max_iters=60, val_interval=60)
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=10))
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, digits_folder: Path) -> Path:
    """DeCLIP's mini config on digits with the names of their classes, and a vocabulary of its own."""
    folder = tmp_path_factory.mktemp("pairs")
    files = sorted((digits_folder / "val").glob("*/*.png"))
    rows = [{"image": str(file), "captions": [NAMES[int(file.parent.name)]]} for file in files]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = BPETokenizer.train(NAMES, 560, context_length=16)
    tokenizer.save(folder / "words.json")
    facts = dict(size=tokenizer.vocab_size, end=tokenizer.end_id, vocabulary=str(folder / "words.json"))
    base = str(ROOT / "configs/up_a/mn-mini_declip_1xb64-400i_fluent-emoji-64px.py")
    (folder / "stage.py").write_text(CONFIG.format(base=base, data=str(folder), **facts))
    return folder / "stage.py"


def train(config: Path, work_dir: Path, *more: str) -> str:
    command = [sys.executable, str(ROOT / "tools/train.py"), str(config), "--work-dir", str(work_dir), *more]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_stage_learns_and_resumes_with_a_half_full_bank(config: Path, tmp_path: Path) -> None:
    """The bank of 960 is half full where the resumed run starts, behind 20 batches of 24."""
    said = train(config, tmp_path / "whole")
    found = [line for line in said.splitlines() if "retrieval/i2t_R@1:" in line][-1]
    assert float(found.split("retrieval/i2t_R@1:")[1].split()[0]) > 30  # of ten names
    (tmp_path / "cut").mkdir()
    for name in ("iter_20", "iter_10"):
        (tmp_path / "whole" / name).rename(tmp_path / "cut" / name)
    (tmp_path / "cut/last_checkpoint").write_text(str(tmp_path / "cut/iter_20"))
    train(config, tmp_path / "cut", "--resume")
    whole, again = (load_file(tmp_path / name / "iter_60/weights.safetensors") for name in ("whole", "cut"))
    assert any(name.startswith("losses.nn_text.bank.") for name in whole) and whole.keys() == again.keys()
    assert [name for name in whole if not whole[name].equal(again[name])] == []

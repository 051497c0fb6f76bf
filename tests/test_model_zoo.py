"""The model zoo's metafiles: every entry's config is there and its counts are the model's."""

from pathlib import Path

import pytest
import torch
import yaml

from interngv.gva import MetaNet
from interngv.gva.complexity import multiply_adds, parameters

ROOT = Path(__file__).parents[1]
INDEX = yaml.safe_load((ROOT / "model-index.yml").read_text())
ENTRIES = [
    model for part in INDEX["Import"] for model in yaml.safe_load((ROOT / part).read_text())["Models"]
]  # fmt: skip


QUICK = ("mn-b1", "mn-b4")  # of the counts that take a pass through the whole net


def on_meta(arch: str) -> MetaNet:
    with torch.device("meta"):
        return MetaNet(arch)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["Name"])
def test_entry_names_its_config_and_the_size_of_its_model(entry):
    config, facts = ROOT / entry["Config"], entry["Metadata"]
    assert config.stem == entry["Name"]
    net = on_meta(facts["Arch"])
    assert parameters(net) + net.feature_dim * 1000 + 1000 == facts["Parameters"]
    assert net.arch.source == facts["Source"]


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(one, id=one["Name"], marks=() if one["Metadata"]["Arch"] in QUICK else pytest.mark.slow)
        for one in ENTRIES
    ],
)
def test_entry_names_the_multiply_adds_of_its_model(entry):
    facts = entry["Metadata"]
    net, image = on_meta(facts["Arch"]), torch.empty(1, 3, facts["Resolution"], facts["Resolution"], device="meta")
    assert multiply_adds(net, image) + net.feature_dim * 1000 == facts["FLOPs"]


def test_every_full_size_config_has_an_entry():
    configs = {path.stem for path in (ROOT / "configs" / "gva").glob("*_in1k*.py")}
    assert configs == {entry["Name"] for entry in ENTRIES}

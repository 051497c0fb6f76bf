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


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["Name"])
def test_entry_names_its_config_and_the_counts_of_its_model(entry):
    config, facts = ROOT / entry["Config"], entry["Metadata"]
    assert config.stem == entry["Name"]
    with torch.device("meta"):
        net = MetaNet(facts["Arch"])
        image = torch.empty(1, 3, facts["Resolution"], facts["Resolution"])
    classifier = net.feature_dim * 1000
    assert parameters(net) + classifier + 1000 == facts["Parameters"]
    assert multiply_adds(net, image) + classifier == facts["FLOPs"]
    assert net.arch.source == facts["Source"]


def test_every_full_size_config_has_an_entry():
    configs = {path.stem for path in (ROOT / "configs" / "gva").glob("*_in1k*.py")}
    assert configs == {entry["Name"] for entry in ENTRIES}

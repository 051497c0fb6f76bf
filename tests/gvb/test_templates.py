"""Protocol templates: words become facts, data sets take the pipeline, unknown words are refused."""

import copy

import pytest
from mmengine.config import Config

from interngv.engine.config import shipped_configs_dir
from interngv.errors import UserError
from interngv.gvb.templates import fill

LISTED = dict(type="mmpretrain.CustomDataset", ann_file="train.txt")
FACTS = dict(widths=[24, 40, 64, 128], classes=7, train=LISTED, mean=(1.0, 2.0, 3.0))


def filled(**template: object) -> dict:
    return fill(Config(template), FACTS).to_dict()


def test_words_become_facts_and_all_else_stays() -> None:
    found = filled(
        model=dict(in_channels="gvb:widths", last="gvb:widths.3", n="gvb:classes", name="R50"), resize=[1, 2]
    )
    assert found == dict(model=dict(in_channels=[24, 40, 64, 128], last=128, n=7, name="R50"))  # resize: a variable


def test_a_data_set_takes_the_templates_keys() -> None:
    found = filled(train_dataloader=dict(type="gvb:train", pipeline=[1]))
    assert found["train_dataloader"] == {**LISTED, "pipeline": [1]}


@pytest.mark.parametrize("wrap", ["datasets", "dataset"])
def test_in_a_wrapper_the_inner_data_sets_take_them(wrap: str) -> None:
    inner = [dict(LISTED), dict(LISTED, ann_file="b.txt")] if wrap == "datasets" else dict(LISTED)
    facts = dict(train=dict(type="Wrapper", **{wrap: inner}))
    found = fill(Config(dict(val_cfg=dict(type="gvb:train", pipeline=[1]))), facts).val_cfg.to_dict()
    assert "pipeline" not in found
    assert all(one["pipeline"] == [1] for one in (found[wrap] if wrap == "datasets" else [found[wrap]]))


@pytest.mark.parametrize("word", ["gvb:width", "gvb:widths.4", "gvb:classes.0", "gvb:"])
def test_an_unknown_word_is_refused_with_what_there_is(word: str) -> None:
    with pytest.raises(UserError, match="stands for nothing"):
        filled(model=word)
    if word == "gvb:width":
        with pytest.raises(UserError, match="did you mean 'widths'"):
            filled(model=word)


@pytest.mark.parametrize("path", sorted((shipped_configs_dir() / "_base_/gvb").rglob("*.py")), ids=str)
def test_the_template_is_left_as_it_was(path) -> None:
    template = Config.fromfile(path)
    before = copy.deepcopy(template.to_dict())
    facts = dict.fromkeys(("mean", "std", "to_rgb", "classes", "width", "size", "trunk", "evaluator"), 1)
    facts |= dict(widths=[1, 2, 3, 4], max_depth=1, depth_scale=1, train=LISTED, test=LISTED)
    found = fill(template, facts).to_dict()
    assert "gvb:" not in str(found) and template.to_dict() == before

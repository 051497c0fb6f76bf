"""GV-B's probe on cached features (protocol b) against the released linear probe (protocol a), on real pictures.

mn-mini, untrained and frozen, on two sets of digits from open data packs at 32 x 32; (a) is the released schedule,
10 000 steps of 64 pictures, trained in mmpretrain. Compared are passes of the trunk over a picture, seconds, and
accuracy; each runs once, for (a) takes minutes. Usage: ``python -m benchmarks.gvb [--check]``. Needs mmpretrain.
"""

import logging
import tempfile
from pathlib import Path

from benchmarks.harness import Goal, arguments, environment, finish
from interngv.engine.config import load_config
from interngv.gvb.command import judge
from interngv.gvb.report import read
from interngv.gvd.layouts import prepare

SETS = ("mnist-5k", "digits-8x8")
SUITE = """
_base_ = ["interngv::gvb/suite.py"]
row = dict(title="Digits", kind="classification", num_classes=10, metric="accuracy", layout="list_file",
           settings=dict(lists=dict(train="meta/train.txt", test="meta/test.txt"), images="images"))
suite = dict(name="digits", image_size=32, num_workers=0, tasks={{name: row for name in {sets!r}}},
             protocols=dict(linear=dict(config="probe.py")))
"""
PROBE = """
_base_ = ["interngv::_base_/gvb/linear-probe.py"]
train_dataloader = dict(batch_size=64, num_workers=1)
test_dataloader = dict(num_workers=0)
default_hooks = dict(checkpoint=dict(interval=10000))
"""


def measured(folder: Path, suite: Path, protocol: str) -> dict[str, dict]:
    """The cells of a protocol by their set, with the passes of the trunk."""
    out = folder / protocol
    arguments = dict(tasks=SETS, shots=["all"], protocols=[protocol], data_root=str(folder / "data"))
    judge(str(suite), "mn-mini", checkpoint="random", work_dir=str(out), **arguments)
    found = {cell["task"]: dict(cell) for cell in read(out).cells}
    for name, cell in found.items():
        if protocol == "linear":
            cfg = load_config(str(suite.with_name("probe.py")))
            tested = len((folder / "data" / name / "meta/test.txt").read_text().splitlines())
            cell["passes"] = cfg.train_cfg.max_iters * cfg.train_dataloader.batch_size + tested
        else:
            cell["passes"] = cell["details"]["images_seen"]
    return found


def main() -> None:
    """Runs both protocols on both sets and prints the line of figures."""
    args = arguments(__doc__.splitlines()[0]).parse_args()
    logging.disable(logging.WARNING)
    print(environment())
    goals = []
    with tempfile.TemporaryDirectory() as name:
        folder, suite = Path(name), Path(name, "suite.py")
        suite.write_text(SUITE.format(sets=SETS))
        suite.with_name("probe.py").write_text(PROBE)
        for one in SETS:
            prepare(one, folder / "data" / one)
        released, cached = (measured(folder, suite, protocol) for protocol in ("linear", "cached"))
    for one in SETS:
        for title, cell in (("released", released[one]), ("cached", cached[one])):
            print(f"  {one:10} {title:8} {cell['score']:6.2f} %  {cell['passes']:7d} passes  {cell['seconds']:6.0f} s")
        passes = cached[one]["passes"] / released[one]["passes"]
        goals += [
            Goal(f"{one}: points below the released probe", released[one]["score"] - cached[one]["score"], 0.2, True),
            Goal(f"{one}: passes / released", passes, 1 / 20, at_most=True),
        ]
    finish("gvb", goals, args.check)


if __name__ == "__main__":
    main()

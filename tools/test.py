"""Measure a checkpoint on a config's test set, or a trunk on a whole benchmark.

    python tools/test.py CONFIG CHECKPOINT [--out metrics.json] [--amp] [--work-dir DIR] [--cfg-options k=v ...]
    torchrun --nproc-per-node=N tools/test.py CONFIG CHECKPOINT --launcher pytorch
    python tools/test.py CONFIG CHECKPOINT --dry-run                         # the plan: tests and writes nothing
    python tools/test.py configs/gvb/suite.py --trunk mn-b4 --checkpoint FILE --shots 1,10,100 --tries 3

CONFIG is a path or the name of a config that ships with interngv. It must define ``model``, ``test_dataloader``,
``test_cfg`` and ``test_evaluator``, and CHECKPOINT must hold every tensor of the model; or it must define ``suite``
(docs/benchmark.md), and then the same command, started as often as wanted, fills one grid of results together.
A mistake in what is given ends with one line and exit status 2.
"""

import argparse
import os
import sys

from mmengine.config import DictAction

import interngv  # noqa: F401  (registers the plug-ins)
from interngv.engine import launch
from interngv.engine.command import run_tool
from interngv.engine.distributed import LAUNCHERS
from interngv.errors import UserError
from interngv.gvb.suite import is_suite


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure a checkpoint on a config's test set, or a trunk on a suite.")
    parser.add_argument("config", help="path or name of a config")
    parser.add_argument("weights", nargs="?", metavar="checkpoint", help="checkpoint file; for a suite, --checkpoint")
    parser.add_argument("--work-dir", help="folder for logs")
    parser.add_argument("--out", help="JSON file for the metrics")
    parser.add_argument("--amp", action="store_true", help="mixed precision: bfloat16 on a CPU, float16 on a GPU")
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none", help="what started the processes")
    parser.add_argument("--local-rank", "--local_rank", type=int, default=0, help="set by older launchers")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="dotted keys: test_dataloader.batch_size=8")
    parser.add_argument("--dry-run", action="store_true", help="print config, size and batch; test nothing")
    parser.add_argument("--shape", nargs=3, type=int, metavar=("C", "H", "W"), help="input of the dry run's count")
    suite = parser.add_argument_group("for a suite")
    suite.add_argument("--trunk", help="size of MetaNet, timm:NAME, {mmpretrain,mmdet,mmseg}:CONFIG, a name")
    suite.add_argument("--checkpoint", help="the trunk's weights; 'random' for none")
    suite.add_argument("--name", help="what the trunk is called in the results")
    suite.add_argument("--shots", default="10", help="percentages of the labels, k=N a class, all: 1,10,all")
    suite.add_argument("--tries", type=int, default=1, help="lists and trainings of each, with seeds 0, 1, ...")
    suite.add_argument("--tasks", help="some of the suite's tasks: cifar10,voc0712")
    suite.add_argument("--protocol", help="how a kind of task is judged, in place of the suite's own: knn,faster-rcnn")
    suite.add_argument("--data-root", help="folder that holds a folder a task")
    suite.add_argument("--baseline", help="the trunk whose errors the others are measured against in the report")
    return parser.parse_args(argv)


def judge(args: argparse.Namespace) -> None:
    """Fill a suite's grid."""
    from interngv.gvb.command import judge as fill

    if args.weights or not args.trunk:
        raise UserError(f"{args.config} is a suite: give --trunk NAME and, for its weights, --checkpoint FILE")
    if args.amp or args.out or args.shape or args.launcher != "none":
        raise UserError("a suite takes no --amp, --out, --shape or --launcher; to share it, start the command again")
    fill(
        args.config,
        args.trunk,
        checkpoint=args.checkpoint,
        name=args.name,
        shots=args.shots.split(","),
        tries=args.tries,
        tasks=args.tasks.split(",") if args.tasks else None,
        protocols=args.protocol.split(",") if args.protocol else [],
        data_root=args.data_root,
        baseline=args.baseline,
        work_dir=args.work_dir,
        options=args.cfg_options,
        dry_run=args.dry_run,
    )


def test(args: argparse.Namespace) -> None:
    """Test a checkpoint, or judge a trunk."""
    if is_suite(args.config):
        return judge(args)
    if args.trunk or args.checkpoint or not args.weights:
        raise UserError(f"{args.config} is no suite: give CONFIG CHECKPOINT")
    launch.test(
        args.config,
        args.weights,
        work_dir=args.work_dir,
        amp=args.amp,
        launcher=args.launcher,
        options=args.cfg_options,
        out=args.out,
        dry_run=args.dry_run,
        shape=args.shape,
    )


def main() -> int:
    """Run the tool and return its exit status."""
    args = parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return run_tool(lambda: test(args))


if __name__ == "__main__":
    sys.exit(main())

"""Measure a checkpoint on a config's test set.

    python tools/test.py CONFIG CHECKPOINT [--out metrics.json] [--amp] [--work-dir DIR] [--cfg-options k=v ...]
    torchrun --nproc-per-node=N tools/test.py CONFIG CHECKPOINT --launcher pytorch
    python tools/test.py CONFIG CHECKPOINT --dry-run                         # the plan: tests and writes nothing

CONFIG is a path or the name of a config that ships with interngv. It must define ``model``, ``test_dataloader``,
``test_cfg`` and ``test_evaluator``. CHECKPOINT must hold every tensor of the model.
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


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure a checkpoint on a config's test set.")
    parser.add_argument("config", help="path or name of a config")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--work-dir", help="folder for logs")
    parser.add_argument("--out", help="JSON file for the metrics")
    parser.add_argument("--amp", action="store_true", help="mixed precision: bfloat16 on a CPU, float16 on a GPU")
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none", help="what started the processes")
    parser.add_argument("--local-rank", "--local_rank", type=int, default=0, help="set by older launchers")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="dotted keys: test_dataloader.batch_size=8")
    parser.add_argument("--dry-run", action="store_true", help="print config, size and batch; test nothing")
    parser.add_argument("--shape", nargs=3, type=int, metavar=("C", "H", "W"), help="input of the dry run's count")
    return parser.parse_args(argv)


def main() -> int:
    """Run the tool and return its exit status."""
    args = parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return run_tool(
        lambda: launch.test(
            args.config,
            args.checkpoint,
            work_dir=args.work_dir,
            amp=args.amp,
            launcher=args.launcher,
            options=args.cfg_options,
            out=args.out,
            dry_run=args.dry_run,
            shape=args.shape,
        )
    )


if __name__ == "__main__":
    sys.exit(main())

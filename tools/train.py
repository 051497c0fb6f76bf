"""Train a config.

    python tools/train.py CONFIG [--work-dir DIR] [--resume [auto|FILE]] [--amp] [--seed N] [--cfg-options k=v ...]
    torchrun --nproc-per-node=N tools/train.py CONFIG --launcher pytorch     # several processes, GPUs or CPUs
    python tools/train.py CONFIG --dry-run                                   # the plan: trains and writes nothing

CONFIG is a path or the name of a config that ships with interngv. It must define ``model``, ``train_dataloader``,
``train_cfg`` and ``optim_wrapper``; to validate, also ``val_dataloader``, ``val_cfg`` and ``val_evaluator``.
Logs and checkpoints go to ``--work-dir``, else the config's ``work_dir``, else ``./work_dirs/NAME``.
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
    parser = argparse.ArgumentParser(description="Train a config.")
    parser.add_argument("config", help="path or name of a config")
    parser.add_argument("--work-dir", help="folder for logs and checkpoints")
    parser.add_argument("--resume", nargs="?", const="auto", help="the work dir's last checkpoint, or the file given")
    parser.add_argument("--amp", action="store_true", help="mixed precision: bfloat16 on a CPU, float16 on a GPU")
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none", help="what started the processes")
    parser.add_argument("--local-rank", "--local_rank", type=int, default=0, help="set by older launchers")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="dotted keys: train_cfg.max_epochs=2")
    parser.add_argument("--seed", type=int, help="replaces randomness.seed")
    parser.add_argument("--upstream", metavar="FILE", help="checkpoint to start from, not the config's upstream")
    parser.add_argument("--with-upstream", action="store_true", help="first train the stages this config starts from")
    parser.add_argument("--dry-run", action="store_true", help="print config, size and schedule; train nothing")
    parser.add_argument("--shape", nargs=3, type=int, metavar=("C", "H", "W"), help="input of the dry run's count")
    return parser.parse_args(argv)


def main() -> int:
    """Run the tool and return its exit status."""
    args = parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return run_tool(
        lambda: launch.train(
            args.config,
            work_dir=args.work_dir,
            resume=args.resume,
            amp=args.amp,
            launcher=args.launcher,
            options=args.cfg_options,
            seed=args.seed,
            upstream=args.upstream,
            with_upstream=args.with_upstream,
            dry_run=args.dry_run,
            shape=args.shape,
        )
    )


if __name__ == "__main__":
    sys.exit(main())

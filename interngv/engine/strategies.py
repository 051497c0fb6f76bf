"""The config's ``strategy``: training with a model that does not stand whole in every process."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import convert_sync_batchnorm
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.runner import FlexibleRunner
from torch import nn

from interngv.engine.distributed import fit_to_cpu
from interngv.engine.optim_wrapper import optimizers
from interngv.engine.pictures import NamesPictures
from interngv.errors import UserError
from interngv.registry import STRATEGIES

if TYPE_CHECKING:
    from mmengine.runner import Runner
else:
    Runner = object

_UNITS = r"(.*\.)?blocks\.\d+"


@STRATEGIES.register_module()
class FSDPStrategy:
    """Every process keeps a share of each parameter, of its gradient and of its optimizer state (torch's FSDP2).

    What is computed, logged and saved is what DDP computes, logs and saves; a run goes on from a checkpoint of one
    with the other. A unit's parameters are gathered for the time that the unit computes, those outside of all units
    for the whole step. Unlike mmengine's strategies this one needs no ``FlexibleRunner``; in one process it does
    nothing.

    Args:
        units: regular expression for the names of the modules that are gathered one at a time.

    Raises:
        UserError: this torch has no such sharding.
    """

    def __init__(self, units: str = _UNITS) -> None:
        if torch.__version__ < "2.7":  # by numbers: a TorchVersion
            raise UserError(f"FSDPStrategy needs torch >= 2.7, this is {torch.__version__}")
        self.units = units


class Shards(Runner):
    """Mix-in for mmengine's ``Runner``: with a :class:`FSDPStrategy` in the config the model is sharded.

    Its weights are initialised before that, when the runner is built, as they are nowhere whole afterwards.
    """

    _is_sharded = False

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Shard where the config says so and there are several processes, else wrap as the runner does."""
        if not (self.distributed and self.cfg.get("strategy")):
            return super().wrap_model(model_wrapper_cfg, model)
        if "EMAHook" in str(self.cfg.get("custom_hooks")):
            raise UserError("EMAHook copies the model, which FSDPStrategy spreads over processes; leave one out")
        from interngv.engine.sharding import shard  # a torch that is too old lacks what it needs

        strategy = MMENGINE_STRATEGIES.build(self.cfg.strategy)
        self.model = model.to(get_device())
        if self.cfg.get("sync_bn"):
            self.model = convert_sync_batchnorm(self.model, self.cfg.sync_bn)
        if self._train_loop is not None:
            self._init_model_weights()
        shard(self.model, strategy.units)
        self._is_sharded = True
        return self.model

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """Build as the runner does; a sharded model's optimizers give and take whole tensors."""
        built = super().build_optim_wrapper(optim_wrapper)
        if self._is_sharded and built is not optim_wrapper:
            from interngv.engine.sharding import keep_whole_state

            for one in optimizers(built):
                keep_whole_state(one)
        return built

    def _init_model_weights(self) -> None:
        if not self._is_sharded:
            super()._init_model_weights()


def is_of_mmengine(cfg: Config) -> bool:
    """Whether a config's strategy is one of mmengine's (DeepSpeed, ...), which only its ``FlexibleRunner`` takes.

    Raises:
        UserError: it needs DeepSpeed, which is not installed.
    """
    strategy = cfg.get("strategy")
    if not strategy:
        return False
    found: Any = MMENGINE_STRATEGIES.get(strategy.type) if isinstance(strategy.type, str) else strategy.type
    if found.__name__ == "DeepSpeedStrategy" and find_spec("deepspeed") is None:
        raise UserError("strategy DeepSpeedStrategy needs DeepSpeed; install it: pip install deepspeed")
    return not issubclass(found, FSDPStrategy)


def train_by_mmengine(cfg: Config, resume: str | None) -> None:
    """Train with one of mmengine's strategies: its ``FlexibleRunner`` does everything, checkpoints included.

    Args:
        resume: ``'auto'`` for the work dir's last checkpoint, or a checkpoint of that strategy.

    Raises:
        UserError: the config asks for what needs interngv's runner.
    """
    loop = str(cfg.train_cfg.get("type", ""))
    for is_asked, what in (("MetaTrainLoop" in loop, "interngv.MetaTrainLoop"), (cfg.get("upstream"), "upstream")):
        if is_asked:
            raise UserError(f"{what} does not go with strategy {cfg.strategy.type}; use interngv.FSDPStrategy or DDP")
    if resume:
        cfg.resume, cfg.load_from = True, None if resume == "auto" else resume
    saving = (cfg.get("default_hooks") or {}).get("checkpoint")
    if saving and saving.get("type") == "interngv.CheckpointHook":
        saving.type = "mmengine.CheckpointHook"
    if cfg.strategy.type == "DDPStrategy" and get_device() == "cpu":
        fit_to_cpu(cfg)
    runner: Any = type("FlexibleRunner", (NamesPictures, FlexibleRunner), {})
    runner.from_cfg(cfg).train()

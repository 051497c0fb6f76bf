"""A task of a multi-task run as what its host's own tools take: a plain config and a ``.pth`` file."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from interngv.checkpoint import read_checkpoint
from interngv.checkpoint.files import replaced
from interngv.engine.checkpoints.convert import write_pickle
from interngv.engine.checkpoints.loading import require_whole
from interngv.engine.config import check_config, load_config
from interngv.engine.config.types import scope_of
from interngv.errors import UserError, did_you_mean

_SECTIONS = ("env_cfg", "visualizer", "log_level")


def export_task(config: str, checkpoint: str | Path, task: str, out: str | Path) -> tuple[Path, Path]:
    """Write ``OUT.py`` and ``OUT.pth``: the plain host model of a task, its test data and metric, and its weights.

    The test set is the first one of ``test_dataloader``, else ``val_dataloader``, that has the task; where there is
    none the config holds the model alone.

    Args:
        config: of the multi-task run.
        checkpoint: of that run.
        task: its name.
        out: path of both files without a suffix.

    Returns:
        The paths of the config and of the weights.

    Raises:
        UserError: the config has no such task, the checkpoint is of another model, or a file is there already.
    """
    cfg = load_config(config)
    check_config(cfg)
    init_default_scope(cfg.get("default_scope") or "mmengine")
    tasks = (cfg.get("model") or {}).get("tasks") or {}
    if task not in tasks:
        hint = did_you_mean(task, tasks) or f"; it has {', '.join(tasks) or 'none'}"
        raise UserError(f"config {config} has no task '{task}'{hint}")
    model = MODELS.build(cfg.model)
    found = read_checkpoint(checkpoint)
    require_whole(model, found, checkpoint)
    model.load_state_dict(found["state_dict"])
    host = model.host_config(task)
    scope = host.pop("_scope_", None) or scope_of(host)
    plain: dict[str, Any] = {"default_scope": scope, "custom_imports": cfg.get("custom_imports"), "model": host}
    plain |= {key: cfg[key] for key in _SECTIONS if cfg.get(key) is not None} | _test_sections(cfg, task)
    out = Path(out).expanduser()
    files = Path(f"{out}.py"), Path(f"{out}.pth")
    if there := [str(file) for file in files if file.exists()]:
        raise UserError(f"{' and '.join(there)} is there already; remove it or give another name")
    out.parent.mkdir(parents=True, exist_ok=True)
    with replaced(files[0]) as file:
        file.write(Config(plain).pretty_text.encode())
    write_pickle(files[1], {"state_dict": model.host_state_dict(task), "meta": {}})
    return files


def _test_sections(cfg: Config, task: str) -> dict[str, Any]:
    for split in ("test", "val"):
        evaluators = cfg.get(f"{split}_evaluator") or {}
        for name, loader in (cfg.get(f"{split}_dataloader") or {}).items():
            if isinstance(loader, dict) and loader.get("task", name) == task and name in evaluators:
                plain = {key: value for key, value in loader.items() if key != "task"}
                return {"test_dataloader": plain, "test_evaluator": evaluators[name], "test_cfg": {}}
    return {}

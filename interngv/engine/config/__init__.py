"""Configs: finding and loading them, saying which line set a key, and refusing keys that nothing reads."""

from interngv.engine.config.check import Problem, check_config, find_problems
from interngv.engine.config.loading import cfg_options, load_config, resolve_config, shipped_configs_dir
from interngv.engine.config.source import Origin, explain
from interngv.errors import ConfigError

__all__ = [
    "ConfigError",
    "Origin",
    "Problem",
    "cfg_options",
    "check_config",
    "explain",
    "find_problems",
    "load_config",
    "resolve_config",
    "shipped_configs_dir",
]

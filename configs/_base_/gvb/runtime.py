"""What every protocol that trains in a host has in common; a suite merges it under the host's own settings."""

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="interngv.CheckpointHook", by_epoch=False, interval=1000, max_keep_ckpts=1),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
log_processor = dict(by_epoch=False)
custom_imports = dict(imports=["interngv"])

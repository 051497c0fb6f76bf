"""The linear probe for small sets on two cores: 500 steps in place of 10 000, the rate falls at the same shares."""

_base_ = ["../linear-probe.py"]

loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=64, **loader)
test_dataloader = loader
param_scheduler = dict(milestones=[150, 300, 450])
train_cfg = dict(max_iters=500)
default_hooks = dict(checkpoint=dict(interval=500))

"""Linear probe in 500 iterations: SGD with GV-B's momentum; the rate falls to zero along a cosine.

Learning rate and momentum are GV-B's own (10 000 iterations there); of 0.003 to 0.1 the rate is the best or level
with it for the trained and for the random trunk alike. No weight decay: the feature is normalised.
"""

optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0))
param_scheduler = dict(type="CosineAnnealingLR", T_max=500, by_epoch=False)
train_cfg = dict(by_epoch=False, max_iters=500, val_interval=500)
val_cfg = dict()
test_cfg = dict()
log_processor = dict(by_epoch=False)

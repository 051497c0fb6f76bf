"""SGD at 0.2, as the released experiments on 88 M pairs have it; a config says how many steps and which weight decay.

Known of them: SGD (for ResNet-50 with Nesterov's momentum and float16), the rate, decay and steps. Inferred [I]: the
momentum of 0.9, the warm-up and cosine of the YFCC-15M schedule, 4096 pairs a step.
"""

_base_ = ["schedule_yfcc15m.py"]

optim_wrapper = dict(optimizer=dict(_delete_=True, type="SGD", lr=0.2, momentum=0.9, weight_decay=0.0))

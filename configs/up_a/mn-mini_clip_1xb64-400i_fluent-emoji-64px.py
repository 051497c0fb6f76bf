"""CLIP beside mn-mini_declip_1xb64-400i_fluent-emoji-64px: the same, pipeline and all, but for the losses.

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: docs/results/up_a_emoji.md
Cost: 2 minutes on two CPU cores
Data: as there
Run: python tools/train.py configs/up_a/mn-mini_clip_1xb64-400i_fluent-emoji-64px.py
Next: zero-shot by GV-B's protocol of that name (docs/benchmark.md)
"""

_base_ = ["mn-mini_declip_1xb64-400i_fluent-emoji-64px.py"]

model = dict(losses=dict(_delete_=True, clip=dict(type="interngv.InfoNCE", pairs="first")), weights=None)

"""Linear probe of a frozen mn-mini on 10 % of the training half of the 8x8 digits: 9 images a digit.

Paper: INTERN (arXiv 2111.08687), GV-B, percentage-shot
Expected: 79.8 % top-1 on the test half; a random trunk 61.4 %
Cost: half a minute on two CPU cores, with the test
Data: python -m interngv.gvd.layouts digits-8x8 && python -m interngv.gvb.shots data/digits-8x8/meta/train.txt 10
Run: python tools/train.py configs/gvb/mn-mini_linear-probe_1xb64-500i_digits-8x8-10p-32px.py
Next: none; the random trunk for comparison takes --cfg-options upstream=None
"""

_base_ = ["mn-mini_linear-probe_1xb64-500i_digits-8x8-32px.py"]

train_dataloader = dict(dataset=dict(ann_file="meta/train_10p.txt"))

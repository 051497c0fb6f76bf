"""Linear probe of a frozen mn-mini on 10 % of the training half of MNIST-5k: 25 images a digit.

Paper: INTERN (arXiv 2111.08687), GV-B, percentage-shot
Expected: 74.7 % top-1 on the test half; a random trunk 58.6 %
Cost: half a minute on two CPU cores, with the test
Data: python -m interngv.gvd.layouts mnist-5k && python -m interngv.gvb.shots data/mnist-5k/meta/train.txt 10
Run: python tools/train.py configs/gvb/mn-mini_linear-probe_1xb64-500i_mnist-5k-10p-32px.py
Next: none; the random trunk for comparison takes --cfg-options upstream=None
"""

_base_ = ["mn-mini_linear-probe_1xb64-500i_mnist-5k-32px.py"]

train_dataloader = dict(dataset=dict(ann_file="meta/train_10p.txt"))

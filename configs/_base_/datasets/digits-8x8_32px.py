"""UCI handwritten digits, 1 797 grey images of 8x8 (901 train + 896 test, halved by us), enlarged to 32x32.

The folder comes from `python -m interngv.gvd.layouts digits-8x8`.
"""

_base_ = ["mnist-5k_32px.py"]

train_dataloader = dict(dataset=dict(data_root="data/digits-8x8"))
val_dataloader = dict(dataset=dict(data_root="data/digits-8x8"))
test_dataloader = dict(dataset=dict(data_root="data/digits-8x8"))

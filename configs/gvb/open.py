"""The mini suite on sets that registry packages carry: all four kinds, on any machine with pip.

Paper: INTERN (arXiv 2111.08687), General Vision Benchmark
Expected: efficientnet-lite0 79.3 % (10 %) and 91.0 % (all) on mnist-5k, 38.7 AP, 66.3 mIoU, 0.42 m RMSE (docs/demo.md)
Cost: about three minutes a trunk on two CPU cores
Data: interngv data prepare NAME, for mnist-5k, digits-8x8, tree-crowns, nuclei, motorcycle
Run: python tools/test.py configs/gvb/open.py --trunk efficientnet-lite0 --shots 10,all
Next: interngv gvb compare A B
"""

_base_ = ["mini.py"]

suite = dict(name="open", rows="open", image_size=64)

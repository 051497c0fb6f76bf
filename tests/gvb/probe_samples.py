"""Samples that the probes' tests share."""

import torch
from sklearn.datasets import load_digits

from interngv.gvb.probes import Samples


def blobs(n: int = 120, classes: int = 4, width: int = 6, seed: int = 0) -> Samples:
    """Overlapping clusters, one a class, their centres the same for every seed."""
    centres = 1.5 * torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    return Samples(centres[labels] + torch.randn(n, width, generator=generator), labels)


def digits(start: int = 0, stop: int = 900) -> Samples:
    """Scikit-learn's scanned digits, 64 raw pixels of 0 to 16; the writers change along the set."""
    features, labels = load_digits(return_X_y=True)
    return Samples(torch.tensor(features[start:stop], dtype=torch.float32), torch.tensor(labels[start:stop]))


def wide() -> Samples:
    """60 samples of 100 features that are far from the origin."""
    return Samples(blobs(60, width=100).features + 5, blobs(60).labels)


SETS = {"blobs": blobs, "digits": digits, "wide": wide}

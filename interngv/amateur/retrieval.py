"""Image-text retrieval: how often the right caption, or picture, is among the first k (recall at k).

As reported on Flickr30k and COCO since Karpathy and Fei-Fei (CVPR 2015, arXiv 1412.2306): a picture is found where any
of its captions is.
"""

from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather, all_reduce, get_rank, get_world_size
from mmengine.evaluator import BaseMetric
from torch import Tensor

from interngv.errors import UserError
from interngv.registry import METRICS

_CHUNK = 256  # queries that are compared with everything at once


Result = tuple[Tensor, Tensor, Tensor]  # of a sample: (D,) image, (V, D) captions, (V,) or (0,) caption ids


@METRICS.register_module()
class RetrievalRecall(BaseMetric):
    """Recall at k in percent: ``retrieval/i2t_R@1``, ``retrieval/t2i_R@1``, ..., and their mean ``retrieval/mean``.

    A data sample has ``image_feature`` (D,) and ``text_features`` (V, D) of its captions, of length 1; similarity is
    their dot product. Where samples have ``caption_id`` (V,), captions of the same number are one caption: it is sought
    and found once, and right for all its pictures. Otherwise each stands for itself, as in published numbers on COCO,
    where some captions are equal.

    Of what scores the same as the best right one, all that is wrong comes first: a model that gives the same feature to
    everything finds nothing. At most 256 rows of the matrix of similarities are held at a time.

    Processes exchange tensors, each ranks its share of the queries, and samples that a sampler repeated to fill its
    last round are dropped.

    Args:
        topk: the k.
        prefix: as in mmengine.

    Raises:
        ValueError: k that are not positive.
    """

    default_prefix = "retrieval"

    def __init__(self, topk: Sequence[int] = (1, 5, 10), prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        if not topk or min(topk) < 1:
            raise ValueError(f"topk={tuple(topk)}: expected one or several numbers above 0")
        self.topk = tuple(topk)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep the features of a batch; raises UserError for a sample without them."""
        self.results += map(_result, data_samples)

    def evaluate(self, size: int) -> dict[str, float]:
        """The scores, the same on every process.

        Args:
            size: number of samples of the data set.

        Raises:
            UserError: on every process, where one has no samples, some captions have no ``caption_id``, or features are
                not finite.
        """
        results = _collected(self.results)[:size]
        self.results.clear()
        return {f"{self.prefix}/{name}": score for name, score in self.compute_metrics(results).items()}

    def compute_metrics(self, results: Sequence[Result]) -> dict[str, float]:
        """The scores of the samples of all processes, which each process must give alike."""
        images, texts, right = _distinct(results)
        ranks = {"i2t": _ranks(images, texts, right), "t2i": _ranks(texts, images, right.flip(1))}
        scores = {
            f"{way}_R@{k}": 100 * (found < k).double().mean().item() for way, found in ranks.items() for k in self.topk
        }
        return {**scores, "mean": sum(scores.values()) / len(scores)}


def _result(sample: Mapping[str, Any]) -> Result:
    name = sample.get("img_path", "a sample")
    for key in ("image_feature", "text_features"):
        if key not in sample:
            raise UserError(f"{name} has no {key}: the model gives it where the pipeline packs 'text'")
    image, texts = (sample[key].detach().float().cpu() for key in ("image_feature", "text_features"))
    ids = torch.as_tensor(sample.get("caption_id", []), dtype=torch.int64).cpu().reshape(-1)
    if len(ids) not in (0, len(texts)):
        raise UserError(
            f"{name}: {len(ids)} caption_id for {len(texts)} captions; choose='all' in the pipeline's EncodeCaption"
        )
    return image, texts, ids


def _collected(results: Sequence[Result]) -> list[Result]:
    """The results of all processes, in the order of the data set, which mmengine's samplers deal out like cards."""
    if not all(map(int, all_gather(torch.tensor([len(results)])))):
        raise UserError("RetrievalRecall: a process evaluated no sample; are there fewer samples than processes?")
    sizes = torch.tensor([[len(texts), len(ids)] for _, texts, ids in results])
    shares = []
    for images, texts, ids, size in zip(*map(_from_all, (*_joined(results), sizes)), strict=True):
        captions, numbers = size.T.tolist()
        shares.append(zip(images, texts.split(captions), ids.split(numbers), strict=True))
    return [result for result in chain.from_iterable(zip_longest(*shares)) if result is not None]


def _from_all(rows: Tensor) -> list[Tensor]:
    """(n, ...) of every process, whose n may differ, in the order of the ranks."""
    counts = [int(count) for count in all_gather(torch.tensor([len(rows)]))]
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    return [found[:count] for found, count in zip(all_gather(padded), counts, strict=True)]


def _joined(results: Sequence[Result]) -> tuple[Tensor, Tensor, Tensor]:
    images, texts, ids = zip(*results, strict=True)
    return torch.stack(images), torch.cat(texts), torch.cat(ids)


def _distinct(results: Sequence[Result]) -> tuple[Tensor, Tensor, Tensor]:
    """(I, D) pictures, (T, D) different captions, and (P, 2) which picture has which caption."""
    images, texts, ids = _joined(results)
    if len(ids) not in (0, len(texts)):
        raise UserError(f"RetrievalRecall: {len(ids)} of {len(texts)} captions have a caption_id; expected all or none")
    if not (images.isfinite().all() and texts.isfinite().all()):
        raise UserError("RetrievalRecall: the model gives features that are not finite")
    numbers = ids.numpy() if len(ids) else np.arange(len(texts))
    _, first, caption = np.unique(numbers, return_index=True, return_inverse=True)
    owner = np.repeat(np.arange(len(images)), [len(captions) for _, captions, _ in results])
    right = np.unique(np.stack([owner, caption], axis=1), axis=0)
    return images, texts[torch.from_numpy(first)], torch.from_numpy(right)


def _ranks(queries: Tensor, gallery: Tensor, right: Tensor) -> Tensor:
    """(Q,) how many wrong ones come before the first right one; each process computes its share.

    Args:
        queries: (Q, D).
        gallery: (G, D).
        right: (P, 2) rows of the queries and of what is right for them in the gallery.
    """
    ranks = torch.zeros(len(queries), dtype=torch.int64)
    for rows in torch.arange(get_rank(), len(queries), get_world_size()).split(_CHUNK):
        place = torch.full((len(queries),), -1)
        place[rows] = torch.arange(len(rows))
        pairs = right[place[right[:, 0]] >= 0]
        is_right = torch.zeros(len(rows), len(gallery), dtype=torch.bool)
        is_right[place[pairs[:, 0]], pairs[:, 1]] = True
        scores = queries[rows] @ gallery.T
        best = scores.masked_fill(~is_right, -torch.inf).amax(1, keepdim=True)
        ranks[rows] = ((scores >= best) & ~is_right).sum(1)
    all_reduce(ranks)
    return ranks

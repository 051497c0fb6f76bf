"""The weights of the group: DeCLIP's paper and its released code write the same sum in two ways.

    paper  L = (1 - α - β - γ) L_CLIP + α (L_ISS + L_TSS) + β L_MVS + γ L_NNS
    code   L = w_clip L_all + w_nn L_NNS + w_simsiam L_ISS + w_mlm L_TSS

L_CLIP is the InfoNCE of the first image view and the caption as it is (``pairs='first'``), L_MVS the mean of that of
the three other pairs (``'others'``), and L_all that of all four (``'all'``): L_all = L_CLIP / 4 + 3 L_MVS / 4. So a sum
of the code is one of the paper's form, with the weights w_clip / 4 of L_CLIP and 3 w_clip / 4 of L_MVS.

The released weights are another choice than the paper's α = β = γ = 0.2, which give L_CLIP 0.4 and L_MVS 0.2.
w_clip = 0.6 (ViT-B/32, 88 M pairs) gives 0.15 and 0.45: as much in all, shared out otherwise, so that both sums agree
only where L_CLIP = L_MVS, as when each is taken for the mean of the four. w_clip = 0.4 (YFCC 15 M, and ResNet-50) gives
0.1 and 0.3, 0.2 less in all.
"""


def paper_weights(alpha: float = 0.2, beta: float = 0.2, gamma: float = 0.2) -> dict[str, float]:
    """The paper's form as the weights of InfoNCE('first'), InfoNCE('others'), SimSiam, MLM and nearest neighbour.

    Args:
        alpha: α, of the self-supervision of images and of texts.
        beta: β, of multi-view supervision.
        gamma: γ, of nearest-neighbour supervision.

    Raises:
        ValueError: a weight is negative, or the three exceed 1.
    """
    rest = 1 - alpha - beta - gamma
    if min(alpha, beta, gamma) < 0 or rest < -1e-9:
        raise ValueError(
            f"alpha={alpha}, beta={beta}, gamma={gamma}: expected weights of at least 0 that sum up to 1 at most"
        )
    return {"first": max(0.0, rest), "others": beta, "simsiam": alpha, "mlm": alpha, "nn": gamma}

"""DeCLIP's model (arXiv 2110.05208) around a trunk that the config names; weights of the losses on YFCC-15M.

Sources: the released code's YAML files and solver (weights; SimSiam 1024, 512; a bank of 65 536; text 512 wide, 12
layers, 8 heads, 77 tokens), CLIP section 2.5 (temperature from 0.07, at most 100; the release keeps its logarithm
within 3 and 6, which the start is below). 49 408 tokens of CLIP and the mask.
"""

model = dict(
    type="interngv.ImageTextModel",
    image=dict(embed_dim=512),
    text=dict(vocab_size=49_409, end_id=49_407, embed_dim=512),
    losses=dict(
        clip=dict(type="interngv.InfoNCE"),
        nn_text=dict(type="interngv.NearestNeighbourLoss", width=512),
        simsiam=dict(type="interngv.SimSiamLoss"),
        mlm=dict(type="interngv.MaskedTextLoss", width=512, vocab_size=49_409),
    ),
    weights=dict(clip=0.4, nn_text=0.2, simsiam=0.2, mlm=0.2),
    tokenizer=dict(type="interngv.BPETokenizer"),
)

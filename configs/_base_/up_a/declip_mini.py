"""DeCLIP around mn-mini on two CPU cores: the same parts, narrower, with short captions and a small bank."""

_base_ = ["declip.py"]

tokenizer = dict(type="interngv.BPETokenizer", context_length=16)
model = dict(
    image=dict(trunk=dict(type="interngv.MetaNet", arch="mn-mini"), embed_dim=128),
    text=dict(embed_dim=128, context_length=16, width=128, layers=3, heads=4),
    losses=dict(
        nn_text=dict(width=128, size=4096),
        simsiam=dict(width=1280, hidden=256),
        mlm=dict(width=128),
    ),
    tokenizer=tokenizer,
)

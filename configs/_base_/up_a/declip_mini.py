"""DeCLIP around mn-mini on two CPU cores: the same parts, narrower, with short captions and a small bank.

The vocabulary has 4 096 ids, of WordNet's words: of CLIP's 49 408 a small set teaches few, and they would be four
fifths of the model. ``python -m interngv.amateur.text.train_vocabulary data/wordnet`` writes it.
"""

_base_ = ["declip.py"]

model = dict(
    image=dict(trunk=dict(type="interngv.MetaNet", arch="mn-mini"), embed_dim=128),
    text=dict(vocab_size=4096, end_id=4094, embed_dim=128, context_length=32, width=128, layers=3, heads=4),
    losses=dict(
        nn_text=dict(width=128, size=4096),
        simsiam=dict(width=1280, hidden=256),
        mlm=dict(width=128, vocab_size=4096),
    ),
    tokenizer=dict(vocabulary="data/vocabulary/bpe-4096.json", context_length=32),
)

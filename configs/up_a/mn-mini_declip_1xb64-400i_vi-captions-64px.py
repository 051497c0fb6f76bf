"""DeCLIP, mn-mini, five Vietnamese sentences for each of 408 photographs, 64 px, with a vocabulary of their own.

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: R@1 8.6 % image to text, 7.6 % text to image, of 81 unseen photographs (seed 0)
Cost: 4 minutes on two CPU cores
Data: python -m interngv.amateur.text.train_vocabulary data/vi_captions/captions.jsonl --out data/vocabulary/vi.json
Run: python tools/train.py configs/up_a/mn-mini_declip_1xb64-400i_vi-captions-64px.py
Next: zero-shot by GV-B's protocol of that name (docs/benchmark.md)
"""

_base_ = ["mn-mini_declip_1xb64-400i_fluent-emoji-64px.py"]

words = dict(vocabulary="data/vocabulary/vi.json", context_length=32)
caption = dict(type="interngv.EncodeCaption", tokenizer=dict(type="interngv.BPETokenizer", **words))
train_caption = dict(caption, augment=dict(wordnet=None), mask=True)  # WordNet is English
model = dict(
    text=dict(vocab_size=1419, end_id=1417),
    losses=dict(mlm=dict(vocab_size=1419)),
    tokenizer=words,
)
data = dict(data_root="data/vi_captions", ann_file="captions.jsonl")
train_pipeline = _base_.load + _base_.views + [train_caption] + _base_.pack
test_pipeline = _base_.load + _base_.whole + [dict(caption, choose="first")] + _base_.pack
train_dataloader = dict(sources=dict(pairs=dict(dataset=dict(data, pipeline=train_pipeline))))
val_dataloader = dict(dataset=dict(data, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(data, pipeline=test_pipeline))

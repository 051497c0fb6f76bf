"""Group supervision against CLIP's loss on open data: emoji and their names, of which a fifth is never trained.

Data: that of configs/up_a/mn-mini_declip_1xb64-400i_fluent-emoji-64px.py
Run: python tools/study.py tools/studies/up_a_emoji.py
"""

title = "Up-A on emoji: group supervision against CLIP's loss"

arms = {
    name: dict(config=f"configs/up_a/mn-mini_{name}_1xb64-400i_fluent-emoji-64px.py", texts=name)
    for name in ("clip", "declip")
}
measures = [
    dict(
        texts=True,
        scores={
            f"371 unseen emoji and names, {direction} R@{k}, %": f"retrieval/{key}_R@{k}"
            for direction, key in (("image to text", "i2t"), ("text to image", "t2i"))
            for k in (1, 5, 10)
        },
    ),
]

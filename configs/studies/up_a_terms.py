"""Which of DeCLIP's terms does what: each left out in its turn, and the four pairs of views alone.

Paper: DeCLIP (arXiv 2110.05208), section 4.3
Expected: docs/results/up_a_terms.md
Cost: docs/results/up_a_terms.md
Data: as for configs/studies/up_a.py
Run: python tools/study.py configs/studies/up_a_terms.py
Next: configs/studies/up_a.py
"""

_base_ = ["up_a.py"]

title = "Up-A-G: the terms of group supervision"

without = "model.weights.{}"
arms = dict(
    _delete_=True,
    **{
        "clip": dict(config=_base_.clip),
        "declip": dict(config=_base_.declip),
        "no neighbours": dict(config=_base_.declip, options={"model.weights.nn_text": 0}),
        "no SimSiam": dict(config=_base_.declip, options={"model.weights.simsiam": 0}),
        "no masked words": dict(config=_base_.declip, options={"model.weights.mlm": 0}),
        "views alone": dict(
            config=_base_.declip,
            options={"model.weights.nn_text": 0, "model.weights.simsiam": 0, "model.weights.mlm": 0},
        ),
    },
)
measures = _base_.measures[:3]

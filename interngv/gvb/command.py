"""What ``tools/test.py SUITE`` does: judge a trunk, keep the results, write the report."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.registry import init_default_scope

from interngv.errors import UserError, did_you_mean
from interngv.gvb import report, tasks
from interngv.gvb.benchmark import Benchmark
from interngv.gvb.grid import Store, cells, run
from interngv.gvb.report.results import checked
from interngv.gvb.shots import Shots
from interngv.gvb.suite import Suite, read_suite
from interngv.gvb.trunks import resolve


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
    chosen = suite.chosen(protocols)
    if tries < 1:
        raise UserError(f"--tries {tries}: expected 1 or more")
    label = name or " ".join([trunk, *([Path(checkpoint).name] if checkpoint else [])])
    wanted = cells(
        [label], {key: chosen[row.kind] for key, row in rows.items()}, [str(Shots.parse(one)) for one in shots], tries
    )
    if dry_run:
        print(*wanted, sep="\n")
        return None
    init_default_scope("mmpretrain")
    folder = Path(work_dir or Path("work_dirs") / suite.name).expanduser()
    words: dict[str, Any] = dict(word=trunk, checkpoint=_absolute(checkpoint), trunks=dict(suite.trunks))
    store = Store(folder)
    benchmark = Benchmark(suite, rows, resolve(**words), words, folder)
    results = run(
        wanted,
        store,
        benchmark.identify,
        benchmark.measure,
        check=lambda result: checked([result], str(store.folder)),
        say=lambda line: print(line, flush=True),
    )
    others = [result for result in store.newest() if result["trunk"] != label]
    report.write(folder, suite.name, [*others, *results])
    page, text = report.write_report(folder, baseline)
    failed = [result for result in results if result["status"] == "failed"]
    print(f"{len(results) - len(failed)} of {len(wanted)} cells, {len(failed)} failed: {page}, {text}", flush=True)
    if len(failed) == len(wanted):
        raise UserError(f"no cell of {label} has a result; the first failed: {failed[0]['error']}")
    return page


def _rows(suite: Suite, wanted: Sequence[str] | None) -> dict[str, tasks.Task]:
    rows = tasks.with_rows(suite.tasks, suite.rows)
    for one in wanted or ():
        if one not in rows:
            raise UserError(f"the suite has no task '{one}'{did_you_mean(one, rows)}; it has {', '.join(rows)}")
    return {key: rows[key] for key in (wanted or rows)}


def _absolute(checkpoint: str | None) -> str | None:
    """A file's path that holds in other processes; other words as they are."""
    path = Path(checkpoint or "").expanduser()
    return str(path.absolute()) if checkpoint and path.exists() else checkpoint

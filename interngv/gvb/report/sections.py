"""What stands in a report, first part: results (scores, means, reductions, curves, the authors' table)."""

from collections.abc import Iterator, Sequence

from interngv.gvb.report import compare
from interngv.gvb.report.curves import curves
from interngv.gvb.report.differences import differences
from interngv.gvb.report.document import Bullets, Marked, Paragraph, Section, Table, Text
from interngv.gvb.report.means import KindMean, Reduction, kind_mean, kind_means, reductions
from interngv.gvb.report.noise import mean
from interngv.gvb.report.published import MARK, Published, published
from interngv.gvb.report.scores import Row, Scores, shots_title, spread_of
from interngv.gvb.report.wording import NONE, SHORT, change, metric_title, names, number, score_text, tries_text


def score_tables(scores: Scores) -> Section:
    """Every task's score by every trunk, a table for each number of shots; further scores of a metric folded."""
    tables = [_score_table(scores, shots) for shots in scores.shots]
    text = (
        "Mean ± sample standard deviation over the tries, and their number n; a single try has no deviation. What "
        "failed or is missing is said in its place and is in no mean."
    )
    further = [table for shots in scores.shots for table in [_further(scores, shots)] if table.rows]
    folded = (Section("Further scores of the metrics", tuple(further), folded=True),) if further else ()
    return Section("Scores", (Paragraph(text), *tables, *folded))


def _score_table(scores: Scores, shots: str) -> Table:
    rows = [
        (row.task, row.protocol, metric_title(row.metric), *_across(scores, row, shots))
        for row in scores.rows
        if scores.has(row, shots)
    ]
    return Table(("task", "protocol", "metric", *scores.trunks), tuple(rows), 3, f"Scores at {shots_title(shots)}")


def _across(scores: Scores, row: Row, shots: str) -> list[Text]:
    return [tries_text(scores.at(row, shots, trunk), row.metric) for trunk in scores.trunks]


def _further(scores: Scores, shots: str) -> Table:
    """The scores beside the headline: easy, medium, hard; the four set-ups; AbsRel, delta1, SILog; ..."""
    rows: list[tuple[str, ...]] = []
    for row in scores.rows:
        tries = [scores.at(row, shots, trunk).done for trunk in scores.trunks]
        keys = list(dict.fromkeys(key for cells in tries for cell in cells for key in cell["scores"] or {}))
        if len(keys) > 1:
            rows += [(row.task, row.protocol, key, *(_of_key(cells, key) for cells in tries)) for key in keys]
    header = ("task", "protocol", "score", *scores.trunks)
    return Table(header, tuple(rows), 3, f"Further scores at {shots_title(shots)}")


def _of_key(cells: Sequence, key: str) -> str:
    values = [cell["scores"][key] for cell in cells if key in cell["scores"]]
    return f"{mean(values):.4g} (n={len(values)})" if values else NONE


def mean_table(scores: Scores) -> Section:
    """Means per kind of task, over the tasks that every trunk finished."""
    rows = [
        (*_names(one), *_over(one), *(_mean_text(one, trunk) for trunk in scores.trunks)) for one in kind_means(scores)
    ]
    header = ("shots", "kind of task", "protocol", "over", "left out", *scores.trunks)
    text = (
        "Mean score and, in brackets, mean error over the tasks that every trunk of the row finished; a trunk that "
        "finished none of them is in no mean, and a task that lost some of its tries counts by the others. The error "
        "is 100 less a percentage, or the value itself where lower is better (MR⁻² in %, RMSE in m)."
    )
    return Section("Means per kind of task", (Paragraph(text), Table(header, tuple(rows), 5)))


def _names(one: KindMean | Reduction) -> tuple[str, str, str]:
    return shots_title(one.shots), one.kind, one.protocol


def _mean_text(one: KindMean, trunk: str) -> Text:
    if trunk in one.absent:
        return Marked("nothing finished")
    if trunk not in one.errors:
        return Marked("no common task")
    error = number(one.errors[trunk])
    return f"({error})" if one.scores is None else f"{number(one.scores[trunk])} ({error})"


def _over(one: KindMean | Reduction) -> tuple[str, Text]:
    if not one.left_out:
        return f"all {len(one.tasks)}", "none"
    return f"{len(one.tasks)}: {names(one.tasks)}", Marked(names(one.left_out))


def reduction_section(scores: Scores, baseline: str) -> Section:
    """The paper's headline against the baseline, and, folded, against every other trunk."""
    title = "Error-rate reduction"
    if len(scores.trunks) < 2:
        return Section(title, (Paragraph("One trunk only: there is nothing to reduce the error of."),))
    text = (
        "The paper's headline form. It does not say how it averages, so both readings are given: the change of the "
        "mean error over the tasks (averaged first), and in brackets the mean of the tasks' own changes. Only tasks "
        "that both trunks finished count."
    )
    others = [trunk for trunk in scores.trunks if trunk != baseline]
    folded = [Section(f"Against {trunk}", (_reduction_table(scores, trunk),), folded=True) for trunk in others]
    lead = (Paragraph(text), Bullets(tuple(_headlines(reductions(scores, baseline), baseline))))
    return Section(title, (*lead, _reduction_table(scores, baseline), *folded))


def _headlines(found: Sequence[Reduction], baseline: str) -> Iterator[str]:
    """``mn-b4 against resnet50 at 10 %: mean error rate −40.2 % (cls), −47.3 % (det)``."""
    for trunk, shots in dict.fromkeys((one.trunk, one.shots) for one in found):
        here = [one for one in found if (one.trunk, one.shots) == (trunk, shots)]
        kinds = [one.kind for one in here]
        parts = [
            f"{change(one.of_means)} ({_short(one)}{f', {one.protocol}' if kinds.count(one.kind) > 1 else ''})"
            for one in here
        ]
        yield f"{trunk} against {baseline} at {shots_title(shots)}: mean error rate {names(parts)}"


def _short(one: Reduction) -> str:
    return SHORT.get(one.kind, one.kind)


def _reduction_table(scores: Scores, baseline: str) -> Table:
    rows = [
        (one.trunk, *_names(one), *_over(one), f"{change(one.of_means)} ({change(one.of_tasks)})")
        for one in reductions(scores, baseline)
    ]
    numbers = "change of the mean error (mean change)"
    header = ("trunk", "shots", "kind of task", "protocol", "over", "left out", numbers)
    return Table(header, tuple(rows), 6)


def curve_section(scores: Scores) -> Section:
    """Score against shots, a picture a task."""
    text = "Score against the number of training samples; bars are the sample deviation over the tries."
    pictures = curves(scores)
    return Section("Data-efficiency curves", (Paragraph(text), *pictures) if pictures else (Paragraph("None yet."),))


def noise_section(scores: Scores, baseline: str) -> Section:
    """Which differences from the baseline exceed the noise of the tries."""
    parts = []
    for trunk in scores.trunks:
        if trunk != baseline:
            sides = [[cell for cell in scores.cells if scores.trunk(cell) == name] for name in (baseline, trunk)]
            found, left = differences(*sides)
            lost = tuple(f"{one.task}, {one.protocol}, {shots_title(one.shots)}: {one.reason}" for one in left)
            blocks = (Bullets(tuple(compare.summary(found))), compare.table(found))
            not_compared = (Paragraph(f"Not compared: {len(lost)}."), Bullets(lost)) if lost else ()
            parts.append(Section(f"A = {baseline}, B = {trunk}", (*blocks, *not_compared), folded=True))
    return Section("Differences and the noise of the tries", tuple(parts) or (Paragraph("One trunk only."),))


def published_section(scores: Scores) -> Section:
    """The authors' table beside ours at its 10 %; means over the same tasks on both sides."""
    theirs = published()
    ours = theirs.shots in scores.shots
    trunks = scores.trunks if ours else ()
    rows = [_published_row(theirs, scores, task, trunks) for task in theirs.tasks]
    rows += _published_means(theirs, scores, trunks)
    text = (
        f"Columns 'theirs' are {MARK}: {theirs.protocol}. Source: {theirs.source}, {theirs.url}. [I]: inferred, not "
        "stated by the authors. Protocols and lists are not the same on the two sides."
    )
    none = (
        () if ours else (Paragraph(Marked(f"These results have no cell at {theirs.shots} %: the table stands alone.")),)
    )
    header = ("task", "metric (theirs)", *(f"ours: {trunk}" for trunk in trunks), *_theirs(theirs))
    return Section("Beside the authors' published table", (Paragraph(text), *none, Table(header, tuple(rows), 2)))


def _theirs(theirs: Published) -> list[str]:
    return [f"theirs: {trunk}" for trunk in theirs.trunks]


def _published_row(theirs: Published, scores: Scores, task: str, trunks: Sequence[str]) -> tuple[Text, ...]:
    facts = theirs.tasks[task]
    metric = facts.note or metric_title(facts.metric)
    return (task, metric, *(_ours(theirs, scores, task, trunk) for trunk in trunks), *facts.printed)


def _ours(theirs: Published, scores: Scores, task: str, trunk: str) -> Text:
    """Our scores of a task, by every protocol; a metric that is not the authors' is named."""
    parts = []
    for row in scores.rows:
        tries = scores.at(row, theirs.shots, trunk)
        other = "" if row.metric == theirs.tasks[task].metric else f", {metric_title(row.metric)}"
        if row.task == task and tries.mean is not None:
            score = score_text(tries.mean, tries.deviation, len(tries.scores), row.metric)
            parts.append(f"{score} {row.protocol}{other}")
        elif row.task == task and tries.failed:
            parts.append(f"failed {row.protocol}")
    return "; ".join(parts) or NONE


def _published_means(theirs: Published, scores: Scores, trunks: Sequence[str]) -> list[tuple[Text, ...]]:
    """The mean over the authors' 20 classification tasks, and over those of them that our trunks finished, too."""
    tasks = theirs.of_kind("classification")
    none = [NONE] * len(trunks)
    rows: list[tuple[Text, ...]] = [
        (f"mean of the {len(tasks)} classification tasks", "%", *none, *map(number, theirs.means(tasks)))
    ]
    for protocol, group in _comparable(theirs, scores, tasks) if trunks else ():
        one = kind_mean(scores, group, theirs.shots)
        if one.scores:
            ours = [number(one.scores.get(trunk)) for trunk in trunks]
            which = "the same tasks" if len(one.tasks) == len(tasks) else names(one.tasks)
            rows.append((f"mean of {which} (ours by {protocol})", "%", *ours, *map(number, theirs.means(one.tasks))))
    return rows


def _comparable(theirs: Published, scores: Scores, tasks: Sequence[str]) -> Iterator[tuple[str, list[Row]]]:
    """Our rows, by protocol, that are measured as the authors' are."""
    for (_, protocol), group in spread_of(scores.rows).items():
        alike = [row for row in group if row.task in tasks and row.metric == theirs.tasks[row.task].metric]
        if alike and scores.has(alike[0], theirs.shots):
            yield protocol, alike

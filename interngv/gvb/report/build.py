"""From results to the report's files."""

from pathlib import Path

from interngv.checkpoint.files import replaced
from interngv.errors import UserError, did_you_mean
from interngv.gvb.report import provenance, sections
from interngv.gvb.report.document import Picture, Section
from interngv.gvb.report.html import html
from interngv.gvb.report.markdown import markdown
from interngv.gvb.report.results import Results, read
from interngv.gvb.report.scores import Scores


def build(results: Results, baseline: str | None = None) -> Section:
    """The report, free of form.

    Args:
        baseline: the trunk that error-rate reductions are against; the first one where None.

    Raises:
        UserError: there are no cells, or the baseline is none of the trunks.
    """
    scores = Scores(results)
    if not scores.trunks:
        raise UserError(f"the results of '{results.suite}' have no cells: nothing to report")
    base = scores.trunks[0] if baseline is None else baseline
    if base not in scores.trunks:
        hint = did_you_mean(base, scores.trunks)
        raise UserError(f"the baseline '{base}' is none of the trunks{hint}; they are {', '.join(scores.trunks)}")
    parts = (
        sections.reduction_section(scores, base),
        sections.mean_table(scores),
        sections.score_tables(scores),
        sections.curve_section(scores),
        sections.noise_section(scores, base),
        provenance.class_section(scores),
        sections.published_section(scores),
        provenance.settings_section(scores),
        provenance.list_section(scores),
        provenance.run_section(scores),
        provenance.failure_section(scores),
    )
    return Section(f"Benchmark {results.suite}", (*provenance.overview(scores), *parts))


def write_report(folder: str | Path, baseline: str | None = None) -> list[Path]:
    """Write ``report.html`` (all in one file), ``report.md`` and its ``curves/*.png`` beside ``results.json``.

    The same results give the same bytes. Returns the paths of the two reports.

    Raises:
        UserError: see :func:`interngv.gvb.report.results.read` and :func:`build`.
        OSError: the disk is full, the folder read-only, ...; every file is as it was or whole.
    """
    folder = Path(folder)
    report = build(read(folder), baseline)
    for picture in _pictures(report):
        _write(folder / picture.name, picture.png)
    pages = {"report.html": html(report), "report.md": markdown(report)}
    return [_write(folder / name, text.encode()) for name, text in pages.items()]


def _pictures(section: Section) -> list[Picture]:
    inner = [picture for block in section.blocks if isinstance(block, Section) for picture in _pictures(block)]
    return [block for block in section.blocks if isinstance(block, Picture)] + inner


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as file:
        file.write(data)
    return path

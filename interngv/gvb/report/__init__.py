"""The result of a benchmark: ``results.json``, ``report.html`` and ``report.md``, and the comparison of two results."""

from interngv.gvb.report.build import write_report
from interngv.gvb.report.compare import Comparison, compare
from interngv.gvb.report.results import Cell, Results, read, write

__all__ = ["Cell", "Comparison", "Results", "compare", "read", "write", "write_report"]

"""General Vision Benchmark (GV-B): tasks, percentage-shot lists, protocols, metrics, the grid and its report."""

from interngv.gvb.benchmark_trunk import BenchmarkTrunk
from interngv.gvb.depth_head import DepthHead

__all__ = ["BenchmarkTrunk", "DepthHead"]

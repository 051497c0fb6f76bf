"""General Vision Benchmark (GV-B): percentage-shot lists."""

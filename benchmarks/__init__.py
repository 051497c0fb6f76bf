"""Benchmarks of interngv: each runs as a script, compares with a named peer and ends with one line of figures."""

"""The benchmarks: each is a program of its own (`python -m bench.decide`), and `python -m bench` runs them all beside their targets and baselines."""

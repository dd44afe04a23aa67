"""The functional core: `decide(snapshot, now) -> Decision` and everything it is made of.

Pure: no IO, no clock, no randomness, nothing of the shell. The operator, the simulator, `jevons explain` and the benchmarks call the same functions.
"""

"""One model of an LLM engine, two drivers: the offline simulator here and the live fleet in `jevons.sandbox.fleet`.

Pure: time and randomness are parameters, nothing is read from a cluster. `engine.py` is one replica, `static.py` a fleet of a fixed size over
a trace, `workload.py` reads the traces.
"""

"""Signals from Prometheus, and the only importer of `prometheus_api_client`.

`engines/` and `dcgm.py` say which metrics exist, `queries.py` makes the few queries of a pass from those constants alone, `prometheus.py` asks
within a hard deadline, `samples.py` refuses what is not a number of now, and `reader.py` joins the answers into `Metrics`. No data is never zero:
it is `Unknown`.
"""

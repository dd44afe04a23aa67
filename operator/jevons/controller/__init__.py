"""The operator's process, and the only importer of `kopf`.

`handlers.py` feeds events into the World, `loop.py` observes, decides and acts, `wiring.py` builds it all and keeps it running behind the Lease;
`demand.py` hears the gateways, `metrics.py`, `health.py` and `audit.py` tell others.
"""

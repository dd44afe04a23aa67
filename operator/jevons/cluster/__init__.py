"""Everything that talks to the Kubernetes API server, and the only importer of `kubernetes`.

`connect.py` opens a client, `reflector.py` lists and watches one kind, `world.py` is the operator's own copy of the cluster, `view.py` turns it
into the core's `Snapshot`, and `actuator.py` carries out a `Decision` through `workloads.py`, `scale.py`, `status.py` and `events.py`.
"""

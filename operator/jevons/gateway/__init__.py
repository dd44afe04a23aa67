"""The data plane: one URL, the right model, no request lost.

Envoy terminates, retries and counts; `picker` decides once per request over ext_proc; `room` holds requests to models that are asleep;
`agent` is the one watcher and the one writer of `table.json` (what pickers and room read) and `eds.json` (what Envoy reads); `accounting`
tails Envoy's access log. Every one of them is a process of its own under `supervisor`, and all keep working on the last table while the API
server and the operator are down.
"""

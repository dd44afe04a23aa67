"""The three kinds people write: pydantic models that are the source of `crds/`, and their translation into the core's values.

`inferencedeployment`, `inferencebudget` and `acceleratorclass` say what may be written, `resolve` turns a stored object into `jevons.core.spec` with
every default filled in, `crds` writes the schemas the API server enforces. A bound stands once, on the model: the API server and pydantic both read
it from there.
"""

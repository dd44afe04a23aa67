"""What happens to a request between its last byte and its endpoint: one module per step, pure where it can be.

    1 parse  2 limits  4 session  5 classify  6 choose  7 hold  8 endpoint, and respond: what Envoy is told
    (3, the answer cache, is not built yet)

`decide.py` runs them in order. A step that says no raises `jevons.gateway.errors.Refusal`.
"""

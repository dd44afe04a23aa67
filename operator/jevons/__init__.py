"""Jevons: serve every LLM request with the cheapest model that answers it well.

A functional core (`core/`) decides from a snapshot of the world; a shell reads that world (`cluster/`, `signals/`, `gateway/`), hands it to the core
and carries out what it decided (`controller/`). `docs/designs/0001-the-house.md` draws the rooms and who may import whom.
"""

__version__ = "0.1.0"

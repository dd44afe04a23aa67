"""Benchmark B1: how many dollars a system pays for 1,000 requests when so many of them must be answered in time, and against whom.

The rules are in docs/benchmarks (design: attainment-matched cost, three tiers of peers, splits, seeds, paired intervals, reference points). They are
written so that nobody can win by shedding, by tuning on the tested data, or by luck. One module is one rule:

| module | rule |
|---|---|
| `cell` | what a comparison is made on: a trace, a fleet size, a startup time; replicas and clients chosen so that the size results (`sizing`) |
| `splits` | which part of a trace is for tuning and which for the test; a seed's window |
| `figures` | what is taken from one run |
| `front` | settings as points, the Pareto front, cost at an attainment |
| `bootstrap` | intervals of costs and ratios, paired over blocks and seeds |
| `policies` | who competes, by which knob |
| `tuning` | the two tuned tiers: a grid, halved again and again |
| `reference`, `foresight`, `foresight_mixed` | what nobody can beat, and what knowing the future achieves |
| `jobs`, `study` | runs as plain jobs for a pool; the whole comparison |
| `report`, `plots` | rows, tables and pictures |

Beside it two smaller ones: B2, a zoo of models that sleep (`zoo_workload`, `zoo_member`, `zoo_figures`, `zoo_policies`, `zoo_study`), and B3, a
budget for a month (`budget_world`, `budget_policies`, `budget_study`).
"""

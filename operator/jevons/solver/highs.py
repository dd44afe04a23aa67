"""HiGHS behind the core's port (`core/milp.py`).

One thread, a fixed seed, and limits in nodes, so that a programme has one answer on every machine of a kind and a recorded decision replays. The
limit in seconds is a guard alone: nothing that stays inside the others comes near it, and what does is no answer (the planner's rule stands in).
"""

from __future__ import annotations

import highspy
import numpy as np

from jevons.core.milp import Answer, Model

NAME = f"HiGHS {highspy.HIGHS_VERSION_MAJOR}.{highspy.HIGHS_VERSION_MINOR}.{highspy.HIGHS_VERSION_PATCH}"
"""For recordings: other versions may answer otherwise."""
NODES = 60
LEFT_OUT = (
    "mip_heuristic_run_rins",
    "mip_heuristic_run_rens",
    "mip_heuristic_run_root_reduced_cost",
    "mip_heuristic_run_feasibility_jump",
    "mip_allow_restart",
    "mip_allow_cut_separation_at_nodes",
)
"""Programmes here are small: branching ends before these pay."""
FEASIBLE = 2
GUARD_S = 5.0
GAP = 2e-3
"""Well below what a plan must be better by to be taken (3 %)."""


def solve(model: Model) -> Answer | None:
    """See `core.milp.Solver`."""
    highs = _Quiet()
    for option, value in (
        ("threads", 1),
        ("random_seed", 1),
        ("mip_max_nodes", NODES),
        ("mip_rel_gap", GAP),
        *[(option, False) for option in LEFT_OUT],
        ("mip_heuristic_effort", 0.0),
        ("mip_pscost_minreliable", 0),  # no trial branching: nodes are cheaper here
        ("time_limit", GUARD_S),
    ):
        highs.setOptionValue(option, value)
    highs.passModel(_stated(model))
    if model.begin:
        columns, values = zip(*model.begin, strict=True)
        highs.setSolution(len(columns), np.array(columns, np.int32), np.array(values))
    highs.run()
    ended, info = highs.getModelStatus(), highs.getInfo()
    proven = ended == highspy.HighsModelStatus.kOptimal
    if not proven and (ended != highspy.HighsModelStatus.kSolutionLimit or info.primal_solution_status != FEASIBLE):
        return None
    return Answer(tuple(highs.getSolution().col_value), info.objective_function_value, proven=proven)


class _Quiet(highspy.Highs):
    """Says nothing: the constructor that it passes over sets up callbacks, and prints a banner with them."""

    def __init__(self) -> None:
        super(highspy.Highs, self).__init__()
        self.setOptionValue("output_flag", False)


def _stated(model: Model) -> highspy.HighsLp:
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(model.cost), len(model.row_lower)
    lp.col_cost_ = np.array(model.cost)
    lp.col_lower_, lp.col_upper_ = np.array(model.lower), np.array(model.upper)
    lp.row_lower_, lp.row_upper_ = np.array(model.row_lower), np.array(model.row_upper)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.array([*model.starts, len(model.columns)], np.int32)
    lp.a_matrix_.index_ = np.array(model.columns, np.int32)
    lp.a_matrix_.value_ = np.array(model.values)
    kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
    lp.integrality_ = [kinds[whole] for whole in model.whole]
    return lp

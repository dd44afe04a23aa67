"""Solves the planner's integer programmes with HiGHS: the one room that imports `highspy`."""

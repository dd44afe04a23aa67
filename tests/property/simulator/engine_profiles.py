"""Profiles of small engines: memory, batch and chunks so tight that a few requests meet every bound."""

from __future__ import annotations

from hypothesis import strategies as st

from jevons.core.spec import Profile

profiles = st.builds(
    Profile,
    itl_a_s=st.floats(0.001, 0.03),
    itl_b_s=st.floats(0, 0.001),
    itl_c_s=st.floats(0, 0.0005),
    prefill_p0_s=st.floats(0.001, 0.02),
    prefill_p1_s=st.floats(0.001, 0.5),
    prefill_p2_s=st.floats(0, 0.01),
    kv_tokens=st.integers(200, 1500),
    max_num_seqs=st.integers(1, 8),
    chunk_tokens=st.integers(1, 300),
)

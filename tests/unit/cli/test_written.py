import json
import math

import numpy as np

from jevons.cli.written import held, write_json


def test_numbers_that_json_cannot_hold_are_null_and_the_others_stay(tmp_path):
    document = {"usd": math.inf, "rows": [(np.float32(0.5), np.float64("nan"), np.int64(3), True, None)], "by": {"x": -math.inf}}
    write_json(tmp_path / "out.json", document)
    assert json.loads((tmp_path / "out.json").read_text()) == {"usd": None, "rows": [[0.5, None, 3, True, None]], "by": {"x": None}}


def test_a_thing_that_is_no_figure_is_written_as_its_text(tmp_path):
    write_json(tmp_path / "out.json", {"where": tmp_path})
    assert json.loads((tmp_path / "out.json").read_text()) == {"where": str(tmp_path)}
    assert held("inf") == "inf"

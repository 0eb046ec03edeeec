"""The certificate's probe judges gradients, also where a current is all but zero."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np

from benchmarks.simbench_cases import simbench_case
from opf.clearing import clear_case


def test_small_limits_are_probed_where_their_current_is_all_but_straight() -> None:
    # with steps of 1 kW the curvature of these currents reads as an error of 1.6e-3
    case = simbench_case("1-LV-rural1--0-sw", date(2016, 7, 25))
    lines = np.full_like(case.limits.line_loading_percent_max, 5.0)
    result = clear_case(replace(case, limits=replace(case.limits, line_loading_percent_max=lines)))
    assert result.certificate is not None
    assert result.status == "certified_with_slack", result.message
    assert result.certificate.probe_error < 1e-5

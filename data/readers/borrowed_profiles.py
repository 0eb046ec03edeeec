"""A grid without records of its own follows the recorded profiles of another, one by one."""

from __future__ import annotations

import numpy as np

from data.errors import Problem, refuse_if_any
from data.readers.simbench import RecordedProfiles, SimbenchGrid
from data.records.network import Ints, Network


def borrow_profiles(network: Network, lender: SimbenchGrid) -> SimbenchGrid:
    """Let every load and generator of a network follow one of the lender's, in turn.

    Only shares are borrowed: each element keeps its own power, which the share multiplies.

    Parameters
    ----------
    network : Network
        A grid whose elements have one power each.
    lender : SimbenchGrid
        A grid with recorded profiles.

    Raises
    ------
    InputError
        If the network has generators and the lender has none.
    """
    recorded, loads, sgens = lender.profiles, network.loads, network.sgens
    problems = []
    if len(sgens.index) and not len(recorded.sgen_column):
        what = "has generators, the grid that lends its profiles has none"
        problems.append(Problem(where=network.name, what=what, remedy="name another one"))
    if len(loads.index) and not len(recorded.load_p_column):
        what = "has loads, the grid that lends its profiles has none"
        problems.append(Problem(where=network.name, what=what, remedy="name another one"))
    refuse_if_any(problems)
    return SimbenchGrid(
        network=network,
        profiles=RecordedProfiles(
            start=recorded.start,
            shares=recorded.shares,
            load_p_column=_in_turn(recorded.load_p_column, len(loads.index)),
            load_q_column=_in_turn(recorded.load_q_column, len(loads.index)),
            sgen_column=_in_turn(recorded.sgen_column, len(sgens.index)),
            load_p_mw_base=loads.p_mw,
            load_q_mvar_base=loads.q_mvar,
            sgen_p_mw_base=sgens.p_mw,
            sgen_q_mvar_base=sgens.q_mvar,
        ),
    )


def _in_turn(columns: Ints, count: int) -> Ints:
    """Return the first ``count`` of the columns, from the beginning again after the last."""
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    chosen: Ints = columns[np.arange(count) % len(columns)]
    return chosen

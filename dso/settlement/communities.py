"""Energy communities: who gets which share of a generator's energy, in whole Wh.

With generation g and withdrawals w of one period, both metered:

============  ================================================================================
key           energy of member i
============  ================================================================================
``static``    min(w_i, floor(share_i g))
``pro_rata``  min(g, sum w) shared in proportion to w, whole Wh, largest remainder first
============  ================================================================================

These are the fixed and the dynamic default key of collective self-consumption (French Energy
Code D315-6; in Germany the static and dynamic key of section 42b EnWG, where likewise nobody is
given more than he withdraws). What no member takes is the generator's own.

Money follows the rule of bilateral orders: between member and generator the community's price
applies, and the grid between them costs the difference of their bus prices. Everybody has
already paid and received bus prices, so what is left is a contract for difference on the shared
energy, ``price of the community - day-ahead price at the generator``, which sums to zero.
"""

from __future__ import annotations

from data.records.settlement import Community
from data.units import MICRO_PER_UNIT, share_out


def share_energy(
    community: Community, generation_wh: int, withdrawal_wh: dict[tuple[str, str], int]
) -> dict[tuple[str, str], int]:
    """Share the generation of one period among the members.

    Parameters
    ----------
    community : Community
        Members and key.
    generation_wh : int
        Metered injection of the generator [Wh]; below 0 it counts as 0.
    withdrawal_wh : dict
        Metered withdrawal of every member [Wh]; below 0 it counts as 0.

    Returns
    -------
    dict
        Energy of every member who gets some [Wh]; the sum is at most the generation.
    """
    available_wh = max(0, generation_wh)
    members = sorted(community.members, key=lambda m: (m.participant, m.connection))
    owners = [(m.participant, m.connection) for m in members]
    wanted = [max(0, withdrawal_wh.get(owner, 0)) for owner in owners]
    if community.key == "static":
        shares = [
            min(most, available_wh * member.share_ppm // MICRO_PER_UNIT)
            for member, most in zip(members, wanted, strict=True)
        ]
    elif sum(wanted):
        shares = share_out(min(available_wh, sum(wanted)), wanted)
    else:
        shares = [0] * len(members)
    return {owner: wh for owner, wh in zip(owners, shares, strict=True) if wh}

"""The grid in engineering units, as tables of columns (numpy arrays of equal length)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Buses:
    """Buses; ``vm_pu_min``/``vm_pu_max`` are NaN where the network states no limit.

    ``longitude``/``latitude`` [deg] are NaN where unknown.
    """

    index: Ints
    name: tuple[str, ...]
    vn_kv: Floats
    vm_pu_min: Floats
    vm_pu_max: Floats
    in_service: Bools
    longitude: Floats
    latitude: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines and cables; values are per line with its parallel systems counted in ``parallel``.

    ``closed_from``/``closed_to`` tell whether the switch at that end is closed (an end open leaves
    the line's charging at the other). ``loading_percent_max`` is NaN where not stated. ``max_i_ka``
    is per system, ``derating`` multiplies it.
    """

    index: Ints
    name: tuple[str, ...]
    from_bus: Ints
    to_bus: Ints
    length_km: Floats
    r_ohm_per_km: Floats
    x_ohm_per_km: Floats
    c_nf_per_km: Floats
    g_us_per_km: Floats
    max_i_ka: Floats
    derating: Floats
    parallel: Ints
    loading_percent_max: Floats
    in_service: Bools
    closed_from: Bools
    closed_to: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class Trafos:
    """Two-winding transformers, nameplate values; ``tap_*`` as pandapower has them.

    ``tap_side`` is ``"hv"``, ``"lv"`` or ``""``; ``ratio_hv``/``ratio_lv`` are the factors on the
    rated voltages that the tap position gives (1 without tap); ``shift_degree`` includes the tap.
    """

    index: Ints
    name: tuple[str, ...]
    hv_bus: Ints
    lv_bus: Ints
    sn_mva: Floats
    vn_hv_kv: Floats
    vn_lv_kv: Floats
    vk_percent: Floats
    vkr_percent: Floats
    pfe_kw: Floats
    i0_percent: Floats
    shift_degree: Floats
    ratio_hv: Floats
    ratio_lv: Floats
    derating: Floats
    parallel: Ints
    loading_percent_max: Floats
    in_service: Bools
    closed_hv: Bools
    closed_lv: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class TapChangers:
    """Tap changers of transformers as pandapower has them; what they do is in `Trafos`.

    ``trafo`` is the transformer's number; ``side`` is ``"hv"`` or ``"lv"``. Each step off
    ``neutral`` adds ``step_percent`` of the rated voltage at the angle ``step_degree``, or, where
    ``ideal``, turns the phase only. ``pos_min``/``pos_max`` are NaN where not stated.
    """

    trafo: Ints
    side: tuple[str, ...]
    pos: Floats
    neutral: Floats
    pos_min: Floats
    pos_max: Floats
    step_percent: Floats
    step_degree: Floats
    ideal: Bools


def no_tap_changers() -> TapChangers:
    """Return the empty table."""
    none = np.zeros(0)
    return TapChangers(
        trafo=none.astype(np.int64),
        side=(),
        pos=none,
        neutral=none,
        pos_min=none,
        pos_max=none,
        step_percent=none,
        step_degree=none,
        ideal=none.astype(bool),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Elements:
    """Loads or static generators: p_mw/q_mvar with pandapower's own sign (load + withdrawal,
    sgen + injection), already multiplied by ``scaling``; ``scaling`` also applies to profiles.

    ``technology`` is free text (SimBench's ``type`` for sgens, e.g. ``Wind_MV``), ``profile`` the
    name of the recorded profile or ``""``.
    """

    index: Ints
    name: tuple[str, ...]
    bus: Ints
    p_mw: Floats
    q_mvar: Floats
    sn_mva: Floats
    scaling: Floats
    in_service: Bools
    technology: tuple[str, ...]
    profile: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Storages:
    """Storage units as the network lists them; how they behave is stated by orders."""

    index: Ints
    name: tuple[str, ...]
    bus: Ints
    p_mw_max: Floats
    energy_mwh_min: Floats
    energy_mwh_max: Floats
    efficiency: Floats
    in_service: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class Shunts:
    """Shunts: power drawn at 1 pu, + withdrawal."""

    index: Ints
    bus: Ints
    p_mw: Floats
    q_mvar: Floats
    in_service: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One grid with one substation (the ext_grid, which sets the voltage there).

    Parameters
    ----------
    name : str
        Name the network is known by, e.g. ``simbench:1-MV-rural--2-sw``.
    frequency_hz : float
        Nominal frequency [Hz].
    slack_bus : int
        Bus of the ext_grid.
    slack_vm_pu, slack_va_degree : float
        Its voltage [pu] and angle [deg].
    bus_links : ndarray of int, shape (n, 2)
        Closed bus-bus switches: pairs of buses that are one node.
    other_elements : tuple of str
        Elements that need an order or are not supported (``gen:3``, ``motor:0``, ``trafo3w:1``).
    tap_changers : TapChangers
        Where a what-if may move a tap; not part of a case's hash, because ratio and shift are.
    """

    name: str
    frequency_hz: float
    slack_bus: int
    slack_vm_pu: float
    slack_va_degree: float
    buses: Buses
    lines: Lines
    trafos: Trafos
    loads: Elements
    sgens: Elements
    storages: Storages
    shunts: Shunts
    bus_links: Ints
    other_elements: tuple[str, ...] = ()
    tap_changers: TapChangers = field(default_factory=no_tap_changers)

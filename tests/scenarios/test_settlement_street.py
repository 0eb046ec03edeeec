"""A month of a street: revised twice, one dispute accepted and one rejected, everything adds up."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from dso.cli.main import main
from dso.settlement import read_settlement, settle
from dso.settlement.outputs import lines_csv
from tests.support.settled_street import (
    CONTESTED,
    DOUBLED,
    HOUSES,
    LEAVES_AT,
    PERIODS,
    PLANT,
    SUPPLIER,
    Knowledge,
    loads_wh,
    payment_terms,
    sun_wh,
    write_street,
)
from tests.support.street_disputes import DECIDED, OPENED

pytestmark = pytest.mark.slow
SCHEMA = "{urn:iso:std:iso:20022:tech:xsd:pain.001.001.03}"


@dataclass(frozen=True)
class Street:
    """Output folders of the first settlement and of both revisions."""

    runs: tuple[Path, Path, Path]

    def lines(self, run: int) -> list[dict[str, str]]:
        return rows(self.runs[run] / "lines.csv")

    def deltas(self, run: int) -> list[dict[str, str]]:
        return rows(self.runs[run] / "deltas.csv")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Street:
    """Settle in July, revise when late readings come, and again when disputes are decided."""
    root = tmp_path_factory.mktemp("street")
    (root / "payments.toml").write_text(payment_terms())
    (root / "opened.csv").write_text(OPENED)
    (root / "decided.csv").write_text(DECIDED)
    known = (
        Knowledge(),
        Knowledge(late_arrived=True, revised_contested=True),
        Knowledge(late_arrived=True, revised_contested=True, doubled_corrected=True),
    )
    runs: list[Path] = []
    for number, (knowledge, disputes) in enumerate(
        zip(known, ("opened.csv", "opened.csv", "decided.csv"), strict=True)
    ):
        folder, out = root / f"in-{number}", root / f"out-{number}"
        folder.mkdir()
        write_street(folder, knowledge)
        words = ["settle", str(folder), "--out", str(out), "--disputes", str(root / disputes)]
        words += ["--payments", str(root / "payments.toml")]
        words += ["--earlier", str(runs[-1])] if runs else []
        assert main(words) == 0
        runs.append(out)
    return Street(runs=(runs[0], runs[1], runs[2]))


def sums(lines: list[dict[str, str]]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for line in lines:
        found[line["period_start"], line["market"]] += int(line["amount_micro_eur"])
    return found


@pytest.mark.parametrize("run", [0, 1, 2])
def test_every_market_and_period_sums_to_zero_in_every_revision(street: Street, run: int) -> None:
    assert set(sums(street.lines(run)).values()) == {0}
    if run:
        assert set(sums(street.deltas(run)).values()) <= {0}


def test_the_deltas_lead_from_one_revision_to_the_next(street: Street) -> None:
    def key(line: dict[str, str]) -> tuple[str, ...]:
        return tuple(line[k] for k in ("participant", "connection", "period_start", "kind"))

    for run in (1, 2):
        standing: Counter[tuple[str, ...]] = Counter()
        for line in (*street.lines(run - 1), *street.deltas(run)):
            standing[key(line)] += int(line["amount_micro_eur"])
        after: Counter[tuple[str, ...]] = Counter()
        for line in street.lines(run):
            after[key(line)] += int(line["amount_micro_eur"])
        assert {k: v for k, v in standing.items() if v} == {k: v for k, v in after.items() if v}


def test_after_both_decisions_the_lines_are_those_of_a_fresh_settlement(street: Street) -> None:
    fresh = settle(read_settlement(street.runs[2].parent / "in-2"))
    assert (street.runs[2] / "lines.csv").read_bytes() == lines_csv(fresh.lines)


def test_contested_lines_stand_still_and_the_change_waits(street: Street) -> None:
    labels = set(PERIODS.labels()[CONTESTED])

    def contested(run: int) -> Counter[tuple[str, ...]]:
        return Counter(
            tuple(line.values())
            for line in street.lines(run)
            if line["participant"] == "house-11" and line["period_start"] in labels
        )

    assert contested(1) == contested(0)
    assert contested(2) != contested(1)
    waiting = [line for line in street.lines(1) if line["kind"] == "dispute"]
    assert {line["participant"] for line in waiting} == {"account:dispute/D-2"}
    assert {line["period_start"] for line in waiting} == labels
    assert not [line for line in street.lines(2) if line["kind"] == "dispute"]


def test_the_accepted_dispute_gives_back_what_the_meter_counted_twice(street: Street) -> None:
    """House-03: 24 hours at twice the load; the imbalance falls by exactly that energy."""
    labels = set(PERIODS.labels()[DOUBLED])
    energy: Counter[int] = Counter()
    for run in (1, 2):
        for line in street.lines(run):
            mine = line["participant"] == "house-03" and line["period_start"] in labels
            if mine and line["kind"] in ("da", "imbalance"):
                energy[run] += int(line["quantity_wh"])
    assert energy[2] - energy[1] == int(loads_wh()[DOUBLED, 2].sum())


def test_the_tenant_pays_until_he_leaves_and_the_supplier_after_that(street: Street) -> None:
    leaves = PERIODS.labels()[LEAVES_AT]
    days: dict[str, set[str]] = {"house-15": set(), SUPPLIER: set()}
    for line in street.lines(0):
        if line["connection"] == "house-15":
            days[line["participant"]].add(line["period_start"])
    assert max(days["house-15"]) < leaves == min(days[SUPPLIER])
    assert len(days["house-15"]) + len(days[SUPPLIER]) == PERIODS.count


def test_the_late_readings_of_the_exchanged_meter_move_only_its_hours(street: Street) -> None:
    moved = {
        line["period_start"]
        for line in street.deltas(1)
        if line["participant"] == "house-07" and line["kind"] == "imbalance"
    }
    assert moved <= set(PERIODS.labels()[11 * 24 + 9 : 11 * 24 + 19])
    assert moved
    notes = rows(street.runs[0].parent / "in-0" / "meters.csv")
    assert [(n["meter"], n["method"]) for n in notes] == [
        ("M-1007", "measured"), ("M-2007", "like days"), ("M-2007", "measured"),
    ]  # fmt: skip
    after = rows(street.runs[0].parent / "in-1" / "meters.csv")
    assert [(n["meter"], n["method"]) for n in after] == [
        ("M-1007", "measured"), ("M-2007", "measured"),
    ]  # fmt: skip


def test_the_street_shares_what_the_roof_makes(street: Street) -> None:
    shared = Counter[str]()
    taken = Counter[str]()
    for line in street.lines(2):
        if line["kind"] == "community":
            own = shared if line["participant"] == PLANT[0] else taken
            own[line["period_start"]] += int(line["quantity_wh"])
    used = loads_wh().copy()
    used[CONTESTED, 10] += 35
    used[LEAVES_AT:, 14] = 0  # the supplier of an empty flat is no member
    for t, label in enumerate(PERIODS.labels()):
        assert shared[label] == -taken[label] == min(int(sun_wh()[t]), int(used[t].sum()))
    assert len({r["participant"] for r in street.lines(2) if r["kind"] == "community"}) == 21


def test_payments_follow_the_lines_to_the_last_micro_eur(street: Street) -> None:
    for run in (0, 1, 2):
        net: Counter[str] = Counter()
        for line in street.lines(run):
            net[line["participant"]] += int(line["amount_micro_eur"])
        for row in rows(street.runs[run] / "payments.csv"):
            paid = 10_000 * (int(row["paid_before_cent"]) + int(row["due_cent"]))
            held = int(row["contested_micro_eur"])
            assert net[row["participant"]] - held == paid + int(row["carried_micro_eur"])
            assert abs(int(row["carried_micro_eur"])) <= 5_000
    first, last = (
        {row["participant"]: row for row in rows(street.runs[run] / "payments.csv")}
        for run in (0, 2)
    )
    assert int(first["house-03"]["contested_micro_eur"]) < 0
    assert int(last["house-03"]["contested_micro_eur"]) == 0
    assert last["house-03"]["paid_before_cent"] != "0"


def test_the_remittance_file_pays_what_payments_say(street: Street) -> None:
    document = ET.parse(street.runs[0] / "remittance.xml")
    due = [int(row["due_cent"]) for row in rows(street.runs[0] / "payments.csv")]
    paid = [amount.text or "" for amount in document.iter(f"{SCHEMA}InstdAmt")]
    assert [int(text.replace(".", "")) for text in paid] == [cent for cent in due if cent > 0]
    assert document.findtext(f".//{SCHEMA}MsgId") == "2026-06-street"


def test_key_figures_of_the_month(street: Street) -> None:
    figures = json.loads((street.runs[2] / "indicators.json").read_text())
    loads = loads_wh().copy()
    loads[CONTESTED, 10] += 35
    assert figures["participants"] == len(HOUSES) + 2
    assert figures["congestion_hours"] == 30
    used = loads.sum() * 1.03
    assert figures["consumption_mwh"] == pytest.approx(used / 1e6, abs=1e-3)
    both = sum(min(int(sun_wh()[t]), loads[t].sum() * 1.03) for t in range(PERIODS.count))
    assert figures["local_renewable_share"] == pytest.approx(both / used, abs=1e-4)
    grams = 41 * sun_wh().sum() / 1e3
    for t in range(PERIODS.count):
        factor = 380 - 120 * (t % 24 in range(9, 17))
        grams += factor * max(0, loads[t].sum() * 1.03 - int(sun_wh()[t])) / 1e3
    assert figures["co2_kg"] == pytest.approx(grams / 1e3, rel=1e-3)

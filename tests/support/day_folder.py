"""Write a made-up delivery day in the shape its stages leave it: for the report's tests only."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.canonical import csv_bytes, pretty_json
from data.periods import DeliveryDay, Periods
from data.units import price_micro_eur
from tests.support.feeder_sketch import FeederSketch, linear_flow

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One invented day: (sites, periods) unless said otherwise."""

    sketch: FeederSketch
    periods: Periods
    hour: Floats
    load_mw: Floats
    renewable_mw: Floats
    sold_mw: Floats
    storage_mw: Floats
    soc_mwh: Floats
    import_price: Floats
    price: Floats  # (buses, periods)
    vm_pu: Floats
    loading: Floats
    power: Floats
    vm_without: Floats
    loading_without: Floats
    resistance: Floats


def write_day_folder(
    folder: Path,
    sketch: FeederSketch,
    *,
    day: date = date(2016, 7, 25),
    renewables_mw_max: float = 34.0,
    rounds: bool = True,
    unsolved: bool = False,
) -> Path:
    """Write all files that ``build_report`` reads and return the folder."""
    story = invent(sketch, day, renewables_mw_max)
    about = {
        "day": day.isoformat(), "timezone": "Europe/Berlin", "feeder": "Rural medium voltage",
        "network_ref": "simbench:1-MV-rural--2-sw", "market": "local market, AC prices",
        "mtu_minutes": 15, "operator": "Example Netz",
        "stages": [{"name": name, "seconds": 1.0} for name in ("forecast", "orders", "clear")],
    }  # fmt: skip
    _put(folder / "day.json", pretty_json(about))
    _clearing(folder / "clearing", story, first=0, name="day ahead")
    _put(folder / "clearing/feeder_map.json", pretty_json(sketch.feeder_map()))
    if rounds:
        for first in range(0, len(story.periods), 4):
            label = f"{story.periods.starts[first]:%Y%m%dT%H%MZ}"
            _clearing(folder / "clearing/intraday" / label, story, first=first, name=label)
    _forecast(folder / "forecast/feeder.csv", story)
    _dispatch(folder / "dispatch", story, unsolved=unsolved)
    _settlement(folder / "settlement", story)
    _bundle(folder / "bundle")
    return folder


def invent(sketch: FeederSketch, day: date, renewables_mw_max: float) -> Story:
    """Invent loads, renewables, what the grid carries of them and prices that tell it."""
    periods = DeliveryDay(day=day).periods
    rng = np.random.default_rng(20160725)
    hour = np.arange(len(periods)) * periods.mtu_h
    sites = len(sketch.sites)
    row = {int(str(bus["bus"])): k for k, bus in enumerate(sketch.buses)}
    place = [row[bus] for bus in sketch.sites]
    share = rng.dirichlet(np.full(sites, 2.0))[:, None]
    daily = 3.2 + 1.6 * np.exp(-((hour - 12) ** 2) / 8) + 2.4 * np.exp(-((hour - 19.5) ** 2) / 5)
    load = share * daily * (1 + 0.08 * rng.standard_normal((sites, len(hour))))
    sun = np.clip(np.sin(np.pi * (hour - 5.2) / 15.6), 0, None) ** 1.4
    clouds = 1 - 0.3 * np.abs(np.sin(hour * 2.1)) * (sun > 0)
    renewable = rng.dirichlet(np.full(sites, 3.0))[:, None] * renewables_mw_max * sun * clouds

    def state(sold: Floats, storage: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        injection = np.zeros((len(row), len(hour)))
        injection[place] = sold + storage - load
        return linear_flow(sketch, injection)

    vm_without, loading_without, _, resistance = state(renewable, np.zeros_like(load))
    charge = np.clip(sun * 1.2 - 0.75, 0, None)
    discharge = np.exp(-((hour - 20) ** 2) / 3)
    discharge *= charge.sum() * 0.9 / discharge.sum()
    size = 0.12 * renewables_mw_max * share
    storage = size * (discharge - charge)
    soc = size * (0.4 + np.cumsum(0.95 * charge - discharge / 0.95) * periods.mtu_h)
    keep = np.ones(len(hour))
    vm, loading, power, _ = state(renewable, storage)
    for _ in range(40):  # sell less in the periods that break a limit
        broken = (vm.max(axis=0) > sketch.vm_pu_max) | (loading.max(axis=0) > 100)
        if not broken.any():
            break
        keep[broken] *= 0.95
        vm, loading, power, _ = state(renewable * keep, storage)
    wholesale = 31 + 9 * np.cos((hour - 19.5) / 24 * 4 * np.pi) - 14 * sun
    worst = int(np.argmax(vm_without.max(axis=1)))
    near_limit = np.minimum(resistance / max(resistance[worst], 1e-9), 1.0)[:, None]
    losses = 0.03 * near_limit * np.sign(4 - 10 * sun)
    price = wholesale * (1 + losses) - near_limit * (keep < 1) * (wholesale * 1.15 + 4)
    return Story(
        sketch=sketch, periods=periods, hour=hour, load_mw=load, renewable_mw=renewable,
        sold_mw=renewable * keep, storage_mw=storage, soc_mwh=soc, import_price=wholesale,
        price=price, vm_pu=vm, loading=loading, power=power, vm_without=vm_without,
        loading_without=loading_without, resistance=resistance,
    )  # fmt: skip


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _clearing(folder: Path, story: Story, *, first: int, name: str) -> None:
    labels = story.periods.labels()
    bus_ids = [bus["bus"] for bus in story.sketch.buses]
    shift = 0.0 if name == "day ahead" else 0.6 * np.sin(first)
    times = range(first, len(labels) if name == "day ahead" else min(first + 6, len(labels)))
    congestion = np.minimum(story.price - story.import_price, 0) * 0.3
    voltage = np.minimum(story.price - story.import_price, 0) * 0.6
    loss = story.price - story.import_price - congestion - voltage
    prices, parts, buses, branches = [], [], [], []
    for t in times:
        energy = story.import_price[t] + shift
        for k, bus in enumerate(bus_ids):
            dlmp = story.price[k, t] + shift
            prices.append(
                (bus, labels[t], dlmp, 0.0, energy, loss[k, t], congestion[k, t], voltage[k, t])
            )
            buses.append((bus, labels[t], story.vm_pu[k, t], 0.0, 0.0))
            if abs(voltage[k, t]) > 0.5:
                worst = bus_ids[int(np.argmax(story.vm_without.max(axis=1)))]
                parts.append((bus, labels[t], "bus", worst, "upper", voltage[k, t], 0.0))
                parts.append((bus, labels[t], "line", 0, "to", congestion[k, t], 0.0))
        for k, branch in enumerate(story.sketch.branches):
            if branch.in_service:
                branches.append(
                    (branch.element_kind, branch.element, labels[t], story.power[k, t],
                     0.1, story.loading[k, t], 0.0)
                )  # fmt: skip
    _put(
        folder / "prices.csv",
        csv_bytes(
            ("bus", "period_start", "dlmp_p_eur_per_mwh", "dlmp_q_eur_per_mvarh",
             "energy_eur_per_mwh", "loss_eur_per_mwh", "congestion_eur_per_mwh",
             "voltage_eur_per_mwh"),
            prices,
        ),
    )  # fmt: skip
    _put(
        folder / "price_parts.csv",
        csv_bytes(
            ("bus", "period_start", "element_kind", "element", "side", "p_eur_per_mwh",
             "q_eur_per_mvarh"),
            parts,
        ),
    )  # fmt: skip
    _put(
        folder / "buses.csv",
        csv_bytes(
            ("bus", "period_start", "vm_pu", "shadow_price_upper_eur_per_pu_h",
             "shadow_price_lower_eur_per_pu_h"),
            buses,
        ),
    )  # fmt: skip
    _put(
        folder / "branches.csv",
        csv_bytes(
            ("element_kind", "element", "period_start", "p_from_mw", "q_from_mvar",
             "loading_percent", "shadow_price_eur_per_mva_h"),
            branches,
        ),
    )  # fmt: skip
    _put(folder / "summary.json", pretty_json(_summary(name, first)))
    if name == "day ahead":
        _orders(folder, story)


def _summary(name: str, first: int) -> dict[str, object]:
    return {
        "status": "certified", "objective_eur": -1234.5 - first, "penalty_eur": 0.0,
        "violations": [], "bound_eur": -1234.6, "bound_kind": "lp", "gap": 1e-7,
        "certificate": {
            "replay_engine": "power-grid-model", "replay_vm_pu_error_max": 3.1e-9,
            "worst_voltage_violation_pu": 0.0, "worst_loading_violation_percent": 0.0,
            "stationarity": 4.2e-8, "complementarity": 1.1e-8, "dual_sign": 0.0,
            "parts_residual_eur_per_mwh": 2.2e-13, "energy_balance_mw": 6e-9,
            "probe_error": 8e-7, "iterations": 7, "solver": "highs",
        },
        "input_sha256": hashlib.sha256(name.encode()).hexdigest(),
        "versions": {"highspy": "1.15.1", "numpy": "2.4.6"},
    }  # fmt: skip


def _orders(folder: Path, story: Story) -> None:
    labels = story.periods.labels()
    awards = [
        (f"storage-{bus}", bus, labels[t], story.storage_mw[s, t], 0.0, 0.0, 1.0, None, None,
         story.soc_mwh[s, t])
        for s, bus in enumerate(story.sketch.sites)
        for t in range(len(labels))
    ]  # fmt: skip
    _put(
        folder / "awards.csv",
        csv_bytes(
            ("order", "bus", "period_start", "injection_mw", "injection_mvar", "energy_mwh",
             "accepted_share", "charge_mw", "discharge_mw", "soc_mwh"),
            awards,
        ),
    )  # fmt: skip
    orders = [
        {"id": f"storage-{bus}", "kind": "storage", "participant": f"aggregator-{'ab'[s % 2]}",
         "bus": bus, "asset": f"storage:{s}",
         "energy_mwh_max": float(f"{story.soc_mwh[s].max() * 1.05:.6g}")}
        for s, bus in enumerate(story.sketch.sites)
    ]  # fmt: skip
    _put(folder / "orders.json", pretty_json(orders))
    states = [(f"storage-{bus}", "accepted", 1.0, "", "") for bus in story.sketch.sites]
    states += [(f"pv-{bus}", "partial", 1.0, "voltage", "bus 5") for bus in story.sketch.sites]
    header = ("order", "status", "surplus_eur", "reason", "binding_element")
    _put(folder / "orders.csv", csv_bytes(header, states))
    rows = list(zip(labels, story.import_price, strict=True))
    _put(folder / "import_price.csv", csv_bytes(("period_start", "eur_per_mwh"), rows))
    study = 'name = "made-up day"\nperiods = 96\n[limits]\nvm_pu_min = 0.965\nvm_pu_max = 1.055\n'
    _put(folder / "study.toml", study.encode())


def _forecast(path: Path, story: Story) -> None:
    rng = np.random.default_rng(7)
    labels = story.periods.labels()
    wind = 4 + 2.5 * np.sin(story.hour / 4)
    totals = {
        "load": story.load_mw.sum(axis=0), "wind": wind,
        "renewables": story.renewable_mw.sum(axis=0), "other": np.full(len(labels), 0.9),
    }  # fmt: skip
    spread = np.array([-1.28, -0.84, -0.52, -0.25, 0.0, 0.25, 0.52, 0.84, 1.28])
    rows = []
    for kind, total in totals.items():
        sigma = 0.05 + 0.12 * total
        walk = np.cumsum(rng.standard_normal(len(labels))) * 0.25
        walk -= np.linspace(0, walk[-1], len(labels))
        for t, label in enumerate(labels):
            band = np.maximum(total[t] + sigma[t] * spread, 0)
            actual = max(total[t] + sigma[t] * walk[t] * 0.6, 0)
            rows.append((kind, label, *band.tolist(), actual))
    header = ("kind", "period_start", *(f"q{level}0" for level in range(1, 10)), "actual_mw")
    _put(path, csv_bytes(header, rows))


def _dispatch(folder: Path, story: Story, *, unsolved: bool) -> None:
    rng = np.random.default_rng(11)
    labels = story.periods.labels()
    rows: list[tuple[object, ...]] = []
    for s, bus in enumerate(story.sketch.sites):
        drift = 0.01 * np.cumsum(rng.standard_normal(len(labels))) * story.soc_mwh[s].max() * 0.2
        for t, label in enumerate(labels):
            told = story.storage_mw[s, t]
            soc = max(story.soc_mwh[s, t] + drift[t], 0)
            rows.append((f"storage-{bus}", f"storage:{s}", bus, label, told, told * 0.985, soc))
            told = story.sold_mw[s, t]
            rows.append((f"pv-{bus}", f"sgen:{s}", bus, label, told, told * 0.99, None))
    header = ("order", "asset", "bus", "period_start", "setpoint_mw", "delivered_mw", "soc_mwh")
    _put(folder / "delivery.csv", csv_bytes(header, rows))
    # What devices did differs a little from the schedule: enough to break a limit, or not.
    vm_done = story.vm_pu + (0.0006 if unsolved else -0.0002)
    states = {
        "without_market": (story.vm_without, story.loading_without),
        "schedule": (story.vm_pu, story.loading),
        "with_market": (vm_done, story.loading),
    }
    found = [row for name, state in states.items() for row in _violations(name, story, *state)]
    header = (
        "scenario", "element_kind", "element", "period_start", "side", "value", "limit", "unit",
    )  # fmt: skip
    _put(folder / "violations.csv", csv_bytes(header, found))
    replay = {}
    for scenario, (vm, loading) in states.items():
        mine = [row for row in found if row[0] == scenario]
        replay[scenario] = {
            "engine": "power-grid-model",
            "periods_violated": len({row[3] for row in mine}),
            "violations": len(mine),
            "worst_voltage_pu": float(vm.max()),
            "worst_voltage_violation_pu": float(max(vm.max() - story.sketch.vm_pu_max, 0)),
            "worst_loading_percent": float(loading.max()),
            "worst_loading_violation_percent": float(max(loading.max() - 100, 0)),
            "losses_mwh": float(loading.mean() / 20),
        }
    _put(folder / "replay.json", pretty_json(replay))


def _violations(
    scenario: str, story: Story, vm: Floats, loading: Floats
) -> list[tuple[object, ...]]:
    labels = story.periods.labels()
    limit = story.sketch.vm_pu_max
    rows: list[tuple[object, ...]] = []
    for t, label in enumerate(labels):
        for k, bus in enumerate(story.sketch.buses):
            if vm[k, t] > limit:
                rows.append((scenario, "bus", bus["bus"], label, "upper", vm[k, t], limit, "pu"))
        for k, branch in enumerate(story.sketch.branches):
            if loading[k, t] > 100:
                rows.append(
                    (scenario, branch.element_kind, branch.element, label, "to",
                     loading[k, t], 100.0, "percent")
                )  # fmt: skip
    return rows


def _settlement(folder: Path, story: Story) -> None:
    """Lines of three markets and a refund; each sums to zero in every period."""
    rows: list[tuple[object, ...]] = []
    row = {int(str(bus["bus"])): k for k, bus in enumerate(story.sketch.buses)}
    accounts = {
        "da": (("upstream", 0.8), ("rent_congestion", 0.15), ("rent_loss", 0.05)),
        "id/1": (("upstream", 0.9), ("rent_congestion", 0.1)),
        "imbalance": (("upstream", 0.9), ("imbalance_residual", 0.1)),
    }
    for t, label in enumerate(story.periods.labels()):
        total = dict.fromkeys(accounts, 0)
        for s, bus in enumerate(story.sketch.sites):
            price = price_micro_eur(float(f"{story.price[row[bus], t]:.9g}"))
            flexible = story.sold_mw[s, t] + story.storage_mw[s, t]
            aggregator = f"aggregator-{'ab'[s % 2]}"
            parties = (
                (aggregator, flexible, "da"), (aggregator, 0.03 * flexible, "id/1"),
                ("default-supplier", -story.load_mw[s, t], "da"),
                ("default-supplier", -0.02 * story.load_mw[s, t], "imbalance"),
            )  # fmt: skip
            for party, mw, market in parties:
                wh = round(mw * 250_000)
                amount = round(wh * price / 1_000_000)
                total[market] += amount
                kind = market.split("/")[0]
                rows.append((party, f"bus:{bus}", label, kind, wh, price, amount, market))
        rents = 0
        for market, shares in accounts.items():
            left = -total[market]
            for name, share in shares:
                amount = round(-total[market] * share)
                left -= amount
                rents += amount if name.startswith("rent") else 0
                rows.append((f"account:{name}", "", label, name, 0, 0, amount, market))
            if left:
                rows.append(("account:rounding", "", label, "rounding", 0, 0, left, market))
        rows.append(("default-supplier", "bus:2", label, "refund", 0, 0, rents, "refund"))
        rows.append(("account:refund", "", label, "refund", 0, 0, -rents, "refund"))
    header = (
        "participant", "connection", "period_start", "kind", "quantity_wh",
        "price_micro_eur_per_mwh", "amount_micro_eur", "market",
    )  # fmt: skip
    _put(folder / "lines.csv", csv_bytes(header, rows))
    _put(folder / "summary.json", pretty_json({"sum_micro_eur": 0, "remarks": []}))


def _bundle(folder: Path) -> None:
    root = base64.b64encode(hashlib.sha256(b"made-up day").digest()).decode()
    signature = base64.b64encode(bytes(range(68))).decode()
    note = f"example.org/gridclear\n412\n{root}\n\n\u2014 example.org/gridclear {signature}\n"
    _put(folder / "checkpoint", note.encode())
    files = [
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "role": role}
        for name, role in (
            ("inputs/orders.json", "input"), ("inputs/profiles.csv", "input"),
            ("outputs/prices.csv", "output"), ("settlement/lines.csv", "settlement"),
            ("proofs/000.tlog-proof", "proof"),
        )
    ]  # fmt: skip
    _put(folder / "manifest.json", pretty_json({"files": files}))

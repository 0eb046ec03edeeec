"""Random radial feeders whose connections ask for more than fits: one case per seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.records.clearing import Limits
from data.records.network import Network
from opf.grid import build_grid
from opf.problems.envelopes import Connections
from opf.replay import ReplayReport, replay_violations
from tests.support.random_feeders import random_network

Floats = np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFeeder:
    """A feeder, what injects on it besides, by bus [MW + j Mvar], and who asks for how much."""

    seed: int
    network: Network
    limits: Limits
    background: Floats
    connections: Connections

    def use(self, power: Floats) -> ReplayReport:
        """What power-grid-model says of uses, shape (connections, columns) [MW + j Mvar]."""
        return _use(self.network, self.background, self.connections, power)


def shared_feeder(seed: int) -> SharedFeeder:
    """Draw the feeder of a seed: 10 to 60 buses, 5 to 12 connections, limits that bind.

    Voltage limits, and the ratings of the transformer and of some lines, lie between what the
    feeder reaches without and with all that is asked for, by power-grid-model.
    """
    rng = np.random.default_rng(20_261_100 + seed)
    name = f"shared:{seed}"
    network = next(
        each for each in (random_network(rng, name) for _ in range(50)) if build_grid(each).radial
    )
    buses = network.buses.index
    row = {int(bus): k for k, bus in enumerate(buses)}
    background = np.zeros(len(buses), dtype=complex)
    for table, sign in ((network.loads, -1.0), (network.sgens, 1.0)):
        for bus, p, q in zip(table.bus, table.p_mw, table.q_mvar, strict=True):
            background[row[int(bus)]] += sign * (p + 1j * q)
    count = int(rng.integers(5, 13))
    low = float(network.buses.vn_kv.min()) < 1.0
    total = (0.25 if low else 6.0) * rng.uniform(0.8, 1.6)
    share = rng.uniform(0.2, 1.0, count)
    chosen = rng.choice([int(b) for b in buses if int(b) != network.slack_bus], count)
    connections = Connections(
        name=tuple(f"c{k:02d}" for k in range(count)),
        bus=chosen.astype(np.int64),
        import_mw=0.5 * total * rng.permutation(share) / share.sum(),
        export_mw=total * share / share.sum(),
        tan_max=np.full(count, float(rng.choice([0.0, 0.0, 0.33]))),
    )
    power = np.stack([np.zeros(count), connections.export_mw, -connections.import_mw], axis=1)
    report = _use(network, background, connections, power + 0j)
    return SharedFeeder(
        seed=seed,
        network=network,
        limits=_limits(rng, report),
        background=background,
        connections=connections,
    )


def _limits(rng: np.random.Generator, report: ReplayReport) -> Limits:
    """Return limits between no use and full use; most lines are far from theirs."""
    vm, line, trafo = report.vm_pu, report.line_loading_percent, report.trafo_loading_percent
    top, bottom = vm.max(axis=0), vm.min(axis=0)
    part = rng.uniform(0.3, 0.8, 2)
    upper = max(top[0], top[2]) + 2e-3 + part[0] * max(top[1] - top[0], 0.0)
    lower = min(bottom[0], bottom[1]) - 2e-3 - part[1] * max(bottom[0] - bottom[2], 0.0)
    ratings = np.full(len(line), 1e6)
    for k in rng.choice(len(line), size=min(3, len(line)), replace=False):
        ratings[k] = np.maximum(1.3 * line[k, 0], rng.uniform(0.4, 0.9) * line[k].max()) + 1e-3
    largest = np.maximum(1.3 * trafo[:, 0], rng.uniform(0.6, 1.1) * trafo.max(axis=1, initial=0.0))
    return Limits(
        vm_pu_min=np.full(len(vm), lower),
        vm_pu_max=np.full(len(vm), upper),
        line_loading_percent_max=ratings,
        trafo_loading_percent_max=largest,
    )


def _use(
    network: Network, background: Floats, connections: Connections, power: Floats
) -> ReplayReport:
    row = {int(bus): k for k, bus in enumerate(network.buses.index)}
    total = np.repeat(background[:, None], power.shape[1], axis=1)
    np.add.at(total, [row[int(bus)] for bus in connections.bus], power)
    count = len(row)
    nothing = Limits(  # what is broken is judged by who asks
        vm_pu_min=np.full(count, -np.inf),
        vm_pu_max=np.full(count, np.inf),
        line_loading_percent_max=np.full(len(network.lines.index), np.inf),
        trafo_loading_percent_max=np.full(len(network.trafos.index), np.inf),
    )
    return replay_violations(network, nothing, power.shape[1], total.real, total.imag)

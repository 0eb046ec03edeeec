"""Settle many meters at once: the same rules as `settle`, on blocks of integers.

A block holds some periods of many connections as int64 arrays and is settled without looking at
any other, so a year is streamed through in the memory of one block. Every amount is that of
`dso.settlement.books`, to the micro-EUR (tested); products that could leave int64 are refused
before they are formed. Bilateral orders, several rounds and services are left to `settle`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem
from data.records.settlement import SettlementRules
from data.units import WH_PER_MWH
from dso.settlement.exact import BooksError

Integers = NDArray[np.int64]
LARGEST: Final = 2**62
KINDS: Final = ("da", "id", "imbalance", "refund")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterBlock:
    """Some periods of many connections; energies [Wh], prices [micro-EUR/MWh].

    Parameters
    ----------
    bus : ndarray of int64, shape (connections,)
        Column of each connection's bus in the price arrays.
    da_wh, id_wh, meter_wh : ndarray of int64, shape (periods, connections)
        Injection positive.
    dlmp_da, dlmp_id, imbalance : ndarray of int64, shape (periods, buses)
        Prices at every bus.
    import_wh, da_import_wh, id_import_wh, import_price : ndarray of int64, shape (periods,)
        The substation: metered import, scheduled imports and what the import costs.
    energy_price : ndarray of int64, shape (periods,)
        Energy part of the day-ahead prices.
    parts : mapping of str to ndarray of int64, shape (periods, buses)
        Part of every binding element in the day-ahead prices, by the name of its rent account.
    capacity_w : ndarray of int64, shape (connections,), optional
        The weights of ``pro_rata_capacity``.
    """

    bus: Integers
    da_wh: Integers
    id_wh: Integers
    meter_wh: Integers
    dlmp_da: Integers
    dlmp_id: Integers
    imbalance: Integers
    import_wh: Integers
    da_import_wh: Integers
    id_import_wh: Integers
    import_price: Integers
    energy_price: Integers
    parts: Mapping[str, Integers]
    capacity_w: Integers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledBlock:
    """The amounts of a block [micro-EUR].

    ``amounts`` has one array of shape (periods, connections) per kind of `KINDS`; ``accounts``
    one of shape (periods,) per market and account, ``<market>/<account>``. Of one market and
    period, all of them sum to zero.
    """

    amounts: Mapping[str, Integers]
    accounts: Mapping[str, Integers]
    lines: int

    def sha256(self) -> str:
        """Return the hash of every amount of the block, in a fixed order."""
        digest = hashlib.sha256()
        for name, values in (*sorted(self.amounts.items()), *sorted(self.accounts.items())):
            digest.update(f"{name} {values.shape}\n".encode())
            digest.update(np.ascontiguousarray(values, dtype="<i8").data)
        return digest.hexdigest()


@dataclass(slots=True)
class RunningTotals:
    """Sums over blocks: per kind and connection, per account, and the number of lines."""

    by_connection: dict[str, Integers]
    by_account: dict[str, int]
    lines: int = 0

    def add(self, settled: SettledBlock) -> None:
        """Add a block."""
        for kind, amounts in settled.amounts.items():
            self.by_connection[kind] += amounts.sum(axis=0)
        for account, amounts in settled.accounts.items():
            self.by_account[account] = self.by_account.get(account, 0) + int(amounts.sum())
        self.lines += settled.lines

    def total_micro_eur(self) -> int:
        """Return the sum of everything: zero."""
        held = sum(int(amounts.sum()) for amounts in self.by_connection.values())
        return held + sum(self.by_account.values())


def start_totals(connections: int) -> RunningTotals:
    """Return totals of nothing."""
    zero = {kind: np.zeros(connections, dtype=np.int64) for kind in KINDS}
    return RunningTotals(by_connection=zero, by_account={})


def settle_stream(blocks: Iterable[MeterBlock], rules: SettlementRules) -> RunningTotals:
    """Settle block after block, holding one at a time.

    Raises
    ------
    InputError
        If there is no block.
    """
    totals: RunningTotals | None = None
    for block in blocks:
        totals = totals or start_totals(len(block.bus))
        totals.add(settle_block(block, rules))
    if totals is None:
        raise InputError([Problem(where="meters", what="there is no block to settle")])
    return totals


def settle_block(block: MeterBlock, rules: SettlementRules) -> SettledBlock:
    """Settle day-ahead, one intraday round, imbalance and refund of a block.

    Parameters
    ----------
    block : MeterBlock
        Energies and prices.
    rules : SettlementRules
        Imbalance and refund as in `settle`; reactive energy cannot be paid in a block.

    Returns
    -------
    SettledBlock
        Every amount, equal to `settle` of the same case with its day-ahead prices split.

    Raises
    ------
    InputError
        If the block has other shapes than it should, or numbers too large for its arithmetic.
    BooksError
        If a market does not sum to zero: a fault of the program.
    """
    _refuse_shapes(block)
    if rules.settle_reactive:
        what = "is no part of a block of meters"
        raise InputError([Problem(where="reactive energy", what=what, remedy="use settle")])
    spread = rules.imbalance_spread_micro_eur_per_mwh if rules.imbalance == "dual" else 0
    change_wh = block.id_wh - block.da_wh
    deviation_wh = block.meter_wh - block.id_wh
    _refuse_large(block, spread)
    accounts: dict[str, Integers] = {}
    amounts: dict[str, Integers] = {}
    due = block.imbalance[:, block.bus]
    if spread:
        due = due + np.where(deviation_wh > 0, -spread, spread)
    rent = np.zeros(len(block.import_wh), dtype=np.int64)
    lines = block.da_wh.size + np.count_nonzero(change_wh) + np.count_nonzero(deviation_wh)
    for kind, quantity_wh, price, import_wh in (
        ("da", block.da_wh, block.dlmp_da[:, block.bus], block.da_import_wh),
        ("id", change_wh, block.dlmp_id[:, block.bus], block.id_import_wh - block.da_import_wh),
        ("imbalance", deviation_wh, due, block.import_wh - block.id_import_wh),
    ):
        exact = quantity_wh * price
        amounts[kind] = _half_even(exact, WH_PER_MWH)
        bill = import_wh * block.import_price
        own = {"upstream": bill}
        if kind == "da":
            own |= _exact_rents(block, exact.sum(axis=1), bill)
        elif kind == "id":
            own["rent_unsplit"] = -exact.sum(axis=1) - bill
        else:
            own["imbalance_residual"] = -exact.sum(axis=1) - bill
        booked = amounts[kind].sum(axis=1)
        for name, value in own.items():
            accounts[f"{kind}/{name}"] = rounded = _half_even(value, WH_PER_MWH)
            booked = booked + rounded
            if name.startswith("rent_"):
                rent = rent + rounded
            lines += int(np.count_nonzero(rounded))
        accounts[f"{kind}/rounding"] = -booked
        if (np.abs(booked) > quantity_wh.shape[1] + len(own)).any():
            raise BooksError(f"{kind}: more than rounding is left over")
        lines += int(np.count_nonzero(booked))
    amounts["refund"], of_refund = _refund(block, rules, rent)
    accounts |= of_refund
    lines += int(np.count_nonzero(amounts["refund"]))
    lines += sum(int(np.count_nonzero(values)) for values in of_refund.values())
    settled = SettledBlock(amounts=amounts, accounts=accounts, lines=int(lines))
    _check_sums(settled)
    return settled


def _exact_rents(block: MeterBlock, paid: Integers, bill: Integers) -> dict[str, Integers]:
    """Return the day-ahead rents [Wh x micro-EUR/MWh]: per element, of losses and of the import."""
    buses = block.dlmp_da.shape[1]
    withdrawn = np.zeros((len(paid), buses), dtype=np.int64)
    order = np.argsort(block.bus, kind="stable")
    firsts = np.flatnonzero(np.diff(block.bus[order], prepend=-1))
    withdrawn[:, block.bus[order][firsts]] = -np.add.reduceat(block.da_wh[:, order], firsts, axis=1)
    rents = {name: (part * withdrawn).sum(axis=1) for name, part in block.parts.items()}
    total = withdrawn.sum(axis=1)
    energy = block.energy_price
    losses_wh = block.da_import_wh - total
    of_elements = sum(rents.values(), np.zeros(len(paid), dtype=np.int64))
    rents["rent_loss"] = -paid - energy * total - of_elements - energy * losses_wh
    rents["rent_import"] = energy * block.da_import_wh - bill
    return rents


def _refund(
    block: MeterBlock, rules: SettlementRules, rent: Integers
) -> tuple[Integers, dict[str, Integers]]:
    """Return everybody's share in the rents, and the refund account with its rounding."""
    shares = np.zeros_like(block.meter_wh)
    if rules.refund == "retain":
        return shares, {}
    if rules.refund == "pro_rata_capacity":
        if block.capacity_w is None:
            raise InputError([Problem(where="capacities", what="are missing")])
        weights = np.broadcast_to(block.capacity_w, block.meter_wh.shape)
    else:
        weights = np.maximum(0, -block.meter_wh)
    total = weights.sum(axis=1)
    given = np.where(total > 0, rent, 0)
    largest = int(np.abs(given).max(initial=0)) * int(weights.max(initial=0))
    if largest >= LARGEST:
        raise InputError([Problem(where="refund", what="is too large for integers of 64 bits")])
    shares = _half_even(given[:, None] * weights, np.maximum(total, 1)[:, None])
    left = given - shares.sum(axis=1)
    return shares, {"refund/refund": -given, "refund/rounding": left}


def _half_even(numerator: Integers, denominator: int | Integers) -> Integers:
    """Divide integers, ties to even, as `divide_half_even` does one by one."""
    quotient = np.floor_divide(numerator, denominator)
    twice = 2 * (numerator - quotient * denominator)
    up = (twice > denominator) | ((twice == denominator) & ((quotient & 1) == 1))
    return np.asarray(quotient + up, dtype=np.int64)


def _check_sums(settled: SettledBlock) -> None:
    for kind, amounts in settled.amounts.items():
        total = amounts.sum(axis=1)
        for name, values in settled.accounts.items():
            if name.startswith(f"{kind}/"):
                total = total + values
        if total.any():
            raise BooksError(f"{kind}: {int(np.count_nonzero(total))} periods do not sum to zero")


def _refuse_shapes(block: MeterBlock) -> None:
    periods, connections = block.meter_wh.shape
    buses = block.dlmp_da.shape[1]
    wanted = {
        "bus": (connections,), "da_wh": (periods, connections), "id_wh": (periods, connections),
        "dlmp_da": (periods, buses), "dlmp_id": (periods, buses), "imbalance": (periods, buses),
        "import_wh": (periods,), "da_import_wh": (periods,), "id_import_wh": (periods,),
        "import_price": (periods,), "energy_price": (periods,),
    }  # fmt: skip
    problems = [
        Problem(where=name, what=f"has shape {getattr(block, name).shape}, not {shape}")
        for name, shape in wanted.items()
        if getattr(block, name).shape != shape
    ]
    problems += [
        Problem(where=name, what=f"has shape {part.shape}, not {(periods, buses)}")
        for name, part in block.parts.items()
        if part.shape != (periods, buses)
    ]
    if problems:
        raise InputError(problems)


def _refuse_large(block: MeterBlock, spread: int) -> None:
    """Refuse numbers whose products or sums could leave int64: never wrap round in silence."""
    energies = (block.da_wh, block.id_wh, block.meter_wh)
    wh = 2 * max(int(np.abs(series).max(initial=0)) for series in energies)
    imports = (block.import_wh, block.da_import_wh, block.id_import_wh)
    whole = wh * block.meter_wh.shape[1]
    whole = max(whole, 2 * max(int(np.abs(series).max(initial=0)) for series in imports))
    prices = (
        block.dlmp_da, block.dlmp_id, block.imbalance, block.import_price, block.energy_price,
        *block.parts.values(),
    )  # fmt: skip
    price = spread + max(int(np.abs(values).max(initial=0)) for values in prices)
    if whole * price * (4 + len(block.parts)) >= LARGEST:
        raise InputError(
            [
                Problem(
                    where="meters", what="energies and prices are too large for 64-bit sums",
                    remedy="settle fewer connections at a time",
                )
            ]
        )  # fmt: skip

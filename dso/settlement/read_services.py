"""Read the tables of a settlement folder that stand beside the energy markets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from data.periods import Periods
from data.records.settlement import (
    FLEXIBILITY_RULES,
    Activation,
    Availability,
    ConnectionCapacity,
    FlexibilityRule,
    ReactivePosition,
)
from dso.settlement.case_files import (
    ACTIVATION_COLUMNS,
    AVAILABILITY_COLUMNS,
    CAPACITY_COLUMNS,
    REACTIVE_COLUMNS,
)
from dso.settlement.tables import TableFolder


def read_activations(files: TableFolder, periods: Periods | None) -> tuple[Activation, ...]:
    """Read ``activations.csv``; it must be there, at least its header."""
    name = "activations.csv"
    activations = []
    for row, cells in files.table(name, ACTIVATION_COLUMNS).rows:
        participant, connection, label, *numbers, rule = cells
        period = files.period(name, row, label, periods)
        baseline, ordered, meter, price, penalty = (
            files.micro(name, row, column, cell)
            for column, cell in zip(ACTIVATION_COLUMNS[3:8], numbers, strict=True)
        )
        if period is None:
            if rule.strip() not in FLEXIBILITY_RULES:
                files.complain(name, f"unknown rule {rule!r}", row=row)
            continue
        activations.append(
            Activation(
                participant=participant.strip(),
                connection=connection.strip(),
                period=period,
                baseline_w=baseline,
                ordered_w=ordered,
                meter_w=meter,
                price_micro_eur_per_mwh=price,
                penalty_micro_eur_per_mwh=penalty,
                rule=cast("FlexibilityRule", rule.strip()),
            )
        )
    activations.sort(key=lambda a: (a.period, a.participant, a.connection))
    return tuple(activations)


def read_capacities(files: TableFolder) -> tuple[ConnectionCapacity, ...]:
    """Read ``connections.csv`` where it is."""
    name = "connections.csv"
    if not (files.folder / name).exists():
        return ()
    return tuple(
        sorted(
            (
                ConnectionCapacity(
                    participant=participant.strip(),
                    connection=connection.strip(),
                    capacity_w=files.micro(name, row, "capacity_mw", capacity),
                )
                for row, (participant, connection, capacity) in files.table(
                    name, CAPACITY_COLUMNS
                ).rows
            ),
            key=lambda c: (c.participant, c.connection),
        )
    )


def read_availabilities(files: TableFolder, periods: Periods | None) -> tuple[Availability, ...]:
    """Read ``availability.csv`` where it is."""
    return tuple(
        Availability(
            participant=participant,
            connection=connection,
            period=period,
            available_w=numbers[0],
            price_micro_eur_per_mw_h=numbers[1],
            delivery_ppm=numbers[2],
        )
        for participant, connection, period, numbers in _numbers_by_period(
            files, "availability.csv", AVAILABILITY_COLUMNS, periods
        )
    )


def read_reactive(files: TableFolder, periods: Periods | None) -> tuple[ReactivePosition, ...]:
    """Read ``reactive.csv`` where it is."""
    return tuple(
        ReactivePosition(
            participant=participant,
            connection=connection,
            period=period,
            q_varh=numbers[0],
            price_micro_eur_per_mvarh=numbers[1],
        )
        for participant, connection, period, numbers in _numbers_by_period(
            files, "reactive.csv", REACTIVE_COLUMNS, periods
        )
    )


def _numbers_by_period(
    files: TableFolder, name: str, columns: Sequence[str], periods: Periods | None
) -> Iterator[tuple[str, str, int, tuple[int, ...]]]:
    """Yield the rows participant, connection, period_start, numbers; sorted by period."""
    if not (files.folder / name).exists():
        return
    found = []
    for row, (participant, connection, label, *cells) in files.table(name, columns).rows:
        period = files.period(name, row, label, periods)
        numbers = tuple(
            files.micro(name, row, column, cell)
            for column, cell in zip(columns[3:], cells, strict=True)
        )
        if period is not None:
            found.append((period, participant.strip(), connection.strip(), numbers))
    for period, participant, connection, numbers in sorted(found):
        yield participant, connection, period, numbers

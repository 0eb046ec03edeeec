"""SimBench grids with their recorded profiles of 2016, parsed once and then read from a cache.

SimBench (Meinecke et al. 2020, https://doi.org/10.3390/en13123290; data under ODbL 1.0, see
data/SOURCES.md). Its profile times are German wall-clock times without an offset: 2016-03-27 jumps
from 01:45 to 03:00 and 2016-10-30 repeats 02:00 to 02:45. The rows are therefore gapless
quarter-hours from 2015-12-31T23:00:00Z on: 92 on the first of those local days, 100 on the second.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from data.canonical import sha256_hex, write_atomically
from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods, format_utc
from data.readers.network_store import network_from_plain, network_to_plain
from data.records.network import Elements, Floats, Ints, Network

if TYPE_CHECKING:
    import pandas as pd

CACHE_FORMAT: Final = 1
PROFILE_STEP_MINUTES: Final = 15
PROFILE_ZONE: Final = "Europe/Berlin"
SOURCE_MODULES: Final = (
    "network_store.py", "pandapower_net.py", "pandapower_table.py", "simbench.py",
    "transformer_taps.py",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedProfiles:
    """Recorded shares of the elements' own power, one row per quarter-hour.

    Kept as shares and factors, because many elements follow one profile: the absolute arrays of a
    large grid would take gigabytes.

    Parameters
    ----------
    start : datetime
        Start of the first row, UTC.
    shares : ndarray, shape (rows, columns)
        Distinct recorded profiles [1]; the first column is 1 (an element without a profile).
    load_p_column, load_q_column, sgen_column : ndarray of int
        Column of each load (active, reactive) and sgen.
    load_p_mw_base, load_q_mvar_base, sgen_p_mw_base, sgen_q_mvar_base : ndarray
        The elements' own power with scaling [MW, Mvar].
    """

    start: datetime
    shares: Floats
    load_p_column: Ints
    load_q_column: Ints
    sgen_column: Ints
    load_p_mw_base: Floats
    load_q_mvar_base: Floats
    sgen_p_mw_base: Floats
    sgen_q_mvar_base: Floats

    @property
    def periods(self) -> Periods:
        """All recorded quarter-hours."""
        return Periods(start=self.start, count=len(self.shares), mtu_minutes=PROFILE_STEP_MINUTES)

    @property
    def load_p_mw(self) -> Floats:
        """Withdrawal of all loads [MW], shape (rows, loads)."""
        return self.shares[:, self.load_p_column] * self.load_p_mw_base

    @property
    def load_q_mvar(self) -> Floats:
        """Reactive withdrawal of all loads [Mvar], shape (rows, loads)."""
        return self.shares[:, self.load_q_column] * self.load_q_mvar_base

    @property
    def sgen_p_mw(self) -> Floats:
        """Injection of all static generators [MW], shape (rows, sgens)."""
        return self.shares[:, self.sgen_column] * self.sgen_p_mw_base

    @property
    def sgen_q_mvar(self) -> Floats:
        """Reactive injection of all static generators at their own power factor [Mvar]."""
        return self.shares[:, self.sgen_column] * self.sgen_q_mvar_base


@dataclass(frozen=True, slots=True, kw_only=True)
class SimbenchGrid:
    """A SimBench grid and what was recorded of its loads and generators."""

    network: Network
    profiles: RecordedProfiles


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkProfiles:
    """Fixed powers of all elements over some periods, pandapower's signs.

    Loads withdraw, sgens inject [MW, Mvar]; shapes (periods, loads) and (periods, sgens).
    """

    load_p_mw: Floats
    load_q_mvar: Floats
    sgen_p_mw: Floats
    sgen_q_mvar: Floats


def profiles_for(grid: SimbenchGrid, periods: Periods) -> NetworkProfiles:
    """Return the recorded profiles of some periods.

    Parameters
    ----------
    grid : SimbenchGrid
        The grid.
    periods : Periods
        Quarter-hours of 2016, in German local time.

    Returns
    -------
    NetworkProfiles
        Scaling applied.

    Raises
    ------
    InputError
        Periods outside the recorded year, another MTU than 15 min or off the quarter-hour, and
        values that are not finite, with element and time.
    """
    recorded = grid.profiles
    step = timedelta(minutes=PROFILE_STEP_MINUTES)
    first, off_grid = divmod(periods.start - recorded.start, step)
    if periods.mtu_minutes != PROFILE_STEP_MINUTES or off_grid:
        problem = f"SimBench profiles have quarter-hours, not {periods.mtu_minutes} min periods"
        if off_grid:
            problem = f"{format_utc(periods.start)} is not the start of a quarter-hour"
        raise InputError([Problem(where=grid.network.name, what=problem)])
    if first < 0 or first + len(periods) > len(recorded.shares):
        problem = f"{format_utc(periods.start)} to {format_utc(periods.end)} is not recorded"
        span = f"{format_utc(recorded.start)} to {format_utc(recorded.periods.end)}"
        raise InputError(
            [Problem(where=grid.network.name, what=problem, remedy=f"choose periods in {span}")]
        )
    shares = recorded.shares[first : first + len(periods)]
    profiles = NetworkProfiles(
        load_p_mw=shares[:, recorded.load_p_column] * recorded.load_p_mw_base,
        load_q_mvar=shares[:, recorded.load_q_column] * recorded.load_q_mvar_base,
        sgen_p_mw=shares[:, recorded.sgen_column] * recorded.sgen_p_mw_base,
        sgen_q_mvar=shares[:, recorded.sgen_column] * recorded.sgen_q_mvar_base,
    )
    _refuse_nan(grid.network, profiles, periods)
    return profiles


def _refuse_nan(network: Network, profiles: NetworkProfiles, periods: Periods) -> None:
    """Raise with element and time for every profile value that is not finite."""
    problems: list[Problem] = []
    sources = (
        ("load", network.loads, "p_mw", profiles.load_p_mw),
        ("load", network.loads, "q_mvar", profiles.load_q_mvar),
        ("sgen", network.sgens, "p_mw", profiles.sgen_p_mw),
        ("sgen", network.sgens, "q_mvar", profiles.sgen_q_mvar),
    )
    labels = periods.labels()
    for kind, elements, quantity, values in sources:
        problems.extend(
            Problem(
                where=f"profile of {kind} {elements.index[column]} ({elements.name[column]})",
                what=f"{quantity} is {values[row, column]} at {labels[row]}",
                remedy="repair the recorded profile",
            )
            for row, column in np.argwhere(~np.isfinite(values)).tolist()
        )
    refuse_if_any(problems)


def cache_folder() -> Path:
    """Return the user's cache folder for parsed grids (``XDG_CACHE_HOME`` or ``~/.cache``)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "gridclear"


def _cache_key(code: str) -> str:
    """Return a key that changes with anything the parsed grid depends on."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for module in SOURCE_MODULES:
        digest.update((folder / module).read_bytes())
    for package in ("simbench", "pandapower"):
        digest.update(metadata.version(package).encode())
    return f"{code}-v{CACHE_FORMAT}-{digest.hexdigest()[:16]}"


def load_simbench(code: str) -> SimbenchGrid:
    """Load a SimBench grid with its profiles; parsed once, then read from the cache.

    A damaged or foreign cache file is parsed anew; the result is the same either way.

    Parameters
    ----------
    code : str
        SimBench code, e.g. ``1-MV-rural--2-sw``.

    Returns
    -------
    SimbenchGrid
        The network is named ``simbench:<code>``.

    Raises
    ------
    InputError
        If SimBench knows no such grid or the grid holds what is not supported.
    """
    if not code or not all(mark.isalnum() or mark in "-_." for mark in code):
        raise InputError([Problem(where="network", what=f"{code!r} is not a SimBench code")])
    path = cache_folder() / f"{_cache_key(code)}.simbench"
    grid = _read_cached(path)
    if grid is None:
        grid = _parse_simbench(code)
        write_atomically(path, _to_bytes(grid))
    return grid


_ARRAYS: Final = (
    "shares", "load_p_column", "load_q_column", "sgen_column", "load_p_mw_base",
    "load_q_mvar_base", "sgen_p_mw_base", "sgen_q_mvar_base",
)  # fmt: skip


def _to_bytes(grid: SimbenchGrid) -> bytes:
    """Pack a grid: 64 hex digits of SHA-256 over the rest, then an npz with the network's JSON."""
    plain = {"network": network_to_plain(grid.network), "start": format_utc(grid.profiles.start)}
    buffer = io.BytesIO()
    np.savez(
        buffer,
        header=np.frombuffer(json.dumps(plain, allow_nan=False).encode(), dtype=np.uint8),
        **{name: getattr(grid.profiles, name) for name in _ARRAYS},
    )
    content = buffer.getvalue()
    return sha256_hex(content).encode() + content


def _read_cached(path: Path) -> SimbenchGrid | None:
    """Read a cache file; None where it is absent or damaged."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    digest, content = stored[:64], stored[64:]
    if sha256_hex(content).encode() != digest:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        plain = json.loads(arrays["header"].tobytes())
        return SimbenchGrid(
            network=network_from_plain(plain["network"]),
            profiles=RecordedProfiles(
                start=datetime.fromisoformat(plain["start"]).astimezone(UTC),
                **{name: arrays[name] for name in _ARRAYS},
            ),
        )


def _parse_simbench(code: str) -> SimbenchGrid:
    """Build the grid with the simbench package (seconds, heavy imports)."""
    import warnings

    with warnings.catch_warnings():
        # Deprecations inside simbench and pandapower concern their authors, not the operator.
        warnings.simplefilter("ignore")
        import simbench

        from data.readers.pandapower_net import network_from_pandapower

        try:
            net = simbench.get_simbench_net(code)
        except (ValueError, KeyError, IndexError, FileNotFoundError) as error:
            problem = f"SimBench has no grid {code!r} ({error})"
            raise InputError(
                [Problem(where="network", what=problem, remedy="e.g. 1-MV-rural--2-sw")]
            ) from error
        network = network_from_pandapower(net, f"simbench:{code}")
    return SimbenchGrid(network=network, profiles=_collect_profiles(net.profiles, network))


def _check_clock(times: Sequence[str], where: str) -> datetime:
    """Return the first instant [UTC] of local profile times; they must be gapless quarter-hours."""
    zone = ZoneInfo(PROFILE_ZONE)
    clock = [datetime.strptime(text, "%d.%m.%Y %H:%M").replace(tzinfo=UTC) for text in times]
    start = clock[0].replace(tzinfo=zone).astimezone(UTC)
    step = timedelta(minutes=PROFILE_STEP_MINUTES)
    expected = [(start + row * step).astimezone(zone) for row in range(len(clock))]
    refuse_if_any(
        Problem(
            where=f"{where} profiles",
            what=f"row {row} says {times[row]}, expected {due.strftime('%d.%m.%Y %H:%M')}",
            remedy="profiles need every quarter-hour of German local time once",
        )
        for row, (said, due) in enumerate(zip(clock, expected, strict=True))
        if said.replace(tzinfo=None) != due.replace(tzinfo=None)
    )
    return start


def _collect_profiles(tables: dict[str, pd.DataFrame], network: Network) -> RecordedProfiles:
    """Gather the distinct profiles and which element follows which."""
    # a grid without power plants has an empty table of their profiles
    tables = {kind: table for kind, table in tables.items() if len(table)}
    starts = {kind: _check_clock(table["time"].tolist(), kind) for kind, table in tables.items()}
    rows = {kind: len(table) for kind, table in tables.items()}
    if len({*starts.values()}) != 1 or len({*rows.values()}) != 1:
        raise InputError(
            [Problem(where=network.name, what=f"profiles differ in span: {starts}, {rows}")]
        )
    columns: list[NDArray[np.float64]] = [np.ones(next(iter(rows.values())))]
    place: dict[tuple[str, str], int] = {}
    problems: list[Problem] = []

    def columns_of(elements: Elements, kind: str, sources: tuple[str, ...], suffix: str) -> Ints:
        chosen = np.zeros(len(elements.index), dtype=np.int64)
        for row, profile in enumerate(elements.profile):
            if not profile:
                continue  # SimBench's own meaning: the element keeps its power all year
            label = profile + suffix
            source = next((s for s in sources if s in tables and label in tables[s].columns), None)
            if source is None:
                problems.append(
                    Problem(
                        where=f"{kind} {elements.index[row]} ({elements.name[row]})",
                        what=f"its profile {label} is not in the data",
                    )
                )
                continue
            if (source, label) not in place:
                place[source, label] = len(columns)
                columns.append(tables[source][label].to_numpy(dtype=float))
            chosen[row] = place[source, label]
        return chosen

    loads, sgens = network.loads, network.sgens
    load_p_column = columns_of(loads, "load", ("load",), "_pload")
    load_q_column = columns_of(loads, "load", ("load",), "_qload")
    sgen_column = columns_of(sgens, "sgen", ("powerplants", "renewables"), "")
    refuse_if_any(problems)
    return RecordedProfiles(
        start=next(iter(starts.values())),
        shares=np.column_stack(columns),
        load_p_column=load_p_column,
        load_q_column=load_q_column,
        sgen_column=sgen_column,
        load_p_mw_base=loads.p_mw,
        load_q_mvar_base=loads.q_mvar,
        sgen_p_mw_base=sgens.p_mw,
        sgen_q_mvar_base=sgens.q_mvar,
    )

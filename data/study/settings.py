"""``study.toml``: what a study says about itself, validated."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from data.errors import Problem
from data.periods import Periods, parse_utc
from data.records.clearing import FORMULATIONS, Formulation
from data.records.order_rules import NO_RULES, OrderRules
from data.study.network_changes import NetworkChange, value_problem
from data.study.order_rules import is_multiple
from data.units import AWARD_TICK_MW

SETTINGS_FILE: Final = "study.toml"
SCARCITY_PRICE_EUR_PER_MWH: Final = 4000.0
COUNT_MAX: Final = 1_000_000
LIMIT_FIELDS: Final = (
    "vm_pu_min", "vm_pu_max", "line_loading_percent_max", "trafo_loading_percent_max",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySettings:
    """``study.toml`` as read; fields that were wrong are None and reported as problems.

    Parameters
    ----------
    network : str
        ``simbench:CODE``, ``pandapower:NAME``, ``matpower:CASE`` or a file of the folder.
    profile_day : date or None
        Local day of the SimBench year whose profiles apply.
    import_price_eur_per_mwh : float or None
        One price for all periods; None: read ``import_price_file``.
    limits : mapping
        Overrides by field name of `data.records.clearing.Limits`.
    network_changes : tuple of NetworkChange
        What differs from the network that ``network`` names.
    order_rules : OrderRules
        What the market's rule set demands of every order.
    """

    name: str
    periods: Periods | None
    timezone: str
    network: str
    formulation: Formulation
    profile_day: date | None
    import_price_eur_per_mwh: float | None
    import_price_file: str
    import_mw_max: float | None
    export_mw_max: float | None
    limits: Mapping[str, float]
    scarcity_price_eur_per_mwh: float
    network_changes: tuple[NetworkChange, ...] = ()
    order_rules: OrderRules = NO_RULES


def as_float(value: float) -> float:
    """Return a number as float; infinite where a whole number is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else -float("inf")


class FieldReader:
    """Takes fields out of one mapping; what is wrong or left over becomes a problem."""

    def __init__(self, where: str, fields: object, problems: list[Problem]) -> None:
        self.where, self.problems = where, problems
        self.fields: dict[str, object] = dict(fields) if isinstance(fields, Mapping) else {}
        if not isinstance(fields, Mapping):
            self.report("is not a table of fields")

    def report(self, what: str, remedy: str = "") -> None:
        """Collect a problem."""
        self.problems.append(Problem(where=self.where, what=what, remedy=remedy))

    def take(self, name: str) -> object:
        """Take a field out; None when absent."""
        return self.fields.pop(name, None)

    def text(self, name: str, default: str | None = None) -> str:
        """Take a text; required without a default."""
        value = self.take(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            found = "is missing" if value is None else f"is {value!r}"
            self.report(f"{name} {found}", f"state {name} as a text")
            return default or ""
        return value

    def number(
        self,
        name: str,
        *,
        default: float | None = None,
        minimum: float = -float("inf"),
        maximum: float = float("inf"),
        required: bool = False,
    ) -> float | None:
        """Take a finite number within bounds."""
        value = self.take(name)
        if value is None:
            if required:
                self.report(f"{name} is missing", f"state {name}")
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.report(f"{name} is {repr(value)[:40]}", f"state {name} as a number")
            return default
        value = as_float(value)
        if not -float("inf") < value < float("inf"):
            self.report(f"{name} is {value}", "state a finite number")
            return default
        if not minimum <= value <= maximum:
            bound = f"at least {minimum:g}" if value < minimum else f"at most {maximum:g}"
            self.report(f"{name} is {value:g}", f"state {bound}")
            return default
        return float(value)

    def count(
        self, name: str, *, default: int | None = None, minimum: int = 0, required: bool = False
    ) -> int | None:
        """Take a whole number of at least ``minimum``, below a million."""
        value = self.take(name)
        if value is None and not required:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            found = "is missing" if value is None else f"is {repr(value)[:40]}"
            self.report(f"{name} {found}", f"state a whole number of at least {minimum}")
            return default
        if value > COUNT_MAX:
            self.report(f"{name} is {str(value)[:40]}", f"state at most {COUNT_MAX}")
            return default
        return value

    def close(self) -> None:
        """Report every field that nobody took."""
        for name in sorted(self.fields):
            self.report(f"unknown field {name!r}", "remove it or mend its spelling")


def _read_start(reader: FieldReader) -> datetime | None:
    value = reader.take("start")
    if isinstance(value, str):
        try:
            return parse_utc(value)
        except ValueError as error:
            reader.report(f"start: {error}", "e.g. start = 2026-06-01T22:00:00Z")
            return None
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    found = "is missing" if value is None else f"is {value}"
    reader.report(f"start {found}", "state an instant with offset, e.g. 2026-06-01T22:00:00Z")
    return None


def _read_periods(reader: FieldReader) -> Periods | None:
    start = _read_start(reader)
    count = reader.count("periods", minimum=1, required=True)
    mtu_minutes = reader.count("mtu_minutes", default=15, minimum=1)
    if start is None or count is None or mtu_minutes is None:
        return None
    return Periods(start=start, count=count, mtu_minutes=mtu_minutes)


def _read_timezone(reader: FieldReader) -> str:
    name = reader.text("timezone")
    try:
        if name:
            ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        reader.report(f"timezone {name!r} is not an IANA zone", 'e.g. "Europe/Berlin"')
    return name


def _read_formulation(reader: FieldReader) -> Formulation:
    name = reader.text("formulation", "ac")
    for known in FORMULATIONS:
        if name == known:
            return known
    reader.report(f"formulation {name!r} is unknown", f"one of {', '.join(FORMULATIONS)}")
    return "ac"


def _read_profile_day(tables: FieldReader, problems: list[Problem]) -> date | None:
    fields = tables.take("profiles")
    if fields is None:
        return None
    reader = FieldReader(f"{SETTINGS_FILE} [profiles]", fields, problems)
    source = reader.text("source")
    if source and source != "simbench":
        reader.report(f"source {source!r} is unknown", 'source = "simbench", or use profiles.csv')
    day = reader.take("day")
    reader.close()
    if isinstance(day, date) and not isinstance(day, datetime):
        return day
    reader.report(f"day is {day}", "state a local day, e.g. day = 2016-07-25")
    return None


def _read_network_changes(
    tables: FieldReader, problems: list[Problem]
) -> tuple[NetworkChange, ...]:
    """Read ``[[network_change]]``; whether the network has such elements is checked later."""
    listed = tables.take("network_change")
    if listed is None:
        return ()
    if not isinstance(listed, list):
        tables.report("network_change is not a list", "state each under [[network_change]]")
        return ()
    changes: list[NetworkChange] = []
    for number, fields in enumerate(listed, start=1):
        reader = FieldReader(f"{SETTINGS_FILE} [[network_change]] {number}", fields, problems)
        element, field = reader.text("element"), reader.text("field")
        value = reader.take("value")
        reader.close()
        fault = value_problem(element.partition(":")[0], field, value) if element and field else ""
        if fault:
            reader.report(fault)
        elif isinstance(value, int | float):
            changes.append(NetworkChange(element=element, field=field, value=value))
    return tuple(changes)


def _read_order_rules(
    tables: FieldReader, scarcity_price_eur_per_mwh: float, problems: list[Problem]
) -> OrderRules:
    """Read ``[order_rules]``: bounds and quanta of the numbers in orders."""
    where = f"{SETTINGS_FILE} [order_rules]"
    reader = FieldReader(where, tables.fields.pop("order_rules", {}), problems)
    rules = OrderRules(
        price_min_eur_per_mwh=reader.number("price_min_eur_per_mwh"),
        price_max_eur_per_mwh=reader.number("price_max_eur_per_mwh"),
        price_tick_eur_per_mwh=reader.number("price_tick_eur_per_mwh", minimum=1e-6),
        power_tick_mw=reader.number("power_tick_mw", minimum=AWARD_TICK_MW),
        power_min_mw=reader.number("power_min_mw", minimum=0),
    )
    reader.close()
    low, high, tick = (
        rules.price_min_eur_per_mwh, rules.price_max_eur_per_mwh, rules.power_tick_mw,
    )  # fmt: skip
    if low is not None and high is not None and low > high:
        reader.report(f"price_min_eur_per_mwh is {low:g}, above price_max_eur_per_mwh {high:g}")
    if high is not None and high >= scarcity_price_eur_per_mwh:
        reader.report(
            f"price_max_eur_per_mwh is {high:g}, not below the scarcity price of "
            f"{scarcity_price_eur_per_mwh:g} EUR/MWh",
            "an offer must not be worth more than a broken limit",
        )
    if tick is not None and not is_multiple(np.array(tick), AWARD_TICK_MW):
        reader.report(f"power_tick_mw is {tick:g}", "state a whole multiple of 0.000001 MW")
    return rules


def read_settings(folder: Path, problems: list[Problem]) -> StudySettings | None:
    """Read and validate ``study.toml``.

    Parameters
    ----------
    folder : Path
        The study folder.
    problems : list of Problem
        Collects what is wrong.

    Returns
    -------
    StudySettings or None
        None when the file is absent or is not TOML.
    """
    path = folder / SETTINGS_FILE
    try:
        tables = FieldReader(
            SETTINGS_FILE, tomllib.loads(path.read_text(encoding="utf-8")), problems
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        problems.append(Problem(where=SETTINGS_FILE, what=f"cannot be read: {reason}"))
        return None
    name = tables.text("name")
    periods = _read_periods(tables)
    timezone = _read_timezone(tables)
    network = tables.text("network")
    formulation = _read_formulation(tables)
    day = _read_profile_day(tables, problems)
    price = FieldReader(
        f"{SETTINGS_FILE} [import_price]", tables.fields.pop("import_price", {}), problems
    )
    flat = price.number("eur_per_mwh")
    file = price.text("file", "import_price.csv")
    import_mw_max = price.number("import_mw_max", minimum=0)
    export_mw_max = price.number("export_mw_max", minimum=0)
    price.close()
    limits = FieldReader(f"{SETTINGS_FILE} [limits]", tables.fields.pop("limits", {}), problems)
    overrides = {field: limits.number(field, minimum=1e-9) for field in LIMIT_FIELDS}
    scarcity = limits.number(
        "scarcity_price_eur_per_mwh", default=SCARCITY_PRICE_EUR_PER_MWH, minimum=0
    )
    limits.close()
    scarcity = SCARCITY_PRICE_EUR_PER_MWH if scarcity is None else scarcity
    order_rules = _read_order_rules(tables, scarcity, problems)
    network_changes = _read_network_changes(tables, problems)
    tables.close()
    return StudySettings(
        name=name,
        periods=periods,
        timezone=timezone,
        network=network,
        formulation=formulation,
        profile_day=day,
        import_price_eur_per_mwh=flat,
        import_price_file=file,
        import_mw_max=import_mw_max,
        export_mw_max=export_mw_max,
        limits={field: value for field, value in overrides.items() if value is not None},
        scarcity_price_eur_per_mwh=scarcity,
        network_changes=network_changes,
        order_rules=order_rules,
    )

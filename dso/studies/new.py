"""New studies: of a network and a day, with a feeder's offers and price, or from a template."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import numpy as np

from data.errors import InputError, Problem
from data.periods import DeliveryDay, Periods
from data.readers.simbench import NetworkProfiles, load_simbench, profiles_for
from data.records.clearing import ClearingCase, Formulation
from data.records.forecast import Forecast
from data.records.network import Network
from data.records.order import Order
from data.study.canonical_case import canonical_case
from data.study.limits import limits_in_force
from data.study.network_reference import SIMBENCH, is_library_reference, load_network
from data.study.read_study import report_unordered
from data.study.settings import LIMIT_FIELDS, SCARCITY_PRICE_EUR_PER_MWH, FieldReader
from dso.config import CONFIG_FOLDER, Feeder, load_feeder, load_market
from dso.studies.settings import Setting, settings_of
from dso.studies.study import Study

ZONE: Final = "Europe/Berlin"
DAY_MINUTES: Final = 24 * 60
TEMPLATES: Final = CONFIG_FOLDER / "studies"


def new_case(
    network_ref: str,
    *,
    folder: Path | None = None,
    name: str | None = None,
    day: date = date(2016, 7, 25),
    periods: int | None = None,
    mtu_minutes: int = 15,
    feeder: str | None = None,
    limits: Mapping[str, float] | None = None,
    import_price_eur_per_mwh: float | None = None,
    formulation: Formulation = "ac",
) -> ClearingCase:
    """Make the case of a network and a day.

    A SimBench network has its recorded profiles of that day; another one the power its elements
    state, in every period.

    Parameters
    ----------
    network_ref : str
        ``simbench:CODE``, ``pandapower:NAME``, ``matpower:CASE``, or a file in ``folder``.
    folder : Path or None
        Where a network file is.
    name : str or None
        Name of the study; None: network and day.
    day : date
        Local delivery day.
    periods : int or None
        The first so many periods of the day; None: all.
    mtu_minutes : int
        Market time unit [min]; 15 for SimBench's profiles.
    feeder : str or None
        Id of a feeder in ``configs/feeders`` whose offers and import price apply, or None: no
        orders yet.
    limits : mapping or None
        By field name of `data.records.clearing.Limits`, for what the network does not state.
    import_price_eur_per_mwh : float or None
        One price for all periods, instead of the feeder's; one of the two is needed.
    formulation : str
        Physics.

    Raises
    ------
    InputError
        Everything wrong: an unknown network, missing limits, elements that need an order.

    Examples
    --------
    >>> case = new_case("pandapower:case33bw", periods=4, mtu_minutes=60,
    ...                 import_price_eur_per_mwh=20.0, limits={"line_loading_percent_max": 100.0})
    >>> len(case.periods), round(float(case.load_p_mw[0].sum()), 3)
    (4, 3.715)
    """
    problems: list[Problem] = []
    whole = DeliveryDay(day=day, timezone=ZONE, mtu_minutes=mtu_minutes).periods
    if periods is not None and not 1 <= periods <= len(whole):
        problem = f"the day has {len(whole)} periods of {mtu_minutes} min, not {periods}"
        raise InputError([Problem(where="periods", what=problem)])
    span = Periods(start=whole.start, count=periods or len(whole), mtu_minutes=mtu_minutes)
    network, profiles = _network_and_profiles(network_ref, folder, span)
    orders, price = _offers_and_price(feeder, network, profiles, span, day)
    if feeder is None and import_price_eur_per_mwh is None:
        remedy = "state --import-price, or a feeder whose price applies"
        problems.append(Problem(where="import price", what="is not stated", remedy=remedy))
    if import_price_eur_per_mwh is not None:
        price = np.full(len(span), import_price_eur_per_mwh)
    report_unordered(network, frozenset(order.asset for order in orders if order.asset), problems)
    in_force = limits_in_force(network, limits or {}, SCARCITY_PRICE_EUR_PER_MWH, problems)
    if problems:
        raise InputError(problems)
    return canonical_case(
        ClearingCase(
            name=name or f"{network_ref} {day}",
            network=network,
            periods=span,
            timezone=ZONE,
            formulation=formulation,
            load_p_mw=profiles.load_p_mw,
            load_q_mvar=profiles.load_q_mvar,
            sgen_p_mw=profiles.sgen_p_mw,
            sgen_q_mvar=profiles.sgen_q_mvar,
            import_price_eur_per_mwh=price,
            import_mw_max=None,
            export_mw_max=None,
            limits=in_force,
            orders=orders,
        )
    )


def _network_and_profiles(
    network_ref: str, folder: Path | None, periods: Periods
) -> tuple[Network, NetworkProfiles]:
    if network_ref.startswith(SIMBENCH):
        grid = load_simbench(network_ref.removeprefix(SIMBENCH))
        return grid.network, profiles_for(grid, periods)
    if folder is None and not is_library_reference(network_ref):
        remedy = "simbench:CODE, pandapower:NAME, matpower:CASE, or the path of a network file"
        problem = Problem(where="network", what=f"{network_ref!r} is not found", remedy=remedy)
        raise InputError([problem])
    network = load_network(network_ref, folder or Path())
    count = len(periods)
    return network, NetworkProfiles(
        load_p_mw=np.tile(network.loads.p_mw, (count, 1)),
        load_q_mvar=np.tile(network.loads.q_mvar, (count, 1)),
        sgen_p_mw=np.tile(network.sgens.p_mw, (count, 1)),
        sgen_q_mvar=np.tile(network.sgens.q_mvar, (count, 1)),
    )


def _offers_and_price(
    feeder: str | None,
    network: Network,
    profiles: NetworkProfiles,
    periods: Periods,
    day: date,
) -> tuple[tuple[Order, ...], np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """Return the orders of a feeder's aggregators and its wholesale price [EUR/MWh]."""
    if feeder is None:
        return (), np.zeros(len(periods))
    from dso.bootstrap import wholesale_price
    from flexibility.offers import make_orders

    config: Feeder = load_feeder(feeder, day)
    zone = load_market(config.market, day).timezone
    orders = make_orders(
        network=network,
        forecast=_as_recorded(network, profiles, periods),
        periods=periods,
        policy=config.offers,
    )
    return orders, wholesale_price(config, periods, zone)


def _as_recorded(network: Network, profiles: NetworkProfiles, periods: Periods) -> Forecast:
    """Return what was recorded as if it had been forecast: a what-if asks about that day."""
    series = [f"load:{index}" for index in network.loads.index.tolist()]
    series += [f"sgen:{index}" for index in network.sgens.index.tolist()]
    power = np.concatenate([profiles.load_p_mw.T, profiles.sgen_p_mw.T])
    return Forecast(
        series=tuple(series),
        periods=periods,
        quantiles=(0.5,),
        value_mw=np.maximum(power, 0.0)[:, :, None],
        known_at=datetime.combine(periods.start.date(), datetime.min.time(), tzinfo=UTC),
        model_id="recorded",
    )


def read_limits(words: Sequence[str]) -> dict[str, float]:
    """Read limits written as ``NAME=NUMBER``.

    Raises
    ------
    InputError
        Every word that is none, with the names there are.

    Examples
    --------
    >>> read_limits(["vm_pu_max=1.05"])
    {'vm_pu_max': 1.05}
    """
    problems: list[Problem] = []
    limits: dict[str, float] = {}
    for word in words:
        name, _, text = word.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if name not in LIMIT_FIELDS or not 0 < value < np.inf:
            remedy = f"NAME=NUMBER above 0; NAME is one of {', '.join(LIMIT_FIELDS)}"
            problems.append(Problem(where=f"limit {word!r}", what="is none", remedy=remedy))
        limits[name] = value
    if problems:
        raise InputError(problems)
    return limits


def new_study(network_ref: str, **fields: object) -> Study:
    """Make a study of a network and a day; arguments as `new_case`.

    A network file is named by its path.
    """
    if is_library_reference(network_ref):
        case = new_case(network_ref, **fields)  # type: ignore[arg-type]
    else:
        path = Path(network_ref)
        if not path.is_file():
            remedy = "simbench:CODE, pandapower:NAME, matpower:CASE, or the path of a network file"
            problem = Problem(where="network", what=f"{network_ref} is no file", remedy=remedy)
            raise InputError([problem])
        case = new_case(path.name, folder=path.parent, **fields)  # type: ignore[arg-type]
    return Study(case=case, network_ref=network_ref)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A study to begin with: what it shows, and what it is made of."""

    name: str
    description: str
    network: str
    day: date
    periods: int | None
    mtu_minutes: int
    feeder: str | None
    import_price_eur_per_mwh: float | None
    limits: Mapping[str, float]
    settings: tuple[Setting, ...]

    def study(self) -> Study:
        """Make the study."""
        study = new_study(
            self.network,
            name=self.name,
            day=self.day,
            periods=self.periods,
            mtu_minutes=self.mtu_minutes,
            feeder=self.feeder,
            limits=self.limits,
            import_price_eur_per_mwh=self.import_price_eur_per_mwh,
        )
        return study.with_settings(self.settings) if self.settings else study


def templates(folder: Path = TEMPLATES) -> tuple[Template, ...]:
    """Return the templates of a folder, by name.

    Raises
    ------
    InputError
        Every field of every file that cannot be.
    """
    problems: list[Problem] = []
    found = [_read_template(path, problems) for path in sorted(folder.glob("*.toml"))]
    if problems:
        raise InputError(problems)
    return tuple(template for template in found if template is not None)


def template(name: str, folder: Path = TEMPLATES) -> Template:
    """Return one template.

    Raises
    ------
    InputError
        If there is none of the name.
    """
    known = templates(folder)
    for each in known:
        if each.name == name:
            return each
    remedy = f"one of {', '.join(each.name for each in known)}"
    raise InputError([Problem(where="template", what=f"there is no {name!r}", remedy=remedy)])


def _read_template(path: Path, problems: list[Problem]) -> Template | None:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(Problem(where=path.name, what=f"cannot be read: {error}"))
        return None
    reader = FieldReader(path.name, content, problems)
    description, network = reader.text("description"), reader.text("network")
    day = reader.take("day")
    if not isinstance(day, date) or isinstance(day, datetime):
        reader.report(f"day is {day!r}", "state a local day, e.g. day = 2016-07-25")
        day = date(2016, 7, 25)
    feeder = reader.text("feeder", "")
    limits = FieldReader(f"{path.name} [limits]", reader.fields.pop("limits", {}), problems)
    settings = FieldReader(f"{path.name} [settings]", reader.fields.pop("settings", {}), problems)
    made = Template(
        name=path.stem,
        description=description,
        network=network,
        day=day,
        periods=reader.count("periods", minimum=1),
        mtu_minutes=reader.count("mtu_minutes", default=15, minimum=1) or 15,
        feeder=feeder or None,
        import_price_eur_per_mwh=reader.number("import_price_eur_per_mwh"),
        limits={
            field: value
            for field in list(limits.fields)
            if (value := limits.number(field, minimum=1e-9)) is not None
        },
        settings=settings_of(settings.fields),
    )
    reader.close()
    return made

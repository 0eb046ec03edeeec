"""What pandapower's own AC optimal power flow says to one period of a case."""

from __future__ import annotations

from data.records.clearing import ClearingCase
from data.records.order import DemandOrder, GenerationOrder, StorageOrder


def run_opp(case: ClearingCase, code: str, period: int) -> str:
    """Run `runopp` on one period with the same offers; storages idle, it knows no energy.

    Parameters
    ----------
    case : ClearingCase
        The case whose offers, loads and limits are used.
    code : str
        SimBench code of its grid.
    period : int
        The period.

    Returns
    -------
    str
        ``converged``, or ``failed:`` and the name of the exception.
    """
    import warnings

    with warnings.catch_warnings():
        # Deprecations inside pandapower and simbench concern their authors.
        warnings.simplefilter("ignore")
        import pandapower
        import simbench

        net = simbench.get_simbench_net(code)
        _set_powers(net, case, period)
        _set_offers(net, case, period)
        try:
            pandapower.runopp(net)
        except Exception as error:  # noqa: BLE001  whatever it raises is the measurement
            return f"failed: {type(error).__name__}"
        return "converged"


def _set_powers(net: object, case: ClearingCase, period: int) -> None:
    """Loads and generators of the period."""
    tables = (
        ("load", case.network.loads, case.load_p_mw, case.load_q_mvar),
        ("sgen", case.network.sgens, case.sgen_p_mw, case.sgen_q_mvar),
    )
    net.ext_grid["controllable"] = False  # type: ignore[attr-defined]  # its voltage is given
    for kind in ("load", "sgen", "storage"):
        table = getattr(net, kind)
        table["controllable"] = False
        for bound in ("min_p_mw", "max_p_mw", "min_q_mvar", "max_q_mvar"):
            table[bound] = float("nan")
    for kind, elements, p_mw, q_mvar in tables:
        table = getattr(net, kind)
        table.loc[elements.index, "p_mw"] = p_mw[period]
        table.loc[elements.index, "q_mvar"] = q_mvar[period]
        table["scaling"] = 1.0


def _set_offers(net: object, case: ClearingCase, period: int) -> None:
    """Offers as controllable elements with linear costs [EUR/MWh]; import at its price."""
    from pandapower import create_poly_cost

    price = float(case.import_price_eur_per_mwh[period])
    create_poly_cost(net, 0, "ext_grid", cp1_eur_per_mw=price)
    for order in case.orders:
        element = int(str(order.asset).partition(":")[2])
        if isinstance(order, GenerationOrder):
            step = order.steps[0]
            _control(net, "sgen", element, (0.0, float(step.p_mw[period])))
            cost = float(step.price_eur_per_mwh[period])
            create_poly_cost(net, element, "sgen", cp1_eur_per_mw=cost)
        elif isinstance(order, StorageOrder):
            net.storage.loc[element, ["p_mw", "q_mvar"]] = 0.0  # type: ignore[attr-defined]
        elif isinstance(order, DemandOrder):
            most = sum(float(step.p_mw[period]) for step in order.steps)
            _control(net, "load", element, (float(order.p_mw_min[period]), most))
            worth = float(order.steps[-1].price_eur_per_mwh[period])
            create_poly_cost(net, element, "load", cp1_eur_per_mw=-worth)


def _control(net: object, kind: str, element: int, range_mw: tuple[float, float]) -> None:
    """Let an element move within a range of active power at its reactive power."""
    table = getattr(net, kind)
    q_mvar = float(table.loc[element, "q_mvar"])
    table.loc[element, ["min_p_mw", "max_p_mw"]] = range_mw
    table.loc[element, ["min_q_mvar", "max_q_mvar"]] = (q_mvar, q_mvar)
    table.loc[element, "controllable"] = True

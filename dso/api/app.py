"""The application: all routes under /api/v1, their OpenAPI, limits and the log of requests."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request, Response

from dso.api import (
    routes_access,
    routes_collateral,
    routes_flexibility,
    routes_forecasts,
    routes_ledger,
    routes_market,
    routes_meters,
    routes_orders,
    routes_results,
    routes_runs,
    routes_studies,
)
from dso.api.limits import BodyLimit
from dso.api.market import Market
from dso.api.models import BulkOrders, BulkReadings, StudyRequest
from dso.api.problems import ProblemBody, add_problem_handlers
from dso.api.rights import PREFIX

DESCRIPTION: Final = """\
The interface of a local electricity market. Execution is by clearing alone: nobody matches orders
here. Instants carry an offset; energy is Wh, power in orders MW, money micro-EUR. Refusals are
problem+json and list every problem."""
ROUTES: Final = (
    routes_access, routes_market, routes_orders, routes_collateral, routes_results, routes_runs,
    routes_forecasts, routes_flexibility, routes_studies, routes_meters, routes_ledger,
)  # fmt: skip
SCHEMAS: Final = (ProblemBody, BulkOrders, BulkReadings, StudyRequest)


def make_api(market: Market, app: FastAPI | None = None) -> FastAPI:
    """Return an application with the API, or add the API to one.

    Parameters
    ----------
    market : Market
        What it stands on.
    app : FastAPI or None
        An application that has other routes, as `dso.api.health.make_health_app` makes it.
    """
    app = app or FastAPI(title="Gridclear", docs_url=None, redoc_url=None)
    app.title, app.description, app.version = "Gridclear", DESCRIPTION, "1"
    app.openapi_url = f"{PREFIX}/openapi.json"
    app.state.market = market
    add_problem_handlers(app)
    for module in ROUTES:
        app.include_router(module.router, prefix=PREFIX)
    app.setup()
    app.add_middleware(BodyLimit, bytes_max=market.limits.body_bytes_max)
    app.middleware("http")(_log_request)
    app.openapi = _with_schemas(app.openapi)  # type: ignore[method-assign]
    return app


async def _log_request(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Write one line for each request: no header, no query, no body, so no secret."""
    began_s = time.perf_counter()
    response = await call_next(request)
    caller = getattr(request.state, "caller", None)
    route = request.scope.get("route")
    structlog.get_logger().debug(
        "request",
        method=request.method,
        route=getattr(route, "path", "unknown"),
        status=int(response.status_code),
        party=getattr(caller, "party", None),
        milliseconds=round((time.perf_counter() - began_s) * 1000, 1),
    )
    return response


def _with_schemas(make: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """Add the schemas that are named but not found by FastAPI itself."""

    def made() -> dict[str, Any]:
        document = make()
        schemas = document["components"].setdefault("schemas", {})
        for model in SCHEMAS:
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            for name, inner in schema.pop("$defs", {}).items():
                schemas.setdefault(name, inner)
            schemas.setdefault(model.__name__, schema)
        return document

    return made

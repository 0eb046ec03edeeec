"""`/health` and `/metrics`: for load balancers, for Prometheus, for whoever is on call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from dso.scheduler.metrics import Health, Watch


def make_health_app(watch: Watch) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    watch : Watch
        Looks at the market when it is asked.
    """
    app = FastAPI(title="Gridclear", docs_url=None, redoc_url=None, openapi_url=None)

    def health() -> Response:
        """Answer 200 while the market runs without a problem, else 503, with the numbers."""
        found: Health = watch.health()
        body = {"status": "problem" if found.problems else "ok", **asdict(found)}
        return JSONResponse(body, status_code=503 if found.problems else 200)

    def metrics() -> Response:
        """Answer in Prometheus' text format."""
        return Response(watch.metrics(), media_type=CONTENT_TYPE_LATEST)

    app.add_api_route("/health", health, methods=["GET"])
    app.add_api_route("/metrics", metrics, methods=["GET"])
    return app


def serve_app(app: FastAPI, *, host: str, port: int, on_end: Callable[[], None]) -> None:
    """Serve until the process is told to end (SIGTERM or SIGINT), then call ``on_end``."""
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(app, host=host, port=port, log_level="warning", access_log=False)
    )
    try:
        server.run()
    finally:
        on_end()

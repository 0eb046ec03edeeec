"""Refusals as problem+json (RFC 9457) that list every problem found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError

from data.errors import InputError, Problem

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
TEXT_LENGTH_MAX: Final = 300


class ProblemItem(BaseModel):
    """One thing wrong: where it is, what it is, what to do about it."""

    where: str
    what: str
    remedy: str


class ProblemBody(BaseModel):
    """RFC 9457, with all problems."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    problems: list[ProblemItem]


class Refusal(Exception):
    """An answer that is no: status, problems, headers."""

    def __init__(
        self, status: int, problems: Sequence[Problem], headers: Mapping[str, str] | None = None
    ) -> None:
        self.status, self.problems, self.headers = status, tuple(problems), dict(headers or {})
        super().__init__("; ".join(str(problem) for problem in problems))


def not_found(what: str) -> Refusal:
    """Return the answer for what is not there, or not for the one who asks."""
    return Refusal(HTTPStatus.NOT_FOUND, [Problem(where=what, what="is unknown")])


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of refusals."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {
                PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}
            },
        }
        for status in statuses
    }


def problem_answer(
    status: int, problems: Sequence[Problem], headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return a refusal as a response."""
    body = ProblemBody(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        problems=[
            ProblemItem(
                where=problem.where[:TEXT_LENGTH_MAX],
                what=problem.what[:TEXT_LENGTH_MAX],
                remedy=problem.remedy,
            )
            for problem in problems
        ],
    )
    return JSONResponse(
        body.model_dump(), status_code=status, headers=headers, media_type=PROBLEM_MEDIA_TYPE
    )


def validation_problems(error: RequestValidationError | ValidationError) -> list[Problem]:
    """Return what pydantic found; the values themselves may be secret and stay out."""
    return [
        Problem(where=".".join(str(part) for part in each["loc"]) or "body", what=each["msg"])
        for each in error.errors()
    ]


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every refusal of an application as problem+json."""

    def refused(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Refusal)
        return problem_answer(error.status, error.problems, error.headers)

    def bad_input(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, InputError)
        return problem_answer(HTTPStatus.UNPROCESSABLE_ENTITY, error.problems)

    def invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError | ValidationError)
        return problem_answer(HTTPStatus.UNPROCESSABLE_ENTITY, validation_problems(error))

    def plain(_request: Request, error: Exception) -> JSONResponse:
        status, detail = int(getattr(error, "status_code")), str(getattr(error, "detail"))  # noqa: B009 - the base has both
        problem = Problem(where="request", what=detail)
        return problem_answer(status, [problem], getattr(error, "headers", None))

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(InputError, bad_input)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ValidationError, invalid)
    # its base is what the router raises for paths that are none
    app.add_exception_handler(HTTPException.__bases__[0], plain)

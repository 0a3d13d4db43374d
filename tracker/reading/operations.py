"""What the API does, each operation declared once beside the method that does it: from the declaration come its route,
the reading of its parameters, and its part of ``/api/openapi.json``, where the method's docstring is the description.

To add one, write a line above a method of a class that has a ``gate``, and name the class among the parts of the API in
``tracker.app``::

    @reads("/api/v1/things/{id}", THING_ID, *LIST, gives=rows(models.Thing))
    async def things(self, request: Request, asked: Asked) -> Response:
        \"\"\"The things of one kind, newest first.\"\"\"

``reads`` and ``writes`` (``tracker.reading.answers``) want one of ``tracker.api_keys`` and refuse as this API does.
What has its own way to ask for a key and to say what is wrong is declared with ``described`` instead.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tracker.reading import models
from tracker.reading.parameters import Param

JSON, CSV, PROBLEM = "application/json", "text/csv", "application/problem+json"

Content = Mapping[str, Any]
"""By media type the model of what is said, or the JSON Schema of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer means, what is in it, and the headers that tell something."""

    about: str
    content: Content = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


Answers = Mapping[int, Answer]
"""By status."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path, the path as Starlette writes it. ``takes`` is the body; ``security`` is the OpenAPI
    security scheme by which it knows who asks, None where anybody may."""

    method: str
    path: str
    params: tuple[Param, ...]
    answers: Answers
    takes: Content = field(default_factory=dict)
    security: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        in_path = {param.name for param in self.params if param.where == "path"}
        if set(re.findall(r"{(\w+)", self.path)) != in_path:
            raise ValueError(f"{self.path}: declare what stands in the path, and nothing else, with in_path()")

    @property
    def template(self) -> str:
        """The path as OpenAPI writes it."""
        return re.sub(r"{(\w+):\w+}", r"{\1}", self.path)


Endpoint = TypeVar("Endpoint", bound=Callable[..., Awaitable[Response]])
Bound = Callable[[Request], Awaitable[Response]]


def one(model: type[BaseModel], status: int = 200, about: str = "As asked.") -> dict[int, Answer]:
    """An answer that is one object."""
    return {status: Answer(about, {JSON: model})}


def rows(model: type[BaseModel]) -> Answers:
    """A page of a list, or a list as CSV."""
    table = {"type": "string", "description": f"A header and a line a row: {', '.join(models.columns(model))}."}
    content: Content = {JSON: models.page_of(model), CSV: table}
    return {200: Answer("Rows of the list.", content, {"X-Next-Cursor": "With CSV: the cursor to go on after."})}


def described(operation: Operation) -> Callable[[Endpoint], Endpoint]:
    """Declare a method that answers with what ``operation`` says."""

    def declare(endpoint: Endpoint) -> Endpoint:
        endpoint.operation = operation  # type: ignore[attr-defined]
        return endpoint

    return declare


def operations_of(part: object) -> list[tuple[Operation, Bound]]:
    """What a part of the API declares, in order, each with the method that does it."""
    methods = [getattr(part, name) for name, member in vars(type(part)).items() if hasattr(member, "operation")]
    return [(method.operation, method) for method in methods]


def routes_of(part: object) -> list[Route]:
    """The routes of a part of the API: one a path, so that who uses a method that is not there is told all that are."""
    by_path: dict[str, dict[str, Bound]] = {}
    for operation, method in operations_of(part):
        by_path.setdefault(operation.path, {})[operation.method] = method
    return [_route(path, methods) for path, methods in by_path.items()]


def _route(path: str, methods: Mapping[str, Bound]) -> Route:
    async def answer(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return Route(path, answer, methods=list(methods))

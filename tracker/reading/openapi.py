"""The API's own description, OpenAPI 3.1, made from what is declared beside each of its methods."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from tracker.reading import shapes
from tracker.reading.operations import JSON, Answer, Bound, Content, Operation, described, operations_of
from tracker.reading.parameters import Param

_ABOUT = """Mail that was accepted, what became of it, who opened and clicked.

Times are UTC (RFC 3339). Lists come by the page: go on with `next` as `cursor`. Errors are RFC 9457 problems, whose
`detail` says what to do."""
_DOCUMENT: Content = {JSON: {"type": "object", "required": ["openapi", "paths"]}}

Schemas = Mapping[tuple[Any, JsonSchemaMode], Mapping[str, Any]]


class Description:
    """The document at ``/api/openapi.json``, of these parts of the API and itself. It holds no data, so it is there for
    everybody who can reach it."""

    def __init__(self, parts: Sequence[object]) -> None:
        self._parts = parts

    @described(Operation("GET", "/api/openapi.json", (), {200: Answer("The document.", _DOCUMENT)}))
    async def openapi(self, request: Request) -> Response:
        """This document."""
        return Response(self._octets, media_type=JSON)

    @cached_property
    def _octets(self) -> bytes:
        return shapes.to_json(document([*self._parts, self], _version()))


def document(parts: Sequence[object], version: str) -> dict[str, Any]:
    """The document that describes these parts of the API. Pure."""
    found = [each for part in parts for each in operations_of(part)]
    models = dict.fromkeys(_models(operation for operation, _ in found))
    schemas, definitions = models_json_schema(list(models), ref_template="#/components/schemas/{model}")
    paths: dict[str, dict[str, Any]] = {}
    security: dict[str, Any] = {}
    for operation, method in found:
        security.update(operation.security or {})
        paths.setdefault(operation.template, {})[operation.method.lower()] = _operation(operation, method, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tracepost",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": definitions.get("$defs", {}), "securitySchemes": security},
    }


def _models(operations: Iterator[Operation]) -> Iterator[tuple[type[BaseModel], JsonSchemaMode]]:
    for operation in operations:
        for answer in operation.answers.values():
            yield from ((model, "serialization") for model in _models_in(answer.content))
        yield from ((model, "validation") for model in _models_in(operation.takes))


def _models_in(content: Any) -> Iterator[type[BaseModel]]:
    if isinstance(content, type):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _models_in(value)


def _operation(operation: Operation, method: Bound, schemas: Schemas) -> dict[str, Any]:
    text = inspect.getdoc(method) or ""
    segments = [segment for segment in operation.path.split("/") if segment not in ("", "api", "v1")]
    about: dict[str, Any] = {
        "operationId": method.__name__,
        "summary": text.partition("\n")[0],
        "description": text,
        "tags": [segments[0].partition(".")[0]],
        "parameters": [_parameter(param) for param in operation.params],
        "responses": {str(status): _answer(answer, schemas) for status, answer in operation.answers.items()},
        "security": [{name: []} for name in operation.security or ()],
    }
    if operation.takes:
        about["requestBody"] = {"required": True, "content": _content(operation.takes, "validation", schemas)}
    return about


def _parameter(param: Param) -> dict[str, Any]:
    about = {"name": param.name, "in": param.where, "description": param.about, "schema": dict(param.schema)}
    if param.required:
        return about | {"required": True}
    # One that is empty is as if it were not there, as a form of a browser sends it.
    return about | {"allowEmptyValue": True}


def _answer(answer: Answer, schemas: Schemas) -> dict[str, Any]:
    about: dict[str, Any] = {"description": answer.about}
    if answer.content:
        about["content"] = _content(answer.content, "serialization", schemas)
    if answer.headers:
        texts = answer.headers.items()
        about["headers"] = {name: {"description": text, "schema": {"type": "string"}} for name, text in texts}
    return about


def _content(content: Content, mode: JsonSchemaMode, schemas: Schemas) -> dict[str, Any]:
    return {kind: {"schema": _schema(value, mode, schemas)} for kind, value in content.items()}


def _schema(value: Any, mode: JsonSchemaMode, schemas: Schemas) -> Any:
    """A schema, with references in the place of models."""
    if isinstance(value, type):
        return schemas[value, mode]
    return {name: _schema(each, mode, schemas) for name, each in value.items()} if isinstance(value, dict) else value


def _version() -> str:
    try:
        return version("tracepost")
    except PackageNotFoundError:
        return "0"

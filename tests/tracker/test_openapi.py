"""``/api/openapi.json``: valid, whole, and true of what the app does."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from tests.tracker.tracked import READ_KEY, Tracker, configured, tracker
from tracker.app import create_admin_app
from tracker.reading import models, report_models, reports
from tracker.reading.openapi import document
from tracker.reading.operations import Operation, described, one
from tracker.reading.parameters import in_path, text


@pytest.fixture
async def t(tmp_path: Path) -> AsyncIterator[Tracker]:
    async with tracker(tmp_path) as running:
        yield running


@pytest.fixture
async def spec(t: Tracker) -> dict[str, Any]:
    """The document, as anybody gets it."""
    answer = await t.client.get("/api/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    return dict(answer.json())


def operations(spec: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, each) for path, methods in spec["paths"].items() for method, each in methods.items()]


async def test_it_is_a_valid_document(spec: dict[str, Any]) -> None:
    assert spec["openapi"] == "3.1.0"
    assert [str(error) for error in OpenAPIV31SpecValidator(spec).iter_errors()] == []


async def test_every_route_is_in_it_and_nothing_else(t: Tracker, spec: dict[str, Any]) -> None:
    app = create_admin_app(configured(), t.store, t.recorder, t.clock)
    routes = [route for route in app._app.routes if isinstance(route, Route) and route.path.startswith("/api/")]  # type: ignore[attr-defined]
    assert len({route.path for route in routes}) == len(routes), "one route a path, or 'Allow' would not be whole"
    there = {
        (re.sub(r"{(\w+):\w+}", r"{\1}", route.path), method.lower())
        for route in routes
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert there == {(path, method) for path, method, _ in operations(spec)}
    assert len(there) >= 11


async def test_everything_is_described(spec: dict[str, Any]) -> None:
    for path, method, operation in operations(spec):
        assert operation["summary"].endswith("."), (path, method)
        assert operation["tags"]
        for parameter in operation["parameters"]:
            assert parameter["description"].endswith("."), (path, parameter["name"])
            assert parameter["schema"].get("type") or parameter["schema"]["anyOf"]
        for status, answer in operation["responses"].items():
            assert answer["description"], (path, status)
            assert answer["content"], (path, status)


async def test_whoever_asks_must_show_a_key_and_every_refusal_is_a_problem(spec: dict[str, Any]) -> None:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, method, operation in operations(spec):
        if path == "/api/openapi.json":
            assert operation["security"] == []
            continue
        assert operation["security"] == [{"key": []}]
        refusals = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert {"400", "401", "503"} <= set(refusals)
        assert ("403" in refusals) == (method != "get")
        assert ("415" in refusals) == ("requestBody" in operation)
        assert all(answer["content"] == problem for answer in refusals.values())
        assert refusals["401"]["headers"]["WWW-Authenticate"]
        assert refusals["503"]["headers"]["Retry-After"]


async def test_it_holds_no_secret_and_wants_no_key(t: Tracker, spec: dict[str, Any]) -> None:
    with_key = await t.client.get("/api/openapi.json", headers={"Authorization": f"Bearer {READ_KEY}"})
    assert with_key.json() == spec
    assert READ_KEY not in with_key.text
    assert (await t.client.post("/api/openapi.json")).status_code == 405


async def test_parameters_say_what_they_take(spec: dict[str, Any]) -> None:
    parameters = {each["name"]: each for each in spec["paths"]["/api/v1/messages"]["get"]["parameters"]}
    assert set(parameters) == {
        *("sender", "tag", "mailing", "mailing_key", "message_id", "recipient", "status", "q", "from", "to"),
        *("limit", "cursor", "format"),
    }
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
    assert parameters["format"]["schema"] == {"type": "string", "enum": ["json", "csv"]}
    assert "bounced" in parameters["status"]["schema"]["enum"]
    (id,) = spec["paths"]["/api/v1/messages/{id}"]["get"]["parameters"]
    assert (id["in"], id["required"], id["schema"]) == ("path", True, {"type": "string", "format": "uuid"})
    removal = {each["name"]: each for each in spec["paths"]["/api/v1/suppressions"]["delete"]["parameters"]}
    assert removal["address"]["required"]


async def test_the_stream_of_events_says_what_a_line_is(spec: dict[str, Any]) -> None:
    content = spec["paths"]["/api/v1/events"]["get"]["responses"]["200"]["content"]
    assert content["application/x-ndjson"]["schema"]["contentSchema"] == {"$ref": "#/components/schemas/Event"}
    assert "class" in spec["components"]["schemas"]["Event"]["properties"]


def test_a_report_s_columns_are_those_of_its_model() -> None:
    assert set(models.columns(report_models.Totals)) == set(reports.COUNTS)
    assert set(models.columns(report_models.DomainCounts)) == {"domain", *reports.OF_A_PART}
    assert set(models.columns(report_models.TagCounts)) == {"tag", *reports.OF_A_PART}
    assert models.columns(report_models.Rates) == tuple(reports.RATES)


THING = in_path("id", "A thing.")
HEADER = {"token": {"type": "apiKey", "in": "header", "name": "X-Token"}}


class Others:
    """A part of the API that has its own ways."""

    @described(Operation("GET", "/stats/{id:path}", (THING, text("tag", "A tag.")), one(models.Problem), {}, HEADER))
    async def stats(self, request: Any) -> Any:
        """Numbers of a thing.

        With more to say."""


def test_others_declare_theirs_in_a_line() -> None:
    spec = document([Others()], "1")
    assert [str(error) for error in OpenAPIV31SpecValidator(spec).iter_errors()] == []
    operation = spec["paths"]["/stats/{id}"]["get"]
    assert (operation["operationId"], operation["summary"], operation["tags"]) == (
        "stats",
        "Numbers of a thing.",
        ["stats"],
    )
    assert operation["security"] == [{"token": []}]
    assert spec["components"]["securitySchemes"] == HEADER


@pytest.mark.parametrize(("path", "declared"), [("/x/{id}", ()), ("/x", (THING,)), ("/x/{other}", (THING,))])
def test_what_stands_in_the_path_must_be_declared(path: str, declared: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="declare"):
        Operation("GET", path, declared, {})

"""Whether answers of the API are as ``/api/openapi.json`` says, judged by another's JSON Schema validator."""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Any

import httpx
from jsonschema import Draft202012Validator


class Judge:
    """Knows one document; ``check`` fails on any answer under ``/api/`` that is not in it as it came."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def check(self, answer: httpx.Response) -> None:
        operation = self.operation(answer.request.method, answer.request.url.path)
        if operation is None:
            assert answer.status_code in (404, 405), (answer.request.url, answer.status_code)
            said: dict[str, Any] = {"content": {"application/problem+json": {"schema": self.reference("Problem")}}}
        else:
            assert str(answer.status_code) in operation["responses"], (answer.request.url, answer.status_code)
            said = operation["responses"][str(answer.status_code)]
        media_type = answer.headers["content-type"].partition(";")[0]
        assert media_type in said["content"], (answer.request.url, media_type)
        if media_type.endswith(("/json", "+json")) and answer.request.method != "HEAD":
            self.fits(answer.json(), said["content"][media_type]["schema"])
        if media_type == "application/x-ndjson":
            for line in answer.text.splitlines():
                self.fits(json.loads(line), said["content"][media_type]["schema"]["contentSchema"])

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """The operation that a request is for, None where there is none such."""
        for pattern, methods in self._paths:
            if pattern.fullmatch(path):
                return methods.get("get" if method == "HEAD" else method.lower())
        return None

    def fits(self, value: Any, schema: dict[str, Any]) -> None:
        """A value is as a schema wants it."""
        whole = {**schema, "components": self.document["components"]}
        Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)

    @staticmethod
    def reference(name: str) -> dict[str, str]:
        return {"$ref": f"#/components/schemas/{name}"}

    @cached_property
    def _paths(self) -> list[tuple[re.Pattern[str], dict[str, Any]]]:
        # An address may hold slashes.
        return [
            (re.compile(re.sub(r"{\w+}", "[^/]+", path.replace("{address}", ".*")), re.S), methods)
            for path, methods in sorted(self.document["paths"].items(), key=lambda pair: "{" in pair[0])
        ]

"""The OpenAPI description beyond the routes: texts, error responses, and schemas of request bodies."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from superimap.api.errors import MEDIA_TYPE, Problem
from superimap.api.request_body import FORM, JSON
from superimap.api.schemas.accounts import ConnectionChange, NewConnection, NewUser, UserChange
from superimap.api.schemas.api_keys import ApiKeyChange, NewApiKeyRequest
from superimap.api.schemas.common import ProblemOut
from superimap.api.schemas.deliveries import CancelRequest, ReplayRequest
from superimap.api.schemas.operator_jobs import NewJob
from superimap.api.schemas.operator_partners import (
    NewPartnerKey,
    NewPartnerRequest,
    PartnerChange,
    QuotaChange,
)
from superimap.api.schemas.operator_people import OperatorChange
from superimap.api.schemas.operator_providers import NewProvider, ProviderUpdate
from superimap.api.schemas.sweeps import NewSweep
from superimap.api.schemas.user_batches import NewUserBatch
from superimap.api.schemas.webhooks import RotateRequest, TestRequest

BODIES: tuple[type[BaseModel], ...] = (
    NewConnection,
    ConnectionChange,
    NewUser,
    UserChange,
    NewUserBatch,
    NewSweep,
    ReplayRequest,
    CancelRequest,
    RotateRequest,
    TestRequest,
    NewApiKeyRequest,
    ApiKeyChange,
    NewPartnerRequest,
    PartnerChange,
    QuotaChange,
    NewPartnerKey,
    NewProvider,
    ProviderUpdate,
    NewJob,
    OperatorChange,
)
REF_TEMPLATE = "#/components/schemas/{model}"
# Published schema names of classes that are called differently in the code. Generated clients contain them.
PUBLISHED_NAMES = {
    "ProblemOut": "Problem",
    "MailOutcome": "Outcome",
    "MessageDeliveryOut": "MessageDelivery",
}
DESCRIPTION = """\
Watches IMAP mailboxes and POSTs a signed webhook for every new mail.

A partner calls this API with its API key and sees only its own data. In production, plain HTTP
is refused with 403. Bodies are JSON, or the same fields as `application/x-www-form-urlencoded`, of at most
256 KiB. Unknown fields are ignored, except where a request selects deliveries. Errors are
`application/problem+json` (RFC 9457).

Paths under `/api/v1/operator` are for operators and their programs. They need a token of an operator, and
accept no API key; a token opens no other path.
"""
TAGS = (
    {"name": "connections", "description": "Connections between you and the mail providers of your users."},
    {"name": "users", "description": "Users whose mailboxes are watched."},
    {"name": "messages", "description": "Mails that were seen, and why each has a webhook or none."},
    {"name": "sweeps", "description": "Readings of a mailbox's history into webhooks."},
    {
        "name": "deliveries",
        "description": "Webhooks: pending, delivered and failed ones. Failed ones can be replayed.",
    },
    {"name": "webhooks", "description": "Endpoints of webhooks, test webhooks, and signing secrets."},
    {
        "name": "api keys",
        "description": "Your API keys: names, scopes, source networks, and which one signs.",
    },
    {"name": "portal", "description": "Pages for a person of yours, opened by a link."},
    {"name": "audit log", "description": "Who changed what."},
    {
        "name": "webhook test",
        "description": "Receivers for trying out webhooks. They answer OK and drop the content.",
    },
    {"name": "health", "description": "Health checks for load balancers and orchestrators."},
    {
        "name": "operators",
        "description": "Status of the installation, for operators. Needs OPERATOR_KEY; API keys are refused.",
    },
    {"name": "operator: partners", "description": "Partners, their quotas and connections. Needs a token."},
    {"name": "operator: keys", "description": "API keys and signing secrets of partners. Needs a token."},
    {"name": "operator: providers", "description": "Mail providers. Needs a token."},
    {"name": "operator: status", "description": "The cluster, and what is wrong now. Needs a token."},
    {"name": "operator: jobs", "description": "Long actions on many webhooks. Needs a token."},
    {"name": "operator: people", "description": "Operators, and who changed what. Needs a token."},
)

_EXAMPLES: Mapping[int, Problem] = {
    401: Problem(401, "Partner not found. Check your api_key."),
    403: Problem(
        403, "This API key does not have the scope write; use a key that has it.", kind="scope-missing"
    ),
    404: Problem(404, "User not found for 'MY_USER'."),
    408: Problem(408, "The body did not arrive within 10 s."),
    409: Problem(
        409, "Another user of this connection has this tag.", kind="taken", errors=[("tag", "is taken")]
    ),
    413: Problem(413, "The body is too large: at most 262144 bytes are accepted.", kind="too-large"),
    415: Problem(415, f"Send {JSON} or {FORM}, and name it in the header Content-Type."),
    422: Problem(422, "Tag is missing.", kind="invalid", errors=[("tag", "is missing")]),
    429: Problem(429, "A partner can send at most 10 test webhooks per minute; try again in 41 s."),
    503: Problem(503, "The database cannot be reached at the moment.", kind="unavailable"),
}
_HEADERS: Mapping[int, tuple[str, str]] = {
    401: ("WWW-Authenticate", "How to authenticate."),
    429: ("Retry-After", "Seconds after which another request is accepted."),
    503: ("Retry-After", "Seconds after which to try again."),
}


KEY_PROBLEMS = (401, 403, 429)
"""Error statuses of every route that needs an API key."""


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route for these error statuses."""
    return {status: _problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    schema = {"$ref": REF_TEMPLATE.format(model="Problem")}
    content = {MEDIA_TYPE: {"schema": schema, "example": _EXAMPLES[status].body()}}
    described: dict[str, Any] = {"description": HTTPStatus(status).phrase, "content": content}
    if status in _HEADERS:
        name, description = _HEADERS[status]
        described["headers"] = {name: {"description": description, "schema": {"type": "string"}}}
    return described


def request_body(model: type[BaseModel]) -> dict[str, Any]:
    """Return the `openapi_extra` of a route whose body is read by `read_body(model)`.

    Forms are documented in prose only: with two media types, openapi-python-client 0.29 generates modules that
    cannot be imported.
    """
    schema = {"$ref": REF_TEMPLATE.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema}}}}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the description of the application, built once."""
    if app.openapi_schema is None:
        described = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            tags=app.openapi_tags,
            servers=app.servers or None,
            routes=app.routes,
        )
        described["components"]["schemas"] |= _schemas()
        _drop_validation_errors(described)
        described = _with_published_names(described)
        described["components"]["schemas"] = dict(sorted(described["components"]["schemas"].items()))
        app.openapi_schema = described
    return app.openapi_schema


def _with_published_names(described: dict[str, Any]) -> dict[str, Any]:
    """Return the description with `PUBLISHED_NAMES` as names, titles and targets of references."""
    schemas = described["components"]["schemas"]
    for name, published in PUBLISHED_NAMES.items():
        schemas[published] = schemas.pop(name) | {"title": published}
    references = {REF_TEMPLATE.format(model=name): published for name, published in PUBLISHED_NAMES.items()}

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: renamed(each) for key, each in value.items()}
        if isinstance(value, list):
            return [renamed(each) for each in value]
        if isinstance(value, str) and value in references:
            return REF_TEMPLATE.format(model=references[value])
        return value

    result: dict[str, Any] = renamed(described)
    return result


def _drop_validation_errors(described: dict[str, Any]) -> None:
    """Remove the 422 that FastAPI adds to paths with parameters: ours are never invalid, only unknown."""
    for path in described["paths"].values():
        for operation in path.values():
            if JSON in operation["responses"].get("422", {}).get("content", {}):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        described["components"]["schemas"].pop(name, None)


def _schemas() -> dict[str, Any]:
    """Return the schemas of request bodies and of Problem, which routes reference without FastAPI's knowledge."""
    models: list[tuple[type[BaseModel], Any]] = [(model, "validation") for model in BODIES]
    models.append((ProblemOut, "serialization"))
    _, schema = models_json_schema(models, ref_template=REF_TEMPLATE)
    schemas: dict[str, Any] = schema["$defs"]
    for model in BODIES:
        # A field that is left out keeps its value. A client that sent the default instead would change it.
        for field in schemas[model.__name__]["properties"].values():
            field.pop("default", None)
    return schemas

"""One ASGI application around the services of a process: every route, inside its bounds, and its description."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from broker.endpoints.mcp.route import STREAM_SECONDS, McpEndpoints, Split
from broker.endpoints.oauth import ROUTERS as OAUTH
from broker.endpoints.pages import PAGES
from broker.endpoints.rest import accounts as accounts_routes
from broker.endpoints.rest import audit as audit_routes
from broker.endpoints.rest import bounds, problems
from broker.endpoints.rest import connections as connections_routes
from broker.endpoints.rest import definitions as definitions_routes
from broker.endpoints.rest import executions as executions_routes
from broker.endpoints.rest import grants as grants_routes
from broker.endpoints.rest import health as health_routes
from broker.endpoints.rest import identities as identities_routes
from broker.endpoints.rest import keys as keys_routes
from broker.endpoints.rest import links as links_routes
from broker.endpoints.rest import policy as policy_routes
from broker.endpoints.rest import sessions as sessions_routes
from broker.endpoints.rest import sign_in as sign_in_routes
from broker.endpoints.rest import tenants as tenants_routes
from broker.endpoints.rest import tools as tools_routes
from broker.endpoints.rest import upstream_clients as upstream_clients_routes
from broker.services import Services
from broker.turns import Turns

ROUTERS = (
    tools_routes.router,
    tenants_routes.router,
    identities_routes.router,
    connections_routes.router,
    definitions_routes.router,
    upstream_clients_routes.router,
    accounts_routes.router,
    grants_routes.router,
    keys_routes.router,
    sessions_routes.router,
    links_routes.router,
    sign_in_routes.router,
    policy_routes.router,
    audit_routes.router,
    executions_routes.router,
    health_routes.router,
)


def create_app(services: Services, port: int) -> bounds.Application:
    """The application around `services`, inside its bounds. `port` is the one it listens on."""
    app = FastAPI(
        title="Keyreeve",
        version=version("keyreeve"),
        summary="Credential vault and scoped-tool broker for agents",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    app.state.services = services
    routers = (*ROUTERS, *PAGES, *OAUTH)
    problems.install(app, routers)
    for router in routers:
        app.include_router(router)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    limits = services.settings.limits
    hosts = bounds.accepted_hosts(services.settings.public_url, services.settings.host, port)
    turns = Turns(
        most=limits.requests_per_tenant, share=limits.requests_at_work, waited=services.metrics.waited_in_line
    )
    rest = bounds.Bounds(
        bounds.heads(tools_routes.HotRoute(services, app)),
        hosts=hosts,
        body=limits.admin_request_bytes,
        large_body=limits.request_bytes,
        seconds=limits.request_seconds,
        turns=turns,
    )
    mcp = bounds.Bounds(
        McpEndpoints(services, hosts),
        hosts=hosts,
        body=limits.request_bytes,
        large_body=limits.request_bytes,
        seconds=STREAM_SECONDS,
        turns=turns,
    )
    return Split(mcp, rest)


def describe(app: FastAPI) -> dict[str, Any]:
    """`/openapi.json`: FastAPI's routes, the hot route's own entry, and the bearer scheme."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    for model in (problems.ProblemBody, tools_routes.ExecuteBody, tools_routes.ExecuteResult):
        made = model.model_json_schema(ref_template="#/components/schemas/{model}", by_alias=True)
        components.update(made.pop("$defs", {}))
        components[made["title"]] = made
    execute = dict(tools_routes.EXECUTE_DESCRIPTION)
    execute["responses"] = {
        **{str(k): v for k, v in problems.documented(*tools_routes.EXECUTE_CODES).items()},
        **execute["responses"],
    }
    schema["paths"]["/v1/tools/execute"] = {"post": execute}
    schema["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    for path, item in schema["paths"].items():
        for operation in item.values():
            # FastAPI's own 422 is not what we answer.
            operation["responses"].setdefault("422", {"description": "invalid_input"})
            if path not in health_routes.OPEN_PATHS:
                operation["security"] = [{"bearer": []}]
    components.pop("HTTPValidationError", None)
    components.pop("ValidationError", None)
    app.openapi_schema = schema
    return schema

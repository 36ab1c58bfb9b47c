"""`/tokens`: the access tokens; `/me`: the caller of this request."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from service.domain.access.access import RESERVED_NAMES, TOKEN_NAME_PATTERN, AccessRole, TokenGrant
from service.operations.inference.tokens import grant_token
from service.serving.admin.authorize import GuardedRoute
from service.serving.admin.dependencies import MAX_JSON_INTEGER, Caller, Deps, Reason, requires_role
from service.serving.admin.paging import Page, Paged
from service.serving.admin.schemas import Body, JsonObject, with_example

router = APIRouter(route_class=GuardedRoute, tags=["access"])
ADMIN = requires_role(AccessRole.ADMIN, every_model=True)
MAX_LIFETIME_S = 100 * 365 * 86400
EXAMPLE = {
    "id": 2,
    "name": "deploy",
    "role": "operator",
    "models": ["phishing"],
    "begins_with": "hrt_0123456789abcdef",
    "created_at": "2026-01-31T12:00:00Z",
    "created_by": "cli:ann",
    "expires_at": "2026-03-02T12:00:00Z",
    "used_at": None,
    "revoked_at": None,
}


class MeBody(Body):
    """The caller's name as it appears in the audit, and what it may do."""

    model_config = with_example({"name": "deploy", "role": "operator", "models": ["phishing"]})

    name: str
    role: AccessRole
    models: list[str] | None


class TokenRequest(Body):
    """What a new token allows."""

    model_config = with_example({"name": "deploy", "role": "operator", "models": ["phishing"], "expires_in": 2592000})

    name: str = Field(pattern=f"^{TOKEN_NAME_PATTERN}$", description=f"Not one of {', '.join(sorted(RESERVED_NAMES))}.")
    role: AccessRole
    models: list[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]] | None = Field(
        default=None, min_length=1, max_length=1000, description="Only these; null for all."
    )
    expires_in: int | None = Field(default=None, ge=1, le=MAX_LIFETIME_S, description="Seconds; null for never.")


class TokenBody(Body):
    """A token without its secret."""

    model_config = with_example(EXAMPLE)

    id: int
    name: str
    role: AccessRole
    models: list[str] | None
    begins_with: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None


class MadeToken(TokenBody):
    """A new token with its secret, which is shown only this once."""

    model_config = with_example({**EXAMPLE, "token": "hrt_0123456789abcdef_" + "0" * 43})

    token: str


@router.get("/me", response_model=MeBody, operation_id="showMe", **requires_role(AccessRole.VIEWER))
def show_me(caller: Caller) -> JsonObject:
    """Show the caller of this request and what it may do."""
    return {
        "name": caller.name,
        "role": caller.role,
        "models": None if caller.models is None else sorted(caller.models),
    }


@router.get("/tokens", response_model=Page[TokenBody], operation_id="listTokens", **ADMIN)
def list_tokens(deps: Deps, page: Paged) -> JsonObject:
    """List valid and expired tokens, oldest first."""
    return page.page_after(deps.tokens.list(), key=lambda one: one.id, show=lambda one: one.to_json())


@router.post("/tokens", status_code=201, response_model=MadeToken, operation_id="createToken", **ADMIN)
def create_token(body: TokenRequest, deps: Deps, caller: Caller, response: Response) -> JsonObject:
    """Make a token; its secret cannot be shown again."""
    scope = None if body.models is None else frozenset(body.models)
    grant = TokenGrant(body.name, body.role, scope, body.expires_in)
    made, text = grant_token(deps.services.registry.models, deps.tokens, grant, actor=caller.name)
    response.headers["Cache-Control"] = "no-store"
    return {**made.to_json(), "token": text}


@router.delete("/tokens/{token}", status_code=204, operation_id="revokeToken", **ADMIN)
def revoke_token(
    token: Annotated[int, Path(ge=1, le=MAX_JSON_INTEGER, examples=[2])],
    deps: Deps,
    caller: Caller,
    reason: Reason = "",
) -> Response:
    """Revoke a token; servers refuse it within seconds."""
    deps.tokens.revoke(str(token), actor=caller.name, reason=reason)
    return Response(status_code=204)

"""Creating an access token for existing models."""

from service.domain.access.access import Token, TokenGrant
from service.errors import NotFoundError
from service.ports.registry import Models
from service.ports.serving import Tokens


def grant_token(models: Models, tokens: Tokens, grant: TokenGrant, *, actor: str) -> tuple[Token, str]:
    """Create a token and return it with its text; raise NotFoundError for an unknown model."""
    known = {str(model.name) for model in models.list()}
    missing = sorted((grant.models or frozenset()) - known)
    if missing:
        available = ", ".join(sorted(known)) or "none"
        msg = f"found no model {', '.join(missing)}, expected some of: {available}; see `headrace model list`"
        raise NotFoundError(msg)
    return tokens.create(grant, actor=actor)

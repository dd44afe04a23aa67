"""Step 4: what the conversation this request belongs to has had so far.

Within a conversation the answering variant may get better and not worse, and the conversation has a ceiling of calls and of money. A
conversation is named by the deployment's sticky header, else by the body's `user`; a request with neither stands alone.
"""

from __future__ import annotations

from jevons.gateway.errors import Refusal
from jevons.gateway.sessions import Session, session_hash
from jevons.gateway.steps.parse import Request
from jevons.gateway.table import Model

MAX_ID_CHARACTERS = 256


def identify(model: Model, request: Request) -> int | None:
    """The conversation's hash, or None when the request names none. Tenants (the team header's value) never share one."""
    named = request.headers.get(model.sticky_header, "") if model.sticky_header else ""
    named = named or request.user
    return session_hash(model.key, team_of(model, request), named[:MAX_ID_CHARACTERS]) if named else None


def team_of(model: Model, request: Request) -> str:
    """The team that pays, by the deployment's header; empty = none said."""
    return request.headers.get(model.team_header, "")[:64] if model.team_header else ""


def admit(model: Model, session: Session) -> None:
    """Refusal 429 when the conversation has had all its calls or all its money."""
    if model.session_max_calls is not None and session.calls >= model.session_max_calls:
        raise Refusal(429, "session_limit_exceeded", f"This session has made its {model.session_max_calls} calls. Start a new session.")
    if model.session_budget_usd is not None and session.usd >= model.session_budget_usd:
        message = f"This session has used its budget of {model.session_budget_usd:g} USD. Start a new session."
        raise Refusal(429, "budget_exceeded", message)

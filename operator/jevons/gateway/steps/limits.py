"""Step 2: which request class is this, and does it keep the class' ceilings?

A class with a header match takes a request that carries the header; so does the name in `x-jevons-class`. Such a request was meant for that
class, so one that is too large is refused with the limit and the class named. A class without a match takes what fits into it; what fits
none is `default`.
"""

from __future__ import annotations

from collections.abc import Mapping

from jevons.gateway.errors import Refusal, invalid
from jevons.gateway.steps.parse import Request
from jevons.gateway.table import DEFAULT_CLASS, Model, RequestClass

CLASS_HEADER = "x-jevons-class"


def class_of(model: Model, request: Request, input_tokens: float) -> RequestClass:
    """The class of a request of about `input_tokens` (the high estimate). Refusal 400 when it was named or matched and the request exceeds it."""
    named = request.headers.get(CLASS_HEADER)
    if named and not any(one.header and one.header[0] == CLASS_HEADER for one in model.classes):
        chosen = model.request_class(named)
        if chosen is None:
            raise invalid(f"There is no request class {named[:64]!r}; there are {', '.join(one.name for one in model.classes)}.", param=CLASS_HEADER)
        return _within(chosen, request, input_tokens)
    for one in model.classes:
        if one.header is not None:
            if _matches(one.header, request.headers):
                return _within(one, request, input_tokens)
        elif one.name == DEFAULT_CLASS or _fits(one, request, input_tokens):
            return one
    return RequestClass(DEFAULT_CLASS)


def output_limit(one: RequestClass, request: Request) -> int | None:
    """The most tokens the answer may have: the client's wish, else the class' ceiling. None = no limit but the context."""
    return request.max_output if request.max_output is not None else one.max_output_tokens


def _matches(header: tuple[str, str], headers: Mapping[str, str]) -> bool:
    return headers.get(header[0]) == header[1]


def _fits(one: RequestClass, request: Request, input_tokens: float) -> bool:
    fits_in = one.max_input_tokens is None or input_tokens <= one.max_input_tokens
    return fits_in and (one.max_output_tokens is None or request.max_output is None or request.max_output <= one.max_output_tokens)


def _within(one: RequestClass, request: Request, input_tokens: float) -> RequestClass:
    if one.max_input_tokens is not None and input_tokens > one.max_input_tokens:
        raise too_long(f"class {one.name!r} accepts at most {one.max_input_tokens} input tokens; this request has about {input_tokens:.0f}")
    if one.max_output_tokens is not None and request.max_output is not None and request.max_output > one.max_output_tokens:
        raise too_long(f"class {one.name!r} allows at most {one.max_output_tokens} output tokens; this request asks for {request.max_output}")
    return one


def too_long(sentence: str) -> Refusal:
    """400 context_length_exceeded, in one sentence that names limit and class."""
    return Refusal(400, "context_length_exceeded", f"Request too long: {sentence}.", param="messages")

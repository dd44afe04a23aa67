"""Step 1: read the body once, check what routing and rewriting rely on, and leave everything else to the engine.

orjson refuses number bombs by itself. It reads documents nested up to 1,024 deep and writes them only up to 254, so deeper than `MAX_DEPTH` is
refused here: what was decided can always be sent on. Strings stay strings: nothing here follows a URL or opens a file that
a request names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from jevons.gateway.errors import Refusal, invalid

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 200
MAX_NAME_CHARACTERS = 320
MAX_CHOICES = 128
"""More answers at once than this count as so many: engines refuse far fewer."""
EDGE_BYTES = 8_192
"""The classifier reads so much of a question's beginning and of its end."""

ENDPOINTS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/responses": "responses",
    "/v1/embeddings": "embeddings",
    "/v1/messages": "messages",
}
_LIMIT_FIELDS = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
    "messages": ("max_tokens",),
    "embeddings": (),
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the steps see it. `headers` are lower-case. `needs` are capabilities a variant must have.

    `text` is all text of the prompt. `question` is the part of it in the user's own words: the last user turn; empty when there is none.
    """

    kind: str
    body: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    stream: bool = False
    text: str = ""
    question: str = ""
    messages: int = 1
    images: int = 0
    needs: frozenset[str] = frozenset()
    max_output: int | None = None
    choices: int = 1
    usage_asked: bool = False
    user: str = ""
    flex: bool = False

    @property
    def edges(self) -> str:
        """The first and last 8 KB of the question; of all text when there is no user turn."""
        asked = self.question or self.text
        return asked if len(asked) <= 2 * EDGE_BYTES else f"{asked[:EDGE_BYTES]}\n{asked[-EDGE_BYTES:]}"


def parse(path: str, headers: Mapping[str, str], raw: bytes) -> Request:
    """The request, or a Refusal: 404 for a path that is not served, 413, 400 with the field at fault."""
    kind = ENDPOINTS.get(path.partition("?")[0])
    if kind is None:
        raise Refusal(404, "unknown_url", f"Unknown request URL: {path.partition('?')[0][:200]}. Served are {', '.join(ENDPOINTS)} and /v1/models.")
    if len(raw) > MAX_BODY_BYTES:
        raise Refusal(413, "request_too_large", f"The request body has {len(raw)} bytes; at most {MAX_BODY_BYTES} are accepted.")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise invalid(f"The request body is not valid JSON: {error}.") from None
    if not isinstance(body, dict):
        raise invalid(f"The request body must be a JSON object, not {type(body).__name__}.")
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _deeper_than(body, MAX_DEPTH):
        raise invalid(f"The request body is nested deeper than {MAX_DEPTH} levels.")
    return _request(kind, headers, body)


def _deeper_than(document: dict[str, Any], most: int) -> bool:
    """Whether lists and objects stand in each other more than `most` deep."""
    level: list[Any] = [document]
    for _ in range(most):
        inner = [value for item in level for value in (item.values() if isinstance(item, dict) else item)]
        level = [value for value in inner if isinstance(value, dict | list)]
        if not level:
            return False
    return True


def _request(kind: str, headers: Mapping[str, str], body: dict[str, Any]) -> Request:
    model = _typed(body, "model", str)
    if not model:
        raise invalid("You must provide a model parameter.", param="model")
    if len(model) > MAX_NAME_CHARACTERS or not model.isprintable():
        raise invalid(f"model must be at most {MAX_NAME_CHARACTERS} printable characters.", param="model")
    _typed(body, "tools", list)
    turns = body.get("messages")
    options = _typed(body, "stream_options", dict) or {}
    parts = list(_texts(kind, body))
    return Request(
        kind=kind,
        body=body,
        headers=headers,
        model=model,
        stream=bool(_typed(body, "stream", bool)),
        text="\n".join(part for part in parts if part),
        question=_question(kind, body),
        messages=len(turns) if turns and isinstance(turns, list) else 1,
        images=_images(body),
        needs=_needs(body),
        max_output=_output_limit(kind, body),
        choices=_choices(kind, body),
        usage_asked=options.get("include_usage") is True,
        user=str(body.get("user") or "")[:256],
        flex=body.get("service_tier") == "flex",
    )


def _choices(kind: str, body: Mapping[str, Any]) -> int:
    """How many answers are generated at once: `n` of each prompt, and completions take a list of those (of strings, or of lists of token numbers)."""
    choices, prompts = _typed(body, "n", int), body.get("prompt") if kind == "completions" else None
    several = sum(isinstance(prompt, str | list) for prompt in prompts[:MAX_CHOICES]) if isinstance(prompts, list) else 1
    return max(1, min((1 if choices is None else choices) * max(1, several), MAX_CHOICES))


def _typed(body: Mapping[str, Any], name: str, kind: type) -> Any:
    value = body.get(name)
    if value is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return value
    raise invalid(f"{name} must be of type {kind.__name__}, not {type(value).__name__}.", param=name)


def _output_limit(kind: str, body: Mapping[str, Any]) -> int | None:
    for name in _LIMIT_FIELDS[kind]:
        value = _typed(body, name, int)
        if value is not None:
            if value < 1:
                raise invalid(f"{name} must be at least 1, not {value}.", param=name)
            return int(value)
    return None


def _texts(kind: str, body: Mapping[str, Any]) -> Iterator[str]:
    """Every piece of text that the model will read. A wrong shape is refused where routing needs it, and left to the engine elsewhere."""
    if kind in ("chat", "messages"):
        messages = _typed(body, "messages", list)
        if not messages:
            raise invalid("messages must hold at least one message.", param="messages")
        for position, message in enumerate(messages):
            if not isinstance(message, dict):
                raise invalid(f"messages[{position}] must be an object, not {type(message).__name__}.", param=f"messages[{position}]")
            yield from _content(message.get("content"))
        yield from _content(body.get("system"))
    elif kind == "completions":
        if body.get("prompt") is None:
            raise invalid("You must provide a prompt.", param="prompt")
        yield from _content(body["prompt"])
    else:
        if body.get("input") is None:
            raise invalid("You must provide an input.", param="input")
        yield from _content(body["input"])
        yield from _content(body.get("instructions"))
    if body.get("tools"):
        yield orjson.dumps(body["tools"]).decode()


def _question(kind: str, body: Mapping[str, Any]) -> str:
    """The last user turn that has words of its own: a turn of nothing but tool results or pictures is passed over. Empty when there is none."""
    turns = body.get("input" if kind == "responses" else "messages")
    if isinstance(turns, str):
        return turns
    turns = turns if isinstance(turns, list) and kind != "completions" else []
    for turn in reversed(turns):
        if isinstance(turn, dict) and turn.get("role") == "user":
            words = "\n".join(part for part in _content(_own(turn.get("content"))) if part)
            if words.strip():
                return words
    return ""


def _own(content: object) -> object:
    """Content without the results of tools, which the messages API puts into the user's turn."""
    if not isinstance(content, list):
        return content
    return [part for part in content if not (isinstance(part, dict) and part.get("type") == "tool_result")]


def _content(content: object) -> Iterator[str]:
    """Text in a string, in content parts, in nested messages; a list of token numbers counts 4 characters each."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        numbers = sum(1 for part in content if isinstance(part, int))
        if numbers:
            yield "aaaa" * numbers
        for part in content:
            if isinstance(part, str | list):
                yield from _content(part)
            elif isinstance(part, dict):
                yield from _content(part.get("text"))
                yield from _content(part.get("content"))


def _images(body: Mapping[str, Any]) -> int:
    """How many content parts are pictures."""
    count = 0
    stack: list[Any] = [body.get("messages"), body.get("input")]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            count += str(item.get("type")) in ("image_url", "input_image", "image")
            stack.append(item.get("content"))
    return count


def _needs(body: Mapping[str, Any]) -> frozenset[str]:
    form = body.get("response_format") or (body.get("text") or {} if isinstance(body.get("text"), dict) else {}).get("format") or {}
    schema = (isinstance(form, dict) and form.get("type") in ("json_schema", "json_object")) or bool(body.get("guided_json"))
    wanted = {"Tools": bool(body.get("tools")), "JSONSchema": schema, "Vision": _images(body) > 0}
    return frozenset(name for name, needed in wanted.items() if needed)

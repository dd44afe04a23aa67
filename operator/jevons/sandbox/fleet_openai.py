"""OpenAI's API as an engine speaks it: what a request asks for, and how its answer is written, token by token.

There is no model: text is words chosen by a hash of the prompt, so the same prompt always has the same answer. A prompt has one token per four
bytes, and an answer as many tokens as the header `x-sandbox-output-tokens` (or the body field `sandbox_output_tokens`) says, at most `max_tokens`;
without them `max_tokens`, and without that too a length that follows from the hash. `finish_reason` is `length` when `max_tokens` cut the answer,
else `stop`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import orjson

BYTES_PER_TOKEN = 4
OUTPUT_HEADER = "x-sandbox-output-tokens"
OUTPUT_FIELD = "sandbox_output_tokens"
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings")
EMBEDDING_SIZE = 16

_TEXT = (
    "a about after all also an and answer any are as at back because been before but by can case come could day do each even find first "
    "for from get give go good had has have he her here him his how if in into is it its just know large like look made make many may "
    "more most must no not now of on one only or other our out over part people place point right same say see she small so some state "
    "still such take than that the their them then there these they thing think this those time to two up use very want was way we well "
    "were what when where which while who will with work would year you your "
)
_WORDS = tuple(_TEXT.split())


class RequestError(Exception):
    """A request that an engine refuses, with its HTTP status and the type vLLM gives it."""

    def __init__(self, status: int, message: str, kind: str = "BadRequestError") -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind

    def body(self) -> bytes:
        """The error in OpenAI's form."""
        return orjson.dumps({"error": {"message": str(self), "type": self.kind, "param": None, "code": self.status}})


def count_tokens(text: str) -> int:
    """Tokens of a text: one per four bytes, rounded up."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, understood. `output_tokens` is how many there will be (0 for an embedding)."""

    path: str
    model: str
    prompt_tokens: int
    output_tokens: int
    finish_reason: str
    stream: bool
    include_usage: bool
    seed: int


def read(path: str, body: bytes, headers: Mapping[str, str], *, served: str | None, context_length: int) -> Ask:
    """Understand a request as vLLM would. Raises RequestError (400, 404). `served` None: every model name is served."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, f"the body is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise RequestError(400, "the body must be a JSON object")
    model = data.get("model")
    if not isinstance(model, str) or not model:
        raise RequestError(400, "model: a name is required")
    if served is not None and model != served:
        raise RequestError(404, f"The model `{model}` does not exist.", "NotFoundError")
    if data.get("n", 1) != 1:
        raise RequestError(400, "n: only 1 is simulated")
    text, prompt_tokens = _prompt(path, data)
    if prompt_tokens < 1:
        raise RequestError(400, "the prompt must not be empty")
    output_tokens, finish_reason = (0, "stop") if path == "/v1/embeddings" else _output(path, data, headers, text, context_length - prompt_tokens)
    limit = _max_tokens(path, data)
    if prompt_tokens + max(output_tokens, limit or 0) > context_length or (path != "/v1/embeddings" and prompt_tokens >= context_length):
        completion = limit or output_tokens
        raise RequestError(
            400,
            f"This model's maximum context length is {context_length} tokens. However, you requested {prompt_tokens + completion} tokens "
            f"({prompt_tokens} in the messages, {completion} in the completion). Please reduce the length of the messages or completion.",
        )
    options = data.get("stream_options")
    return Ask(
        path=path,
        model=model,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        finish_reason=finish_reason,
        stream=bool(data.get("stream")) and path != "/v1/embeddings",
        include_usage=isinstance(options, dict) and bool(options.get("include_usage")),
        seed=crc32(text.encode()),
    )


def _prompt(path: str, data: Mapping[str, Any]) -> tuple[str, int]:
    """The prompt's text and its tokens. Token ids count as they are, and stand for their numbers as text."""
    if path == "/v1/chat/completions":
        messages = data.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
            raise RequestError(400, "messages: a list of at least one message is required")
        text = "\n".join(_content(message.get("content")) for message in messages)
        return text, sum(count_tokens(_content(message.get("content"))) for message in messages)
    given = data.get("prompt" if path == "/v1/completions" else "input")
    if isinstance(given, list) and given and all(isinstance(part, int) for part in given):
        return orjson.dumps(given).decode(), len(given)
    if isinstance(given, list) and all(isinstance(part, dict) for part in given):
        given = [_content(part.get("content")) for part in given]
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise RequestError(400, "the prompt must be a string, a list of strings or a list of token ids")
    return "\n".join(texts), sum(count_tokens(text) for text in texts)


def _content(content: object) -> str:
    """The text of a message: a string, or the text parts of a list."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def _max_tokens(path: str, data: Mapping[str, Any]) -> int | None:
    if path == "/v1/embeddings":
        return None
    names = ("max_output_tokens",) if path == "/v1/responses" else ("max_completion_tokens", "max_tokens")
    limit = next((data[name] for name in names if data.get(name) is not None), None)
    if limit is None:
        return None
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise RequestError(400, f"max_tokens must be at least 1, got {limit}.")
    return limit


def _output(path: str, data: Mapping[str, Any], headers: Mapping[str, str], text: str, room: int) -> tuple[int, str]:
    """How many tokens the answer has, and why it ends there."""
    told = headers.get(OUTPUT_HEADER, data.get(OUTPUT_FIELD))
    limit = _max_tokens(path, data)
    if told is None:
        return (limit, "length") if limit is not None else (max(1, min(16 + crc32(text.encode()) % 240, room)), "stop")
    try:
        wanted = int(told)
    except (TypeError, ValueError):
        raise RequestError(400, f"{OUTPUT_HEADER}: {told!r} is not a number") from None
    if wanted < 1:
        raise RequestError(400, f"{OUTPUT_HEADER}: {wanted} must be at least 1")
    ceiling = room if limit is None else limit
    return (wanted, "stop") if wanted <= ceiling else (max(1, ceiling), "length")


class Answer:
    """How one answer is written. Streams are server-sent events: `opening`, one `token` each, `closing`."""

    def __init__(self, ask: Ask, request_id: str) -> None:
        self.ask = ask
        self.id = request_id
        self._created = int(time.time())
        self._model = orjson.dumps(ask.model)
        self._before, self._between, self._after = self._frame()

    def opening(self) -> bytes:
        """What a stream sends before the first token (and together with it)."""
        match self.ask.path:
            case "/v1/chat/completions":
                return self._chunk(b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}')
            case "/v1/responses":
                return (
                    b"event: response.created\ndata: "
                    + orjson.dumps({"type": "response.created", "response": self._response(0, "in_progress")})
                    + b"\n\n"
                )
            case _:
                return b""

    def token(self, index: int) -> bytes:
        """The event of token `index` (1 ..)."""
        last = index == self.ask.output_tokens
        reason = b'"' + self.ask.finish_reason.encode() + b'"' if last else b"null"
        text = self.word(index).encode()
        return self._before + text + self._between + (reason if self._after else b"") + self._after + b"\n\n"

    def closing(self) -> bytes:
        """What a stream sends after the last token."""
        if self.ask.path == "/v1/responses":
            done = {"type": "response.completed", "response": self._response(self.ask.output_tokens, "completed")}
            return b"event: response.completed\ndata: " + orjson.dumps(done) + b"\n\n"
        usage = b""
        if self.ask.include_usage:
            usage = self._chunk(b"", b',"usage":' + orjson.dumps(self._usage()))
        return usage + b"data: [DONE]\n\n"

    def whole(self) -> bytes:
        """The answer to a request that does not stream."""
        ask = self.ask
        base = {"id": self.id, "created": self._created, "model": ask.model, "usage": self._usage()}
        match ask.path:
            case "/v1/chat/completions":
                message = {"role": "assistant", "content": self._text(ask.output_tokens)}
                return orjson.dumps(
                    base
                    | {
                        "object": "chat.completion",
                        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": ask.finish_reason}],
                    }
                )
            case "/v1/completions":
                choice = {"index": 0, "text": self._text(ask.output_tokens), "logprobs": None, "finish_reason": ask.finish_reason}
                return orjson.dumps(base | {"object": "text_completion", "choices": [choice]})
            case "/v1/responses":
                return orjson.dumps(self._response(ask.output_tokens, "completed"))
            case _:
                vector = [((ask.seed >> shift) & 0xFF) / 255 - 0.5 for shift in range(EMBEDDING_SIZE)]
                usage = {"prompt_tokens": ask.prompt_tokens, "total_tokens": ask.prompt_tokens}
                return orjson.dumps(
                    {"object": "list", "model": ask.model, "data": [{"object": "embedding", "index": 0, "embedding": vector}], "usage": usage}
                )

    def word(self, index: int) -> str:
        """Token `index` of the answer."""
        return _WORDS[(self.ask.seed + index * (2 * (self.ask.seed % 53) + 1)) % len(_WORDS)] + " "

    def _text(self, tokens: int) -> str:
        return "".join(self.word(index) for index in range(1, tokens + 1))

    def _usage(self) -> dict[str, int]:
        prompt, output = self.ask.prompt_tokens, self.ask.output_tokens
        return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}

    def _head(self) -> bytes:
        kind = b"chat.completion.chunk" if self.ask.path == "/v1/chat/completions" else b"text_completion"
        return b'data: {"id":"%s","object":"%s","created":%d,"model":%s,"choices":[' % (self.id.encode(), kind, self._created, self._model)

    def _chunk(self, choice: bytes, rest: bytes = b"") -> bytes:
        return self._head() + choice + b"]" + rest + b"}\n\n"

    def _frame(self) -> tuple[bytes, bytes, bytes]:
        """The constant parts of a token's event: before its text, between text and finish reason, after it (empty: there is no reason)."""
        match self.ask.path:
            case "/v1/chat/completions":
                return self._head() + b'{"index":0,"delta":{"content":"', b'"},"logprobs":null,"finish_reason":', b"}]}"
            case "/v1/responses":
                place = b'"item_id":"msg-%s","output_index":0,"content_index":0' % self.id.encode()
                return b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",%s,"delta":"' % place, b'"}', b""
            case _:
                return self._head() + b'{"index":0,"text":"', b'","logprobs":null,"finish_reason":', b"}]}"

    def _response(self, tokens: int, status: str) -> dict[str, Any]:
        """The object of /v1/responses with the first `tokens` tokens of text."""
        ask = self.ask
        content = [{"type": "output_text", "text": self._text(tokens), "annotations": []}]
        message = {"type": "message", "id": f"msg-{self.id}", "role": "assistant", "status": status, "content": content}
        usage = {"input_tokens": ask.prompt_tokens, "output_tokens": tokens, "total_tokens": ask.prompt_tokens + tokens}
        done = status == "completed"
        cut = done and ask.finish_reason == "length"
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "model": ask.model,
            "status": "incomplete" if cut else status,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [message] if done else [],
            "usage": usage if done else None,
        }

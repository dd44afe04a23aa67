"""The usage filter inside the real Envoy, against a server that cuts its answer wherever we say."""

import asyncio
import contextlib
import gzip
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import jevons.gateway
from jevons.gateway.access_log import ACCESS_LOG_FORMAT
from jevons.sandbox.tools import Tools

pytestmark = pytest.mark.envoy

LUA = Path(jevons.gateway.__file__).parent / "envoy" / "usage.lua"
SET_STRIP = """
function envoy_on_request(handle)
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("jevons", "deployment", "assistant")
  metadata:set("jevons", "id", handle:headers():get("x-case"))
  if handle:headers():get("x-strip") then metadata:set("jevons", "strip", true) end
end
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def lua(source: dict) -> dict:
    return {
        "name": "envoy.filters.http.lua",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua", "default_source_code": source},
    }


def envoy_config(listen: int, upstream: int, log: Path, script: Path) -> dict:
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}}}
    connection_manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "h",
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}]},
        "http_filters": [
            lua({"inline_string": SET_STRIP}),
            lua({"filename": str(script)}),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            },
        ],
        "access_log": [
            {
                "name": "f",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": str(log),
                    "log_format": {"json_format": dict(ACCESS_LOG_FORMAT)},
                },
            }
        ],
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "l",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": listen}},
                    "filter_chains": [
                        {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": connection_manager}]},
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "up",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ],
        }
    }


class Lab:
    """An Envoy before a server that sends, for each request, the pieces that the test put under the request's `x-case`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "access.log"
        self.cases: dict[str, tuple[list[bytes], str, str]] = {}
        self.port = free_port()

    @contextlib.asynccontextmanager
    async def running(self, script: Path = LUA) -> AsyncIterator["Lab"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        upstream = server.sockets[0].getsockname()[1]
        config = self.folder / "envoy.json"
        config.write_text(json.dumps(envoy_config(self.port, upstream, self.log, script)))
        command = [str(Tools.resolve(["envoy"])["envoy"]), "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"]
        with (self.folder / "envoy.err").open("wb") as errors:
            process = await asyncio.create_subprocess_exec(*command, "--file-flush-interval-msec", "50", stderr=errors)
        try:
            await self._listening(process)
            yield self
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            server.close()

    async def _listening(self, process: asyncio.subprocess.Process) -> None:
        while True:
            assert process.returncode is None, (self.folder / "envoy.err").read_text()
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await asyncio.sleep(0.02)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        name = next(line.split(": ", 1)[1] for line in head.split("\r\n") if line.startswith("x-case: "))
        pieces, kind, encoding = self.cases[name]
        extra = f"content-encoding: {encoding}\r\n" if encoding else ""
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{extra}transfer-encoding: chunked\r\nconnection: close\r\n\r\n".encode())
        for piece in pieces:
            await writer.drain()
            await asyncio.sleep(0.002)  # two network reads for Envoy, never one
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await asyncio.sleep(0.002)
        writer.write(b"0\r\n\r\n")
        writer.close()

    async def ask(self, name: str, pieces: list[bytes], *, kind: str = "text/event-stream", encoding: str = "", strip: bool = False) -> bytes:
        """The body as the client gets it."""
        self.cases[name] = (pieces, kind, encoding)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        flag = "x-strip: 1\r\n" if strip else ""
        writer.write(f"POST / HTTP/1.1\r\nhost: a\r\nx-case: {name}\r\n{flag}content-length: 0\r\nconnection: close\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        writer.close()
        return body

    async def counted(self, *names: str) -> dict[str, dict]:
        """What the log says of these requests, once it says it."""
        while True:
            lines = [json.loads(line) for line in self.log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
            found = {line["jevons"]["id"]: line["llm"] for line in lines}
            if set(names) <= set(found):
                return {name: found[name] for name in names}
            await asyncio.sleep(0.02)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with Lab(tmp_path).running() as running:
        yield running


def sse(*payloads: object, end: str = "\n\n") -> bytes:
    return "".join(f"data: {one if isinstance(one, str) else json.dumps(one)}{end}" for one in payloads).encode()


def chunk(text: str, finish: str | None = None) -> dict:
    return {"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


USAGE = {
    "prompt_tokens": 41,
    "completion_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 16},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
TOKENS = sse(chunk('he said "usage": {"prompt_tokens": 9} \\n\\n'), chunk("ö\n\n"), chunk("", "stop"))
ONLY_USAGE = sse({"id": "c", "choices": [], "usage": USAGE})
DONE = b"data: [DONE]\n\n"
COMMENT = b": waking large, about 35 s\n\n"


def expect_counts(llm: dict) -> None:
    assert (llm["prompt_tokens"], llm["completion_tokens"], llm["cached_tokens"], llm["reasoning_tokens"]) == (41, 3, 16, 2)
    assert (llm["finish"], llm["done"]) == ("stop", True)
    assert llm["first_ms"] <= llm["last_ms"]


async def spread(lab: Lab, answer: bytes, *, strip: bool, wanted: bytes, events: int, step: int = 1) -> None:
    """Send `answer` cut in two at every `step`th byte, and once byte by byte; every client must get `wanted`, every line must count the same."""
    cuts = {f"cut{at}": [answer[:at], answer[at:]] for at in range(1, len(answer), step)}
    cuts["bytes"] = [answer[at : at + 1] for at in range(len(answer))]
    gate = asyncio.Semaphore(48)

    async def one(name: str, pieces: list[bytes]) -> bytes:
        async with gate:
            return await lab.ask(name, pieces, strip=strip)

    bodies = await asyncio.gather(*(one(name, pieces) for name, pieces in cuts.items()))
    assert set(bodies) == {wanted}
    for llm in (await lab.counted(*cuts)).values():
        expect_counts(llm)
        assert llm["events"] == events
        assert sum(llm.get(key, 0) for key in ("gap_25", "gap_50", "gap_100", "gap_250", "gap_more")) == events - 1


async def test_a_stream_cut_at_any_byte_counts_the_same_and_loses_only_the_usage_chunk_that_nobody_asked_for(lab):
    await spread(lab, COMMENT + TOKENS + ONLY_USAGE + DONE, strip=True, wanted=COMMENT + TOKENS + DONE, events=3)


async def test_a_client_that_asked_for_usage_gets_every_byte_whatever_the_cut(lab):
    answer = TOKENS + ONLY_USAGE + DONE
    await spread(lab, answer, strip=False, wanted=answer, events=3, step=5)


async def test_carriage_returns_end_events_too(lab):
    crlf = [part.replace(b"\n\n", b"\r\n\r\n") for part in (TOKENS, ONLY_USAGE, DONE)]
    await spread(lab, b"".join(crlf), strip=True, wanted=crlf[0] + crlf[2], events=3, step=2)


async def test_usage_inside_the_last_token_is_read_and_stays(lab):
    answer = sse(chunk("a"), chunk("b", "length") | {"usage": USAGE}) + DONE
    assert await lab.ask("x", [answer], strip=True) == answer
    llm = (await lab.counted("x"))["x"]
    assert (llm["completion_tokens"], llm["events"], llm["finish"]) == (3, 2, "length")


async def test_a_stream_that_breaks_off_in_mid_event_still_gives_the_client_all_it_sent(lab):
    answer = TOKENS + b'data: {"id": "c", "cho'
    assert await lab.ask("x", [TOKENS, b'data: {"id": "c"', b', "cho'], strip=True) == answer
    assert (await lab.counted("x"))["x"]["events"] == 3


async def test_an_event_longer_than_the_filter_keeps_passes_and_its_usage_is_found(lab):
    long = sse(chunk("x" * 300_000) | {"usage": USAGE})
    answer = TOKENS + long + ONLY_USAGE + DONE
    pieces = [answer[at : at + 9_000] for at in range(0, len(answer), 9_000)]
    assert await lab.ask("x", pieces, strip=True) == TOKENS + long + DONE
    llm = (await lab.counted("x"))["x"]
    assert (llm["events"], llm["completion_tokens"]) == (4, 3)


async def test_responses_and_messages_streams_are_counted_by_their_deltas(lab):
    responses = [
        ("response.created", {"response": {"object": "response", "status": "in_progress", "usage": None}}),
        ("response.output_text.delta", {"delta": "a"}),
        ("response.output_text.delta", {"delta": "b"}),
        (
            "response.completed",
            {
                "response": {
                    "object": "response",
                    "status": "completed",
                    "usage": {"input_tokens": 7, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 2},
                }
            },
        ),
    ]
    messages = [
        ("message_start", {"message": {"usage": {"input_tokens": 12, "output_tokens": 1}}}),
        ("content_block_delta", {"delta": {"text": "a"}}),
        ("message_delta", {"delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 5}}),
        ("message_stop", {}),
    ]
    for name, events in (("r", responses), ("m", messages)):
        answer = "".join(f"event: {kind}\ndata: {json.dumps({'type': kind} | body)}\n\n" for kind, body in events).encode()
        assert await lab.ask(name, [answer[:70], answer[70:]]) == answer
    llm = await lab.counted("r", "m")
    assert [llm["r"].get(key) for key in ("events", "prompt_tokens", "completion_tokens", "cached_tokens", "finish", "done")] == [
        2,
        7,
        2,
        4,
        "stop",
        True,
    ]
    assert [llm["m"].get(key) for key in ("events", "prompt_tokens", "completion_tokens", "finish", "done")] == [1, 12, 5, "length", True]


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"choices": [{"message": {"content": '{"usage": {'}, "finish_reason": "tool_calls"}], "usage": USAGE}, (41, 3, "tool_calls")),
        ({"usage": USAGE, "choices": [{"text": "t" * 50_000, "finish_reason": "length"}]}, (41, 3, "length")),
        ({"object": "list", "data": [{"embedding": [0.5] * 3000}], "usage": {"prompt_tokens": 8, "total_tokens": 8}}, (8, None, None)),
        ({"object": "response", "incomplete_details": {"reason": "x"}, "usage": {"input_tokens": 5, "output_tokens": 6}}, (5, 6, "length")),
    ],
)
async def test_json_answers_are_read_across_any_cut(lab, body, wanted):
    raw = json.dumps(body).encode()
    step = max(1, len(raw) // 40)
    names = [f"at{at}" for at in range(1, len(raw), step)]
    bodies = [await lab.ask(name, [raw[: int(name[2:])], raw[int(name[2:]) :]], kind="application/json") for name in names]
    assert set(bodies) == {raw}
    for llm in (await lab.counted(*names)).values():
        assert (llm.get("prompt_tokens"), llm.get("completion_tokens"), llm.get("finish")) == wanted


async def test_compressed_bodies_are_not_touched(lab):
    packed = gzip.compress(TOKENS + ONLY_USAGE + DONE)
    assert await lab.ask("x", [packed[:20], packed[20:]], encoding="gzip", strip=True) == packed
    assert (await lab.counted("x"))["x"] is None


async def test_an_error_in_the_filter_leaves_the_stream_whole(tmp_path):
    broken = tmp_path / "broken.lua"
    broken.write_text(
        LUA.read_text()
        .replace("-- One complete event", "local events_seen = 0\n-- One complete event")
        .replace(
            "local function read_event(event, now, seen)",
            "local function read_event(event, now, seen)\n  events_seen = events_seen + 1\n  if events_seen == 2 then error('boom') end",
        )
    )
    answer = TOKENS + ONLY_USAGE + DONE
    async with Lab(tmp_path).running(broken) as lab:
        assert await lab.ask("x", [answer[:30], answer[30:90], answer[90:-5], answer[-5:]], strip=True) == answer


async def test_the_wait_told_in_the_room_s_last_comment_reaches_the_log(lab):
    await lab.ask("x", [COMMENT, b": large answers after 34900 ms\n\n", TOKENS, DONE])
    llm = (await lab.counted("x"))["x"]
    assert (llm["wait_ms"], llm["events"]) == (34900, 3)

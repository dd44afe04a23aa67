"""A fake engine, one process: `lab_engine.py HOST PORT`. Fields of the request steer it.

n (tokens), slow (ms per token), die_after (tokens, then the connection breaks), status, sleep (s before the answer), stay (a room: see below).
As a room (`/stay` is not used by engines): a request whose `x-jevons-wake` names a variant waits until the file `ready-VARIANT` exists in the working
directory, then gets the 307 that runs it through the picker again.
"""

import asyncio
import json
import sys
from pathlib import Path

from aiohttp import web


async def answer(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    if request.headers.get("x-jevons-wake") and request.app["room"]:
        return await hold(request)
    if body.get("sleep"):
        await asyncio.sleep(body["sleep"])
    if body.get("status"):
        return web.json_response({"error": {"message": "as asked"}}, status=body["status"])
    count = body.get("n_tokens", 5)
    seen = {key.lower(): value for key, value in request.headers.items()}
    usage = {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": count + 7}
    if not body.get("stream"):
        message = {"role": "assistant", "content": f"from {request.app['port']}"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        answer = {"id": "c", "object": "chat.completion", "model": body["model"], "choices": [choice], "usage": usage, "seen": seen, "body": body}
        return web.json_response(answer)
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for index in range(count):
        if body.get("die_after") == index:
            request.transport.abort()
            return response
        choice = {"index": 0, "delta": {"content": f"{request.app['port']} "}, "finish_reason": None}
        await response.write(b"data: " + json.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n")
        if body.get("slow"):
            await asyncio.sleep(body["slow"] / 1000)
    if (body.get("stream_options") or {}).get("include_usage"):
        await response.write(b"data: " + json.dumps({"id": "c", "choices": [], "usage": usage}).encode() + b"\n\n")
    await response.write(b"data: [DONE]\n\n")
    return response


async def hold(request: web.Request) -> web.Response:
    ready = Path(f"ready-{request.headers['x-jevons-wake']}")
    while not ready.exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
        await asyncio.sleep(0.01)
    return web.Response(status=307, headers={"location": f"http://{request.headers['host']}{request.path}"})


def main() -> None:
    app = web.Application(client_max_size=2**26)
    app["port"] = int(sys.argv[2])
    app["room"] = "room" in sys.argv
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
        app.router.add_post(path, answer)
    web.run_app(app, host=sys.argv[1], port=app["port"], print=None, access_log=None)


main()

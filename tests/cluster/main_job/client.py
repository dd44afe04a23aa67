"""A client as an application has one: it posts to the OpenAI URL and looks at status, headers and stream."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import orjson


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: dict[str, Any] = field(default_factory=dict)
    comments: list[str] = field(default_factory=list)
    chunks: int = 0
    done: bool = False
    first_byte_s: float = 0.0
    seconds: float = 0.0
    error: str = ""

    @property
    def variant(self) -> str:
        return self.headers.get("x-jevons-variant", "")

    @property
    def reason(self) -> str:
        return self.headers.get("x-jevons-reason", "")


class Client:
    def __init__(self, url: str) -> None:
        self._url = url
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120), connector=aiohttp.TCPConnector(limit=0))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, model: str, prompt: str, *, max_tokens: int = 20, stream: bool = False, headers: dict[str, str] | None = None) -> Answer:
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": max_tokens, "stream": stream}
        began = time.monotonic()
        try:
            async with self._session.post(f"{self._url}/v1/chat/completions", json=body, headers=headers) as response:
                answer = Answer(response.status, {key.lower(): value for key, value in response.headers.items()})
                answer.first_byte_s = time.monotonic() - began
                if stream and response.status == 200:
                    async for line in response.content:
                        _read(answer, line.decode().rstrip("\r\n"))
                else:
                    answer.body = orjson.loads(await response.read())
                    answer.done = response.status == 200
        except (aiohttp.ClientError, TimeoutError) as error:
            answer = Answer(0, {}, error=repr(error))
        answer.seconds = time.monotonic() - began
        return answer

    async def steady(self, model: str, *, per_s: float, seconds: float, prompts: list[str], max_tokens: int) -> list[Answer]:
        """Open loop: requests are sent on time whether or not earlier ones were answered."""
        began, tasks = time.monotonic(), []
        for number in range(int(per_s * seconds)):
            await asyncio.sleep(max(0.0, began + number / per_s - time.monotonic()))
            tasks.append(asyncio.create_task(self.ask(model, prompts[number % len(prompts)], max_tokens=max_tokens, stream=True)))
        return await asyncio.gather(*tasks)


def _read(answer: Answer, line: str) -> None:
    if line.startswith(":"):
        answer.comments.append(line[1:].strip())
    elif line == "data: [DONE]":
        answer.done = True
    elif line.startswith("data: "):
        chunk = orjson.loads(line[6:])
        answer.chunks += 1
        if "error" in chunk:
            answer.error = str(chunk["error"])

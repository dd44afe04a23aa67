"""A pod with a real server process. The server here is a stand-in that speaks llama-server's command line; the slow test takes the real one."""

from __future__ import annotations

import asyncio
import sys

import openai
import pytest

from jevons.sandbox import llamacpp
from jevons.sandbox.dcgm import Work
from jevons.sandbox.fleet import Fleet
from jevons.sandbox.fleet_faults import Fault
from jevons.sandbox.fleet_llama import real_engine
from jevons.sandbox.llamacpp import LlamaError, LlamaTools, provision

from .conftest import NETWORK, pod, url

STAND_IN = f"""#!{sys.executable}
import http.server, sys, time
told = dict(zip(sys.argv[1::1], sys.argv[2::1]))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("X-Alias", told["--alias"]); self.end_headers()
        self.wfile.write(b"llamacpp:requests_deferred 0\\n")
    def do_POST(self):
        size = int(self.headers["content-length"]); self.rfile.read(size)
        self.send_response(200); self.send_header("Content-Type", "text/event-stream"); self.end_headers()
        for _ in range(20):
            self.wfile.write(b"data: x\\n\\n"); self.wfile.flush(); time.sleep(0.02)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer((told["--host"], int(told["--port"])), Handler).serve_forever()
"""


@pytest.fixture
def tools(tmp_path):
    server, model = tmp_path / "llama-server", tmp_path / "model.gguf"
    server.write_text(STAND_IN)
    server.chmod(0o755)
    model.write_bytes(b"GGUF")
    return LlamaTools(server, model)


def llama(**more):
    return pod("llama", profile=None, engine="llamacpp", model="tiny", **more)


async def test_requests_wait_for_the_server_to_load_and_streams_pass_through(tools, http):
    item = llama()
    async with Fleet(cidr=NETWORK, real_engine=real_engine(tools)) as fleet:
        fleet.put(item)
        await fleet.settled()
        async with http.get(url(item, "/metrics")) as response:
            assert response.headers["X-Alias"] == "tiny"
            assert "requests_deferred" in await response.text()
        async with http.post(url(item, "/v1/chat/completions"), data=b"{}") as response:
            pieces = [piece async for piece in response.content.iter_any()]
        assert b"".join(pieces) == b"data: x\n\n" * 20
        assert len(pieces) > 3
        (work,) = fleet.work().values()
        assert isinstance(work, Work)
        assert work.busy > 0.1


async def test_a_server_ends_with_its_pod_and_a_drained_one_finishes_first(tools, http):
    item = llama()
    async with Fleet(cidr=NETWORK, real_engine=real_engine(tools)) as fleet:
        fleet.put(item)
        await fleet.settled()
        (player,) = fleet.players.values()
        process = player._process
        async with http.post(url(item, "/v1/chat/completions"), data=b"{}") as response:
            await response.content.readany()
            fleet.put({**item, "metadata": {**item["metadata"], "deletionTimestamp": "2999-01-01T00:00:00Z"}})
            await fleet.settled()
            assert not player.listening
            assert (await response.read()).endswith(b"data: x\n\n")
        assert process.returncode is None
    assert process.returncode is not None


async def test_a_killed_server_is_gone_until_healed(tools, http):
    item = llama()
    async with Fleet(cidr=NETWORK, real_engine=real_engine(tools)) as fleet:
        fleet.put(item)
        await fleet.settled()
        fleet.set_faults([Fault(pod="team-a/llama", killed=True)])
        await fleet.settled()
        with pytest.raises(OSError, match="Cannot connect"):
            await http.get(url(item, "/health"))
        fleet.set_faults([])
        await fleet.settled()
        async with http.get(url(item, "/health")) as response:
            assert response.status == 200


def test_files_named_in_the_environment_are_taken_or_missed(tools, monkeypatch, tmp_path):
    monkeypatch.setenv("JEVONS_LLAMA_SERVER", str(tools.server))
    monkeypatch.setenv("JEVONS_LLAMA_MODEL", str(tools.model))
    assert provision() == tools
    monkeypatch.setenv("JEVONS_LLAMA_MODEL", str(tmp_path / "no.gguf"))
    with pytest.raises(LlamaError, match=r"no\.gguf: named by"):
        provision()


def test_without_a_compiler_it_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.delenv("JEVONS_LLAMA_SERVER", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LlamaError, match="needs cmake and a C\\+\\+ compiler"):
        provision()
    assert "sha256" in llamacpp.PINNED.read_text()


async def deferred(http, item) -> float:
    async with http.get(url(item, "/metrics")) as response:
        return float(next(line.split()[1] for line in (await response.text()).splitlines() if line.startswith("llamacpp:requests_deferred ")))


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_the_real_server_answers_with_real_tokens_and_real_queue_metrics(http):
    tools = await asyncio.to_thread(provision)
    item = llama(context_length="2048")
    async with Fleet(cidr=NETWORK, real_engine=real_engine(tools)) as fleet:
        fleet.put(item)
        await fleet.settled()
        async with openai.AsyncOpenAI(base_url=url(item, "/v1"), api_key="none", timeout=120) as client:
            question = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
            answer = await client.chat.completions.create(model="tiny", messages=question, max_tokens=40, temperature=0)
            assert "Paris" in answer.choices[0].message.content
            stream = await client.chat.completions.create(model="tiny", messages=question, max_tokens=40, stream=True)
            assert len([event async for event in stream]) > 5
            many = [asyncio.create_task(client.chat.completions.create(model="tiny", messages=question, max_tokens=64)) for _ in range(5)]
            async with asyncio.timeout(30):
                while await deferred(http, item) < 2:  # noqa: ASYNC110 - the server has no event for it
                    await asyncio.sleep(0.05)
            await asyncio.gather(*many)

"""What clients see: the real OpenAI SDK and plain HTTP against simulated pods."""

from __future__ import annotations

import asyncio
import io
import json

import openai
import pytest

from .conftest import pod, until, url

ASK = {"model": "m", "messages": [{"role": "user", "content": "What is the capital of France?"}]}


@pytest.fixture
async def sdk(play):
    item = pod(model="assistant")
    await play(item)
    async with openai.AsyncOpenAI(base_url=url(item, "/v1"), api_key="none", max_retries=0) as client:
        yield client


async def test_the_sdk_reads_a_chat_answer_and_the_same_prompt_has_the_same_answer(sdk):
    question = [{"role": "user", "content": "What is the capital of France?"}]
    answers = [
        await sdk.chat.completions.create(model="assistant", messages=question, extra_headers={"x-sandbox-output-tokens": "12"}) for _ in range(2)
    ]
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content
    assert len(answers[0].choices[0].message.content.split()) == 12
    assert answers[0].choices[0].finish_reason == "stop"
    assert answers[0].usage.model_dump(exclude_none=True) == {"prompt_tokens": 8, "completion_tokens": 12, "total_tokens": 20}


async def test_the_sdk_reads_a_stream_token_by_token_with_usage_only_when_asked(sdk):
    async def events(**options):
        stream = await sdk.chat.completions.create(
            model="assistant", messages=[{"role": "user", "content": "hi"}], stream=True, max_tokens=5, **options
        )
        return [event async for event in stream]

    plain, told = await events(), await events(stream_options={"include_usage": True})
    assert [event.choices[0].finish_reason for event in plain] == [None] * 5 + ["length"]
    assert sum(bool(event.choices[0].delta.content) for event in plain) == 5
    assert told[-1].choices == []
    assert told[-1].usage.completion_tokens == 5


async def test_the_sdk_reads_completions_responses_embeddings_and_models(sdk):
    text = await sdk.completions.create(model="assistant", prompt="Once upon", max_tokens=4)
    assert len(text.choices[0].text.split()) == 4
    response = await sdk.responses.create(model="assistant", input="Hello", max_output_tokens=3)
    assert len(response.output_text.split()) == 3
    assert response.usage.output_tokens == 3
    deltas = [
        event.delta
        async for event in await sdk.responses.create(model="assistant", input="Hello", stream=True, max_output_tokens=3)
        if event.type == "response.output_text.delta"
    ]
    assert "".join(deltas) == response.output_text
    vector = await sdk.embeddings.create(model="assistant", input="Hello", encoding_format="float")
    assert len(vector.data[0].embedding) == 16
    assert [model.id async for model in await sdk.models.list()] == ["assistant"]


async def test_a_prompt_beyond_the_context_is_refused_as_vllm_does(sdk):
    with pytest.raises(openai.BadRequestError, match="maximum context length is 8192 tokens"):
        await sdk.chat.completions.create(model="assistant", messages=[{"role": "user", "content": "word " * 8000}], max_tokens=5)


async def test_a_name_it_does_not_serve_is_not_found(sdk):
    with pytest.raises(openai.NotFoundError, match="`other` does not exist"):
        await sdk.chat.completions.create(model="other", messages=[{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"messages": [{"role": "user", "content": "hi"}]}', "model: a name"),
        (b'{"model": "m", "messages": []}', "at least one message"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 0}', "max_tokens must be at least 1"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "n": 2}', "n: only 1"),
        (b'{"model": "m", "messages": [{"role": "user", "content": ""}]}', "must not be empty"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "sandbox_output_tokens": "many"}', "not a number"),
    ],
)
async def test_a_malformed_request_gets_a_400_in_openai_form(play, http, body, says):
    item = pod()
    await play(item)
    async with http.post(url(item, "/v1/chat/completions"), data=body) as response:
        assert response.status == 400
        assert says in (await response.json())["error"]["message"]


async def test_a_prompt_of_megabytes_is_read(play, http):
    item = pod(context_length="2000000", kv_tokens="2000000", prefix_hit="1", profile="llama-3.1-8b/bf16/b200_sxm/1/vllm")
    await play(item)
    body = io.BytesIO(json.dumps({"model": "m", "input": "word " * 400_000}).encode())
    async with http.post(url(item, "/v1/embeddings"), data=body) as response:
        assert (response.status, (await response.json())["usage"]["prompt_tokens"]) == (200, 500_000)


async def test_a_client_that_goes_away_aborts_its_request(play, http, fleet):
    item = pod()
    await play(item)
    player = next(iter(fleet.players.values()))
    async with http.post(url(item, "/v1/chat/completions"), json=ASK | {"stream": True, "max_tokens": 8000}) as response:
        await response.content.readline()
        assert player.pod.engine.running == 1
        response.close()
    await until(lambda: player.pod.engine.running == 0)
    assert player.pod.reading().finished == {"stop": 0, "length": 0, "abort": 1}
    assert player.pod.engine.kv_used == 0


async def test_requests_beyond_the_batch_wait_and_all_are_answered(play, http, fleet):
    item = pod(max_num_seqs="2")
    await play(item)

    async def ask(number):
        async with http.post(url(item, "/v1/chat/completions"), json=ASK | {"sandbox_output_tokens": 30 + number}) as response:
            return (await response.json())["usage"]["completion_tokens"]

    asked = [asyncio.create_task(ask(number)) for number in range(6)]
    engine = next(iter(fleet.players.values())).pod.engine
    await until(lambda: engine.waiting == 4 and engine.running == 2)
    assert sorted(await asyncio.gather(*asked)) == [30, 31, 32, 33, 34, 35]


async def test_time_scale_lets_an_engine_live_faster():
    from jevons.sandbox.fleet import Fleet

    from .conftest import NETWORK

    async with Fleet(cidr=NETWORK, time_scale=50) as fleet:
        item = pod(profile="llama-3.1-70b/bf16/a100_sxm/4/vllm")
        fleet.put(item)
        await fleet.settled()
        async with openai.AsyncOpenAI(base_url=url(item, "/v1"), api_key="none", timeout=10) as client:
            answer = await client.completions.create(model="m", prompt="hi", max_tokens=1000)
        assert answer.usage.completion_tokens == 1000
        assert next(iter(fleet.players.values())).pod.engine.counters.busy_s > 25, "28 s of an engine's life, in less than ten of ours"

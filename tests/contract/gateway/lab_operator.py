"""A fake operator, one process: `lab_operator.py PORT`. Prints every demand message it is sent as a line of JSON, with the time it came (`got`)."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import orjson


async def report(messages: AsyncIterator[dict], _context: grpc.aio.ServicerContext) -> AsyncIterator[dict]:
    yield {"leader": True}
    async for message in messages:
        sys.stdout.write(orjson.dumps({**message, "got": time.time()}).decode() + "\n")
        sys.stdout.flush()


async def main() -> None:
    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(report, request_deserializer=orjson.loads, response_serializer=orjson.dumps)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("jevons.v1.Demand", {"Report": handler}),))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    await server.wait_for_termination()


asyncio.run(main())

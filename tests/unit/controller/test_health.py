"""What probes and people may ask of an operator, over HTTP."""

from __future__ import annotations

import aiohttp

from jevons.controller.health import Heartbeat, health_app, serve


async def test_live_while_the_heart_beats_and_ready_when_synced_whoever_leads():
    heart, state = Heartbeat(), {"synced": False}
    explain = {("team-a", "assistant"): {"reason": "Demand"}}
    answers = {}
    for name, synced, dead_after_s in (("starting", False, 60.0), ("synced", True, 60.0), ("stuck", True, 0.0)):
        state["synced"] = synced
        app = health_app(ready=lambda: bool(state["synced"]), heartbeat=heart, dead_after_s=dead_after_s, explain=lambda *key: explain.get(key))
        runner, port = await serve(app, "127.0.0.1", 0)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            paths = ("/livez", "/readyz", "/decisions/team-a/assistant", "/decisions/team-a/nobody")
            answers[name] = [(await http.get(path)).status for path in paths]
        await runner.cleanup()
    assert answers == {"starting": [200, 503, 200, 404], "synced": [200, 200, 200, 404], "stuck": [500, 200, 200, 404]}

"""Walks through everything an MCP server offers with the Python SDK, and prints what came back: one JSON line per
step, then the notifications and the server's requests, which may come at any time, in one line each.

python walk.py everything|big -- COMMAND ARGS...
"""

import hashlib
import json
import os
import sys
import time
import warnings

import anyio
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters

warnings.simplefilter("ignore")
PATIENCE = 30.0

notifications = []
# Steps of the call that is cancelled; no other has as many.
CANCELLED_STEPS = 600
asked = []
roots = [types.Root(uri="file:///one", name="one")]


def show(step, answer):
    sys.stdout.write(json.dumps({"step": step, "answer": answer}, ensure_ascii=False) + "\n")


def plain(value):
    """A result as it was on the wire."""
    if hasattr(value, "model_dump"):
        return value.model_dump(by_alias=True, mode="json", exclude_none=True)
    return value


async def step(name, run):
    """One step: its result or its error, in the order of the walk."""
    try:
        show(name, {"result": plain(await run())})
    except MCPError as fault:
        show(name, {"error": plain(fault.error)})
    except TimeoutError as fault:
        show(name, {"timeout": str(fault)})


async def until(what, condition):
    """Waits for something that comes by itself."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"never came: {what}")
        await anyio.sleep(0.01)


def seen(method, test=lambda params: True):
    return any(one["method"] == method and test(one.get("params", {})) for one in notifications)


def logged(text):
    return seen("notifications/message", lambda params: text in str(params["data"]))


async def heard(message):
    if isinstance(message, Exception):
        raise message
    message = plain(message)
    # The reference server goes on with a cancelled call: how often it is heard until the client leaves is chance.
    if message["method"] == "notifications/progress" and message["params"].get("total") == CANCELLED_STEPS:
        return
    notifications.append(message)


async def give_roots(_context):
    asked.append({"method": "roots/list"})
    return types.ListRootsResult(roots=roots)


async def sample(_context, params):
    asked.append({"method": "sampling/createMessage", "params": plain(params)})
    content = types.TextContent(type="text", text="sampled")
    return types.CreateMessageResult(model="walk", role="assistant", content=content, stop_reason="endTurn")


async def elicit(_context, params):
    asked.append({"method": "elicitation/create", "params": plain(params)})
    if getattr(params, "mode", "form") == "url":
        return types.ElicitResult(action="decline")
    return types.ElicitResult(action="accept", content={"name": "Ada", "integer": 7})


async def lists(client):
    await step("tools/list", client.list_tools)
    await step("resources/list", client.list_resources)
    await step("resources/templates/list", client.list_resource_templates)
    await step("prompts/list", client.list_prompts)


async def tools(client):
    async def call(name, arguments):
        await step(f"call {name} {json.dumps(arguments)}", lambda: client.call_tool(name, arguments))

    await call("echo", {"message": "héllo \u2028 wörld 🐟"})
    await call("echo", {})
    await call("get-sum", {"a": 1.5, "b": 2})
    await call("get-annotated-message", {"messageType": "debug", "includeImage": True})
    await call("get-env", {})
    await call("get-resource-links", {"count": 4})
    await call("get-resource-reference", {"resourceType": "Text", "resourceId": 3})
    await call("get-resource-reference", {"resourceType": "Blob", "resourceId": 4})
    await call("get-structured-content", {"location": "Chicago"})
    await call("get-tiny-image", {})
    await call("no-such-tool", {})
    data = "data:text/plain;base64,d3Jhc3NlIHdyYXNzZSB3cmFzc2U="
    await call("gzip-file-as-resource", {"name": "fish.gz", "data": data, "outputType": "resourceLink"})
    await step("session resource", lambda: client.read_resource("demo://resource/session/fish.gz"))
    for uri in [
        "demo://resource/static/document/architecture.md",
        "demo://resource/dynamic/text/1",
        "demo://resource/dynamic/blob/2",
        "demo://resource/none",
    ]:
        await step(f"read {uri}", lambda uri=uri: client.read_resource(uri))


async def prompts(client):
    await step("simple-prompt", lambda: client.get_prompt("simple-prompt"))
    await step("args-prompt", lambda: client.get_prompt("args-prompt", {"city": "Oslo"}))
    await step("no prompt", lambda: client.get_prompt("no-prompt"))
    ref = types.PromptReference(type="ref/prompt", name="completable-prompt")
    await step("complete", lambda: client.complete(ref, {"name": "department", "value": "S"}))
    await step(
        "complete in context",
        lambda: client.complete(ref, {"name": "name", "value": ""}, {"department": "Sales"}),
    )
    template = types.ResourceTemplateReference(type="ref/resource", uri="demo://resource/dynamic/text/{resourceId}")
    await step("complete a template", lambda: client.complete(template, {"name": "resourceId", "value": "7"}))


async def server_asks(client):
    await until("the first roots", lambda: logged("Roots updated: 1"))
    await step("roots", lambda: client.call_tool("get-roots-list", {}))
    roots.append(types.Root(uri="file:///two", name="two"))

    async def change():
        await client.send_roots_list_changed()
        await until("the changed roots", lambda: logged("Roots updated: 2"))

    await step("roots changed", change)
    await step("roots again", lambda: client.call_tool("get-roots-list", {}))
    ask = {"prompt": "say", "maxTokens": 9}
    await step("sampling", lambda: client.call_tool("trigger-sampling-request", ask))
    await step("elicitation", lambda: client.call_tool("trigger-elicitation-request", {}))
    url = {"url": "https://example.invalid/a", "message": "open", "elicitationId": "e-1"}
    await step("url elicitation", lambda: client.call_tool("trigger-url-elicitation", url))


async def logging(client):
    uri = "demo://resource/dynamic/text/8"
    await step("level error", lambda: client.set_logging_level("error"))
    await step("subscribe, quiet", lambda: client.subscribe_resource(uri))
    show("nothing was logged", logged(uri))
    await step("level debug", lambda: client.set_logging_level("debug"))

    async def loud():
        answer = await client.subscribe_resource(uri)
        await until("the log message", lambda: logged(uri))
        return answer

    await step("subscribe, loud", loud)

    async def updates():
        answer = await client.call_tool("toggle-subscriber-updates", {})
        await until("an update", lambda: seen("notifications/resources/updated", lambda p: p["uri"] == uri))
        return answer

    await step("updates on", updates)
    await step("updates off", lambda: client.call_tool("toggle-subscriber-updates", {}))
    await step("unsubscribe", lambda: client.unsubscribe_resource(uri))


async def long(client):
    name = "trigger-long-running-operation"

    async def progress():
        told = []

        async def tell(progress, total, message):
            # The last one may come with the result, and may then be dropped.
            if progress < total:
                told.append([progress, total, message])

        result = await client.call_tool(name, {"duration": 0.5, "steps": 5}, progress_callback=tell)
        return {"result": plain(result), "progress": told}

    await step("progress", progress)

    async def cancelled():
        with anyio.CancelScope() as scope:

            async def tell(_progress, _total, _message):
                scope.cancel()

            await client.call_tool(name, {"duration": 60, "steps": CANCELLED_STEPS}, progress_callback=tell)
        return {"cancelled": scope.cancelled_caught}

    await step("cancelled", cancelled)

    async def side_by_side():
        answers = {}

        async def one(duration):
            answers[duration] = plain(await client.call_tool(name, {"duration": duration, "steps": 1}))

        async with anyio.create_task_group() as group:
            for duration in (0.4, 0.1):
                group.start_soon(one, duration)
        return [answers[0.4], answers[0.1]]

    await step("side by side", side_by_side)


async def everything(client):
    await step("ping", client.send_ping)
    await lists(client)
    await tools(client)
    await prompts(client)
    await server_asks(client)
    await logging(client)
    await long(client)
    await lists(client)


async def big(client):
    await step("tools/list", client.list_tools)
    for size in (1, 65_536, 10_000_000):

        async def call(size=size):
            result = plain(await client.call_tool("big", {"bytes": size}))
            text = result["content"][0]["text"]
            result["content"][0]["text"] = hashlib.sha256(text.encode()).hexdigest()
            return {"length": len(text), "result": result}

        await step(f"big {size}", call)

    # The same the other way.
    async def echo():
        text = "é" * 1_000_000
        result = await client.call_tool("echo", {"text": text})
        return {"same": result.content[0].text == text}

    await step("echo 1000000", echo)


async def main():
    walk, dashes, command, *args = sys.argv[1:]
    if dashes != "--":
        sys.exit("usage: walk.py everything|big -- COMMAND ARGS...")
    server = StdioServerParameters(command=command, args=args, env=dict(os.environ))
    client = Client(
        server,
        list_roots_callback=give_roots,
        sampling_callback=sample,
        elicitation_callback=elicit,
        message_handler=heard,
        client_info=types.Implementation(name="walk", version="1"),
    )
    async with client:
        show(
            "initialize",
            {
                "server": plain(client.server_info),
                "capabilities": plain(client.server_capabilities),
                "instructions": client.instructions,
                "protocol": client.protocol_version,
            },
        )
        await {"everything": everything, "big": big}[walk](client)
    show("notifications", notifications)
    show("asked", asked)


anyio.run(main)

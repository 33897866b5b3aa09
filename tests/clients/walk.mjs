// Walks through everything an MCP server offers with the TypeScript SDK, and prints what came back: one JSON line per
// step, then the notifications and the server's requests, which may come at any time, in one line each.
//
// node walk.mjs everything|big -- COMMAND ARGS…

import { createHash } from "node:crypto";
import process from "node:process";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";

const PATIENCE_MS = 30_000;
const [walk, dashes, command, ...args] = process.argv.slice(2);
if (dashes !== "--" || command === undefined) {
  console.error("usage: walk.mjs everything|big -- COMMAND ARGS…");
  process.exit(64);
}

const notifications = [];
const asked = [];
const roots = [{ uri: "file:///one", name: "one" }];

function print(step, answer) {
  process.stdout.write(`${JSON.stringify({ step, answer })}\n`);
}

/** One step: its result or its error, in the order of the walk. */
async function step(name, run) {
  try {
    print(name, { result: await run() });
  } catch (error) {
    print(name, { error: { code: error.code, message: error.message, data: error.data } });
  }
}

/** Waits for something that comes by itself. */
async function until(what, condition) {
  const end = Date.now() + PATIENCE_MS;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const seen = (method, test = () => true) =>
  notifications.some((one) => one.method === method && test(one.params ?? {}));
const logged = (text) => seen("notifications/message", (params) => String(params.data).includes(text));

function connectable() {
  const client = new Client(
    { name: "walk", version: "1" },
    { capabilities: { roots: { listChanged: true }, sampling: {}, elicitation: { form: {}, url: {} } } },
  );
  client.fallbackNotificationHandler = async (notification) => {
    notifications.push(notification);
  };
  client.setRequestHandler(ListRootsRequestSchema, async (request) => {
    asked.push(request);
    return { roots };
  });
  client.setRequestHandler(CreateMessageRequestSchema, async (request) => {
    asked.push(request);
    return { model: "walk", role: "assistant", content: { type: "text", text: "sampled" }, stopReason: "endTurn" };
  });
  client.setRequestHandler(ElicitRequestSchema, async (request) => {
    asked.push(request);
    const form = request.params.mode !== "url";
    return form ? { action: "accept", content: { name: "Ada", integer: 7 } } : { action: "decline" };
  });
  return client;
}

async function lists(client) {
  await step("tools/list", () => client.listTools());
  await step("resources/list", () => client.listResources());
  await step("resources/templates/list", () => client.listResourceTemplates());
  await step("prompts/list", () => client.listPrompts());
}

async function tools(client) {
  const call = (name, args = {}) =>
    step(`call ${name} ${JSON.stringify(args)}`, () => client.callTool({ name, arguments: args }));
  await call("echo", { message: "héllo \u2028 wörld 🐟" });
  await call("echo", {});
  await call("get-sum", { a: 1.5, b: 2 });
  for (const messageType of ["error", "success", "debug"]) {
    await call("get-annotated-message", { messageType, includeImage: messageType === "debug" });
  }
  await call("get-env");
  await call("get-resource-links", { count: 4 });
  await call("get-resource-reference", { resourceType: "Text", resourceId: 3 });
  await call("get-resource-reference", { resourceType: "Blob", resourceId: 4 });
  await call("get-structured-content", { location: "Chicago" });
  await call("get-tiny-image");
  await call("no-such-tool");
  await step("unknown method", () => client.request({ method: "no/such" }, { parse: (value) => value }));
  const data = "data:text/plain;base64,d3Jhc3NlIHdyYXNzZSB3cmFzc2U=";
  await call("gzip-file-as-resource", { name: "fish.gz", data, outputType: "resourceLink" });
  await step("session resource", () => client.readResource({ uri: "demo://resource/session/fish.gz" }));
}

async function resources(client) {
  for (const uri of [
    "demo://resource/static/document/architecture.md",
    "demo://resource/dynamic/text/1",
    "demo://resource/dynamic/blob/2",
    "demo://resource/none",
  ]) {
    await step(`read ${uri}`, () => client.readResource({ uri }));
  }
}

async function prompts(client) {
  await step("simple-prompt", () => client.getPrompt({ name: "simple-prompt" }));
  await step("args-prompt", () => client.getPrompt({ name: "args-prompt", arguments: { city: "Oslo" } }));
  await step("no prompt", () => client.getPrompt({ name: "no-prompt" }));
  await step("resource-prompt", () =>
    client.getPrompt({ name: "resource-prompt", arguments: { resourceType: "Text", resourceId: "5" } }));
  const ref = { type: "ref/prompt", name: "completable-prompt" };
  await step("complete", () => client.complete({ ref, argument: { name: "department", value: "S" } }));
  await step("complete in context", () =>
    client.complete({
      ref,
      argument: { name: "name", value: "" },
      context: { arguments: { department: "Sales" } },
    }));
}

async function serverAsks(client) {
  await until("the first roots", () => logged("Roots updated: 1"));
  await step("roots", () => client.callTool({ name: "get-roots-list", arguments: {} }));
  roots.push({ uri: "file:///two", name: "two" });
  await step("roots changed", async () => {
    await client.sendRootsListChanged();
    await until("the changed roots", () => logged("Roots updated: 2"));
  });
  await step("roots again", () => client.callTool({ name: "get-roots-list", arguments: {} }));
  await step("sampling", () =>
    client.callTool({ name: "trigger-sampling-request", arguments: { prompt: "say", maxTokens: 9 } }));
  await step("elicitation", () => client.callTool({ name: "trigger-elicitation-request", arguments: {} }));
  const url = { url: "https://example.invalid/a", message: "open", elicitationId: "e-1" };
  await step("url elicitation", () => client.callTool({ name: "trigger-url-elicitation", arguments: url }));
}

async function logging(client) {
  const uri = "demo://resource/dynamic/text/8";
  await step("level error", () => client.setLoggingLevel("error"));
  await step("subscribe, quiet", () => client.subscribeResource({ uri }));
  await step("nothing was logged", async () => logged(uri));
  await step("level debug", () => client.setLoggingLevel("debug"));
  await step("subscribe, loud", async () => {
    const answer = await client.subscribeResource({ uri });
    await until("the log message", () => logged(uri));
    return answer;
  });
  const updated = () => seen("notifications/resources/updated", (params) => params.uri === uri);
  const toggle = { name: "toggle-subscriber-updates", arguments: {} };
  await step("updates on", async () => {
    const answer = await client.callTool(toggle);
    await until("an update", updated);
    return answer;
  });
  await step("updates off", () => client.callTool(toggle));
  await step("unsubscribe", () => client.unsubscribeResource({ uri }));
}

async function long(client) {
  const name = "trigger-long-running-operation";
  await step("progress", async () => {
    // Heard below the SDK, which drops those that are read together with the result.
    const progress = [];
    const hear = client.transport.onmessage;
    client.transport.onmessage = (message, extra) => {
      if (message.method === "notifications/progress") {
        const { progressToken: _, ...one } = message.params;
        progress.push(one);
      }
      hear(message, extra);
    };
    const wanted = { onprogress: () => {} };
    const result = await client.callTool({ name, arguments: { duration: 0.5, steps: 5 } }, undefined, wanted);
    client.transport.onmessage = hear;
    return { result, progress };
  });
  await step("cancelled", async () => {
    const asking = new AbortController();
    await client.callTool({ name, arguments: { duration: 60, steps: 600 } }, undefined, {
      signal: asking.signal,
      onprogress: () => asking.abort("enough"),
    });
  });
  // Two at once: the answers must not be swapped.
  await step("side by side", () =>
    Promise.all([0.4, 0.1].map((duration) => client.callTool({ name, arguments: { duration, steps: 1 } }))));
  const query = { name: "simulate-research-query", arguments: { topic: "fish" } };
  await step("not as a task", () => client.callTool(query));
  await step("task", async () => {
    const events = [];
    for await (const event of client.experimental.tasks.callToolStream(query, undefined, { task: {} })) {
      if (event.type !== "taskStatus" || event.task.status === "completed") events.push(event);
    }
    return events;
  });
}

async function everything(client) {
  await step("ping", () => client.ping());
  await lists(client);
  await tools(client);
  await resources(client);
  await prompts(client);
  await serverAsks(client);
  await logging(client);
  await long(client);
  await lists(client);
}

async function big(client) {
  await step("tools/list", () => client.listTools());
  for (const bytes of [1, 65_536, 10_000_000]) {
    await step(`big ${bytes}`, async () => {
      const result = await client.callTool({ name: "big", arguments: { bytes } });
      const text = result.content[0].text;
      result.content[0].text = createHash("sha256").update(text).digest("hex");
      return { length: text.length, result };
    });
  }
  // The same the other way.
  await step("echo 1000000", async () => {
    const text = "é".repeat(1_000_000);
    const result = await client.callTool({ name: "echo", arguments: { text } });
    return { same: result.content[0].text === text };
  });
}

const client = connectable();
const transport = new StdioClientTransport({
  command,
  args,
  env: process.env,
  stderr: "inherit",
  maxBufferSize: 64 << 20,
});
await step("initialize", async () => {
  await client.connect(transport);
  return {
    server: client.getServerVersion(),
    capabilities: client.getServerCapabilities(),
    instructions: client.getInstructions(),
    protocol: transport._protocolVersion,
  };
});
await { everything, big }[walk](client);
await client.close();

print("notifications", notifications);
print("asked", asked);

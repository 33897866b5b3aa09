// Runs a server and appends every line that it is sent to a file: what the server saw, told by neither end.
//
// node record.mjs FILE -- COMMAND ARGS…

import { spawn } from "node:child_process";
import { appendFileSync } from "node:fs";
import process from "node:process";

const [file, dashes, command, ...args] = process.argv.slice(2);
if (dashes !== "--" || command === undefined) {
  console.error("usage: record.mjs FILE -- COMMAND ARGS…");
  process.exit(64);
}
const server = spawn(command, args, { stdio: ["pipe", "inherit", "inherit"] });
server.stdin.on("error", () => {});
process.stdin.on("data", (chunk) => {
  appendFileSync(file, chunk);
  server.stdin.write(chunk);
});
process.stdin.on("end", () => server.stdin.end());
// The reference server lives on after the end of its input, while a call that was cancelled is at work.
process.on("SIGTERM", () => server.kill("SIGKILL"));
server.on("exit", (code) => process.exit(code ?? 1));

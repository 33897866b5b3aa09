// A small MCP server that misbehaves on request: node server.mjs <mode> [word]. Raw JSON-RPC lines, no packages.
import { appendFileSync } from 'node:fs';

const [mode, word] = process.argv.slice(2);
const hog = [];
const send = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
const tool = (name, extra = {}) => ({ name, inputSchema: { type: 'object' }, ...extra });
const text = (value) => ({ content: [{ type: 'text', text: String(value) }] });
const later = (ms, what) => setTimeout(what, ms);
let counter = 0;
let changed = false;
let cancelled = [];

if (mode === 'exit-now') {
  process.stderr.write('fatal: SPECIAL_TOKEN is not set\n');
  process.exit(3);
}
if (mode === 'banner') process.stdout.write('Welcome to the banner server!\nlistening\n');
if (mode === 'banner-exit') {
  process.stdout.write('Usage: server <dir>\n');
  process.exit(1);
}
if (mode === 'flood') process.stderr.write(`${'noise '.repeat(50)}\n`.repeat(1000));
if (mode === 'close-stdout') later(1, () => process.stdout.end(() => setInterval(() => {}, 1000)));
if (mode === 'count-starts') appendFileSync(word, `${process.pid}\n`);
if (mode === 'install') {
  appendFileSync(word, 'begin\n');
  process.stderr.write('downloading\n');
}

const tools = () => {
  const all = [
    tool('echo', { description: 'Says it again', annotations: { readOnlyHint: true } }),
    tool('count', { annotations: { idempotentHint: false } }),
    tool('env'), tool('cwd'), tool('slow'), tool('progress'), tool('die'), tool('big'), tool('refuse'),
    tool('fail'), tool('ask'), tool('cancelled'), tool('pid'), tool('change'), tool('huge'), tool('grow'),
    tool('die-read', { annotations: { readOnlyHint: true } }), tool('deaf'),
  ];
  return changed ? [...all, tool('brand-new')] : all;
};

const list = (cursor) => {
  if (mode === 'pages') {
    if (!cursor) return { tools: [tool('one')], nextCursor: 'p2' };
    return { tools: [tool('two')], nextCursor: 'p2' };
  }
  if (mode === 'endless') return { tools: [tool(`t${cursor ?? 0}`)], nextCursor: String(Number(cursor ?? 0) + 1) };
  return { tools: tools() };
};

const version = (asked) => (mode === 'future' ? '2026-07-28' : mode === 'old' ? '2024-11-05' : asked);

const asking = new Map();
const call = (id, { name, arguments: args = {}, _meta: meta = {} }) => {
  const answer = (result) => send({ id, result });
  switch (name) {
    case 'echo': return answer(text(args.text));
    case 'count': return answer(text(++counter));
    case 'env': return answer(text(JSON.stringify(process.env)));
    case 'cwd': return answer(text(process.cwd()));
    case 'pid': return answer(text(process.pid));
    case 'slow': return; // never answers
    case 'progress': {
      let step = 0;
      const timer = setInterval(() => {
        step += 1;
        if (step > args.steps) { clearInterval(timer); answer(text('done')); return; }
        send({ method: 'notifications/progress', params: { progressToken: meta.progressToken, progress: step } });
      }, 200);
      return;
    }
    case 'die': return process.exit(1);
    case 'die-read': if (word) appendFileSync(word, 'x'); return process.kill(process.pid, 'SIGKILL');
    case 'big': return answer(text('x'.repeat(args.bytes)));
    case 'huge': return answer(text('x'.repeat(33 * 1024 * 1024)));
    case 'refuse': return send({ id, error: { code: -32602, message: 'wrong arguments' } });
    case 'fail': return answer({ ...text('it did not work'), isError: true });
    case 'ask': asking.set('q1', id); return send({ id: 'q1', method: 'sampling/createMessage', params: { messages: [], maxTokens: 1 } });
    case 'cancelled': return answer(text(JSON.stringify(cancelled)));
    case 'change': changed = true; answer(text('ok')); return send({ method: 'notifications/tools/list_changed' });
    case 'grow': hog.push(Buffer.alloc(args.mib << 20, 1)); return; // never answers
    case 'deaf': process.stdin.pause(); setInterval(() => {}, 1000); return;
    default: return send({ id, error: { code: -32602, message: `no tool ${name}` } });
  }
};

const handle = ({ id, method, params, error, result }) => {
  if (!method) {
    if (asking.has(id)) send({ id: asking.get(id), result: text(error ? error.message : JSON.stringify(result)) });
    return;
  }
  switch (method) {
    case 'initialize': {
      if (mode === 'slow-init') return;
      const result = {
        protocolVersion: version(params.protocolVersion),
        capabilities: mode === 'no-tools' ? {} : { tools: { listChanged: true } },
        serverInfo: { name: 'fixture', version: '1.0.0' },
      };
      if (mode === 'install') {
        return void later(1500, () => { appendFileSync(word, 'end\n'); send({ id, result }); });
      }
      return send({ id, result });
    }
    case 'tools/list': return send({ id, result: list(params?.cursor) });
    case 'tools/call': return call(id, params);
    case 'ping': return send({ id, result: {} });
    case 'notifications/cancelled': return void cancelled.push(params.reason);
    default: if (id !== undefined) send({ id, error: { code: -32601, message: 'Method not found' } });
  }
};

let rest = '';
process.stdin.setEncoding('utf8');
process.stdin.on('data', (chunk) => {
  rest += chunk;
  for (let at = rest.indexOf('\n'); at >= 0; at = rest.indexOf('\n')) {
    const line = rest.slice(0, at);
    rest = rest.slice(at + 1);
    if (line.trim()) handle(JSON.parse(line));
  }
});
process.stdin.on('end', () => { if (mode !== 'eof-deaf') process.exit(0); });
if (mode === 'eof-deaf') setInterval(() => {}, 1000);

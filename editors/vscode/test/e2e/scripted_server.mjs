// A language server whose answers are fixed, for what must not depend on any model:
//   node scripted_server.mjs LOG [REASON]
// Every message it gets goes to LOG, a line each. With a REASON, its model does not take instructions, for that
// reason, and it does not want to know what is copied.

import fs from 'node:fs';

const [log, reason] = process.argv.slice(2);
const documents = new Map();
/** Requests that are answered only when they are cancelled. */
const waiting = new Set();
const status = { state: 'idle', model: 'scripted', device: 'paper', memoryBytes: 3 * 2 ** 20 };

function send(message) {
  const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...message }));
  process.stdout.write(`Content-Length: ${body.length}\r\n\r\n`);
  process.stdout.write(body);
}

function offset(text, { line, character }) {
  return text.split('\n').slice(0, line).reduce((sum, each) => sum + each.length + 1, character);
}

function textOf(uri, range) {
  const { text } = documents.get(uri);
  return text.slice(offset(text, range.start), offset(text, range.end));
}

/** Ranges of every match, all within a line. */
function ranges(text, pattern) {
  return text.split('\n').flatMap((content, line) =>
    [...content.matchAll(pattern)].map((match) => ({
      start: { line, character: match.index },
      end: { line, character: match.index + match[0].length },
    })),
  );
}

function holes({ textDocument: { uri }, kind, range }) {
  const { text, version } = documents.get(uri);
  const patterns = { fillAll: /todo!\(\)/g, repair: /wrogn/g };
  const inside = (each) => range === undefined || (each.start.line >= range.start.line && each.end.line <= range.end.line);
  const found = kind === 'docComment' ? [{ start: { line: range.start.line, character: 0 }, end: { line: range.start.line, character: 0 } }] : ranges(text, patterns[kind]).filter(inside);
  return { version, holes: found.map((each) => ({ range: each, reason: kind })) };
}

function infill(id, { textDocument: { uri }, ranges, instruction, avoidDraft, alternatives = 1, frameToken, seed }) {
  const fill = (range, index, alternative) => {
    if (instruction !== undefined) return textOf(uri, range).toUpperCase();
    if (avoidDraft) return 'right';
    return `fill_${index}_${alternative}${seed === undefined ? '' : `_${seed}`}()`;
  };
  if (frameToken !== undefined) {
    const cells = [{ text: 'be', confidence: 0.9 }, null, null];
    ranges.forEach((range, hole) => send({ method: '$/diffcoder/frame', params: { token: frameToken, hole, range, forwards: 1, cells } }));
  }
  if (instruction === 'wait') return waiting.add(id);
  const results = Array.from({ length: alternatives }, (_, alternative) =>
    ranges.map((range, index) => ({ range, newText: fill(range, index, alternative), confidence: 0.5, finish: 'endOfText' })),
  );
  const [first, ...others] = results;
  answer(id, { version: documents.get(uri).version, holes: first, alternatives: others, edit: {}, stats: {} });
}

/** A rewrite without its instruction: of this text, of an older one, and of a document that nobody has opened. */
function codeActions({ textDocument: { uri }, range }) {
  const { version } = documents.get(uri);
  const action = (title, order) => ({
    title,
    kind: 'refactor.rewrite.diffcoder.rewrite',
    command: { title, command: 'diffcoder.askRewrite', arguments: [order] },
  });
  return [
    action('Rewrite with instruction', { uri, version, range }),
    action('Rewrite an older text', { uri, version: version - 1, range }),
    action('Rewrite what is elsewhere', { uri: `${uri}.elsewhere`, version, range }),
  ];
}

function answer(id, result) {
  send({ id, result });
}

function handle({ id, method, params }) {
  switch (method) {
    case 'initialize': {
      const diffcoder = { infill: true, score: true, holes: true, status: true, seen: reason === undefined, rewrite: reason === undefined ? true : { disabled: reason } };
      return answer(id, {
        capabilities: {
          positionEncoding: 'utf-16',
          textDocumentSync: { openClose: true, change: 1 },
          codeActionProvider: { resolveProvider: true },
          experimental: { diffcoder },
        },
        serverInfo: { name: 'scripted', version: '0' },
      });
    }
    case 'textDocument/didOpen':
      return documents.set(params.textDocument.uri, params.textDocument);
    case 'textDocument/didChange':
      return documents.set(params.textDocument.uri, { text: params.contentChanges.at(-1).text, version: params.textDocument.version });
    case 'textDocument/codeAction':
      return answer(id, reason === undefined && documents.has(params.textDocument.uri) ? codeActions(params) : []);
    case 'codeAction/resolve':
      return answer(id, params);
    case 'diffcoder/holes':
      return answer(id, holes(params));
    case 'diffcoder/infill':
      return infill(id, params);
    case 'diffcoder/status':
      return answer(id, status);
    case 'diffcoder/unload':
    case 'diffcoder/reload':
      status.state = method === 'diffcoder/unload' ? 'unloaded' : 'idle';
      answer(id, status);
      return send({ method: '$/diffcoder/status', params: status });
    case '$/cancelRequest':
      if (waiting.delete(params.id)) send({ id: params.id, error: { code: -32800, message: 'cancelled' } });
      return undefined;
    case 'shutdown':
      return answer(id, null);
    case 'exit':
      return process.exit(0);
    default:
      return id === undefined ? undefined : send({ id, error: { code: -32601, message: method } });
  }
}

let buffer = Buffer.alloc(0);
process.stdin.on('data', (data) => {
  buffer = Buffer.concat([buffer, data]);
  for (;;) {
    const end = buffer.indexOf('\r\n\r\n');
    if (end < 0) return;
    const length = Number(/Content-Length: (\d+)/i.exec(buffer.subarray(0, end).toString())?.[1]);
    if (buffer.length < end + 4 + length) return;
    const body = buffer.subarray(end + 4, end + 4 + length).toString();
    buffer = buffer.subarray(end + 4 + length);
    fs.appendFileSync(log, `${body}\n`);
    handle(JSON.parse(body));
  }
});
process.stdin.on('end', () => process.exit(0));

// Makes a session for the tests of what an editor sent to the server: one message a line, without the paths of the machine.
//
//   node convert.mjs RAW OUT.jsonl
//
// RAW is the server's stdin. To have it, give the editor's tests (`editors/*/test`, `--server`) a script in the server's place:
//
//   #!/bin/bash
//   tee "/tmp/raw-$$.bin" | /path/to/diffcoder-lsp "$@"
import fs from 'node:fs';

const [raw, out] = process.argv.slice(2);
if (!out) {
  console.error('usage: node convert.mjs RAW OUT.jsonl');
  process.exit(2);
}
const bytes = fs.readFileSync(raw);
const lines = [];
for (let at = 0; at < bytes.length; ) {
  const end = bytes.indexOf('\r\n\r\n', at);
  const length = Number(/Content-Length: (\d+)/.exec(bytes.subarray(at, end).toString())?.[1]);
  const body = bytes.subarray(end + 4, end + 4 + length).toString();
  const message = JSON.parse(body.replace(/\/tmp\/[A-Za-z0-9._-]+(\/workspace)?/g, '/project'));
  // The server ends with the process that it is told of.
  if (message.method === 'initialize') message.params.processId = null;
  lines.push(JSON.stringify(message));
  at = end + 4 + length;
}
fs.writeFileSync(out, lines.map((line) => line + '\n').join(''));

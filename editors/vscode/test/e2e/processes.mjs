// Processes as /proc shows them.

import fs from 'node:fs';

function stat(pid) {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may hold anything.
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

/** All children, their children and so on. */
export function descendants(root) {
  const parents = new Map();
  for (const name of fs.readdirSync('/proc')) {
    const fields = /^\d+$/.test(name) ? stat(name) : undefined;
    if (fields) parents.set(Number(name), Number(fields[1]));
  }
  const found = [];
  for (let layer = [root]; layer.length > 0; ) {
    layer = [...parents].filter(([, parent]) => layer.includes(parent)).map(([pid]) => pid);
    found.push(...layer);
  }
  return found;
}

/** Path of the program, if the process is there. */
export function program(pid) {
  try {
    return fs.readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return undefined;
  }
}

/** Whether it runs; one that only waits to be reaped does not. */
export function isAlive(pid) {
  const fields = stat(pid);
  return fields !== undefined && fields[0] !== 'Z';
}

/** Processor time that it has used, in clock ticks (mostly of 10 ms). */
export function ticks(pid) {
  const fields = stat(pid);
  return fields ? Number(fields[11]) + Number(fields[12]) : undefined;
}

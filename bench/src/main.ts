/**
 * `npm run bench`: our figures beside those of peers, measured in the same run, since only their
 * ratio means something on a machine that does other things too. See bench/README.md.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { gsoTransfer } from './cases/gso.js';
import { loopBack, receiveFill, transmitDrain } from './cases/memory.js';
import { packetSocket } from './cases/raw.js';
import { ringWalk } from './cases/ring-walk.js';
import { kickToCall } from './cases/round-trip.js';
import { scale } from './cases/scale.js';
import { transmitTap } from './cases/tap.js';
import { vsockStreams } from './cases/vsock.js';
import { vsockOfQemu } from './cases/vsock-qemu.js';
import { type Result, table } from './result.js';
import type { Settings } from './settings.js';

const CASES: Record<string, (settings: Settings) => Result[] | Promise<Result[]>> = {
  ring: ringWalk,
  drain: transmitDrain,
  receive: receiveFill,
  loopback: loopBack,
  tap: transmitTap,
  raw: packetSocket,
  'round-trip': kickToCall,
  gso: gsoTransfer,
  vsock: vsockStreams,
  'vsock-qemu': vsockOfQemu,
  scale,
};

const USAGE = `usage: npm run bench -- [CASE ...] [--json] [--packed] [--rounds=N] [--seconds=N] [--profile=FOLDER]
cases: ${Object.keys(CASES).join(', ')} (all of them unless some are named)`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    packed: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    profile: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
const names = positionals.length > 0 ? positionals : Object.keys(CASES);
const unknown = names.filter((name) => !(name in CASES));
if (values.help || unknown.length > 0) {
  console.error(unknown.length > 0 ? `no such case: ${unknown.join(', ')}\n${USAGE}` : USAGE);
  process.exit(values.help ? 0 : 2);
}

const folder = mkdtempSync(join(tmpdir(), 'rxvhost-bench-'));
const results: Result[] = [];
try {
  for (const name of names) {
    console.error(`measuring ${name} …`);
    const run = CASES[name];
    if (run === undefined) continue;
    const settings = {
      seconds: Number(values.seconds),
      rounds: Number(values.rounds),
      packed: values.packed,
      profile: values.profile,
      folder,
    };
    results.push(...(await run(settings)));
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(values.json ? JSON.stringify(results, null, 2) : table(results));

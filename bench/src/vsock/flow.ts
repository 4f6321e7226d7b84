import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';

const CHUNK = Buffer.alloc(128 * 1024);

/** Both ends of a stream. */
export interface Ends {
  readonly from: Duplex;
  readonly to: Duplex;
}

/** Sends as much as goes for so many seconds, and the warm-up before. Bytes a second, as received. */
export async function flow({ from, to }: Ends, seconds: number, warmUp: number): Promise<number> {
  let bytes = 0;
  let open = true;
  to.on('data', (piece: Buffer) => {
    bytes += piece.length;
  });
  const fill = () => {
    while (open && from.write(CHUNK));
  };
  from.on('drain', fill);
  fill();
  await delay(warmUp * 1000);
  const before = bytes;
  const start = performance.now();
  await delay(seconds * 1000);
  const rate = ((bytes - before) / (performance.now() - start)) * 1000;
  open = false;
  from.off('drain', fill);
  from.destroy();
  to.destroy();
  return rate;
}

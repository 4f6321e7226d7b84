import { expect } from '../exchange.js';
import { type Check, withPeer } from './check.js';

export const HEADER_CHECKS: readonly Check[] = [
  {
    name: 'headerLength is 0, 10, 12 or 20, and setHeaderLength changes it for frames both ways',
    async run(exchange) {
      const { backend } = exchange;
      expect([0, 10, 12, 20].includes(backend.headerLength), `it is ${backend.headerLength}`);
      if (backend.setHeaderLength === undefined) return;
      const hash = backend.takesHash === true ? ([20] as const) : [];
      for (const bytes of [10, 12, ...hash, 10] as const) {
        backend.setHeaderLength(bytes);
        expect(backend.headerLength === bytes, `it is ${backend.headerLength}, set to ${bytes}`);
        if (!withPeer(exchange.options)) continue;
        const out = exchange.frames([60, 300]);
        await exchange.sendAll(out);
        await exchange.expectAtPeer(out);
        const back = exchange.frames([61, 301]);
        await exchange.peer.inject(back);
        await exchange.expectReceived(back);
      }
    },
  },
];

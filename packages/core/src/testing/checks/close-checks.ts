import type { Observable } from 'rxjs';
import { expect } from '../exchange.js';
import { until } from '../waiting.js';
import type { Check } from './check.js';

export const CLOSE_CHECKS: readonly Check[] = [
  {
    name: 'close ends both observables, for those who listen and those who come later, and only once',
    async run({ backend, patience }) {
      const ended: string[] = [];
      const watch = (name: string, source: Observable<void>) =>
        source.subscribe({ complete: () => ended.push(name) });
      watch('readable$', backend.readable$);
      watch('writable$', backend.writable$);
      backend.close();
      backend.close();
      const both = ['readable$', 'writable$'];
      await until(() => ended.length >= 2, patience);
      const open = both.filter((name) => !ended.includes(name));
      expect(open.length === 0, `${open.join(' and ')} did not complete`);
      watch('readable$', backend.readable$);
      watch('writable$', backend.writable$);
      await until(() => ended.length >= 4, patience);
      expect(ended.length === 4, 'a subscription after close did not complete');
      backend.close();
    },
  },
];

import { Observable, of, Subject } from 'rxjs';
import t from 'tap';
import { type MemoryMapping, VhostError } from '../src/index.js';
import { makeNic } from './support/nic.js';

/** A NIC that runs, on memory that breaks when the test says so. */
function runningNic(broken$: Observable<void>) {
  const bench = makeNic();
  bench.setUp();
  const withBreaks = (mapping: MemoryMapping): MemoryMapping => ({
    size: mapping.size,
    windows: mapping.windows,
    address: mapping.address,
    broken$,
    release() {},
  });
  const regions = [bench.receive.region, bench.transmit.region].map((region, index) => ({
    ...region,
    mapping: withBreaks(region.mapping),
    guestAddress: region.guestAddress + index * 0x100_0000,
    userAddress: region.userAddress + index * 0x100_0000,
  }));
  return { ...bench, regions, codes: () => bench.faults.map((f) => `${f.queue} ${f.error.code}`) };
}

t.test('T20 memory that breaks stops every queue, once, until there is other memory', async (t) => {
  const broken = new Subject<void>();
  const { nic, turns, faults, codes, port, regions, run } = runningNic(broken);
  nic.setMemoryRegions(regions);
  run();
  t.equal(nic.state, 'running');
  let signals = 0;
  port(0).error.events$.subscribe((count) => {
    signals += count;
  });
  broken.next();
  turns.settle();
  t.same(codes(), ['0 EFAULT', '1 EFAULT']);
  t.match(faults[0]?.error.message, /guest address 0x[0-9a-f]+ was truncated/);
  t.equal(signals, 1, 'the error port is signalled');
  t.equal(nic.state, 'owned');
  t.throws(() => nic.runQueue(0, 'running'), { code: 'EFAULT' });
  broken.next();
  t.equal(faults.length, 2, 'both regions broke, told once');

  nic.setMemoryRegions(regions.map((region) => ({ ...region })));
  run();
  t.equal(nic.state, 'running', 'other memory, and it runs again');
  await nic.close();
  t.notOk(broken.observed, 'nobody listens to memory that is no longer used');
});

t.test('T20 memory known to be broken, or that cannot be watched, is not used', async (t) => {
  const cannot = new Observable<void>((subscriber) =>
    subscriber.error(new VhostError('EMFILE', 'no fd to listen with')),
  );
  for (const [broken$, code] of [
    [of(undefined), 'EFAULT'],
    [cannot, 'EMFILE'],
  ] as const) {
    const { nic, codes, regions, run } = runningNic(broken$);
    run();
    nic.setMemoryRegions(regions);
    t.same(codes(), [`0 ${code}`, `1 ${code}`]);
    t.equal(nic.state, 'owned');
    t.throws(() => nic.runQueue(1, 'running'), { code });
    await nic.close();
  }
});

t.test('T20 memory that was replaced may break without anybody minding', async (t) => {
  const broken = new Subject<void>();
  const { nic, faults, regions, run } = runningNic(broken);
  nic.setMemoryRegions(regions);
  nic.setMemoryRegions(
    regions.map(({ mapping, ...region }) => {
      const { broken$: _, ...whole } = mapping;
      return { ...region, mapping: whole };
    }),
  );
  run();
  broken.next();
  t.same(faults, []);
  t.equal(nic.state, 'running');
  await nic.close();
});

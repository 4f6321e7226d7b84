import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { link, type PacketSocket, VhostNet } from '@rxvhost/core';
import type { Test } from 'tap';
import { serve, type VhostUserServer } from '../../src/index.js';
import { until } from './bench.js';
import { TestVm } from './test-vm.js';

/** A NIC served at a socket of its own. */
export interface Served {
  readonly nic: VhostNet;
  readonly server: VhostUserServer;
  readonly path: string;
  readonly errors: string[];
}

export async function serveNic(t: Test, backends: PacketSocket): Promise<Served> {
  const directory = mkdtempSync(join(tmpdir(), 'vhost-user-'));
  const nic = new VhostNet({ backends });
  const path = join(directory, 'socket');
  const server = await serve(nic, { socketPath: path });
  const errors: string[] = [];
  nic.errors$.subscribe(({ queue, error }) => errors.push(`queue ${queue} ${error.code}`));
  server.errors$.subscribe(({ request, error }) => errors.push(`${request} ${error.code}`));
  t.teardown(async () => {
    await server.close();
    await nic.close();
    rmSync(directory, { recursive: true });
  });
  return { nic, server, path, errors };
}

/** Two NICs joined by a cable, each served, each with a VM that is not yet connected. */
export async function pair(t: Test) {
  const [one, other] = link();
  const left = { ...(await serveNic(t, one)), vm: new TestVm() };
  const right = { ...(await serveNic(t, other)), vm: new TestVm() };
  t.teardown(() => {
    left.vm.close();
    right.vm.close();
  });
  return { left, right };
}

export async function arrives(t: Test, vm: TestVm, count: number, what: string): Promise<void> {
  await until(t, what, () => vm.received.intact >= count);
  t.equal(vm.received.intact, count);
  t.ok(vm.received.flawless, 'intact and in order');
}

/** Frames both ways, as many as given. */
export async function exchange(t: Test, left: TestVm, right: TestVm, count: number): Promise<void> {
  const [toLeft, toRight] = [left.received.intact + count, right.received.intact + count];
  left.send(count);
  right.send(count);
  await arrives(t, left, toLeft, 'one way');
  await arrives(t, right, toRight, 'the other way');
}

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type ServeOptions, serve, VhostUserFrontend } from '../../src/index.js';
import { RecordingDevice } from './recording-device.js';

/** A path for a socket in a directory of its own, which goes at the end of the test. */
export function socketPath(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'vhost-user-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  return join(directory, 'socket');
}

/** Serves a recording device at such a path. */
export async function listen(t: Test, options: Partial<ServeOptions> = {}) {
  const device = new RecordingDevice();
  const path = socketPath(t);
  const server = await serve(device, { socketPath: path, ...options });
  t.teardown(() => server.close());
  const states: string[] = [];
  server.state$.subscribe((state) => states.push(state));
  return { device, path, server, states };
}

/** A front-end that is closed at the end of the test. */
export function connect(t: Test, path: string): VhostUserFrontend {
  const frontend = VhostUserFrontend.connect(path);
  t.teardown(() => frontend.close());
  return frontend;
}

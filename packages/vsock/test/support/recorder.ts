import type { VhostError } from '@rxvhost/core';
import type { Connection, ConnectionUser } from '../../src/index.js';

/** A user that takes everything at once, unless it is told to hold still, and notes what it hears. */
export class Recorder implements ConnectionUser {
  readonly heard: string[] = [];
  readonly pieces: Uint8Array[] = [];
  readonly messages: { bytes: Uint8Array; endOfRecord: boolean }[] = [];
  error: VhostError | undefined;
  connection: Connection | undefined;
  holding = false;

  get bytes(): Buffer {
    return Buffer.concat(this.pieces);
  }

  get text(): string {
    return this.bytes.toString('latin1');
  }

  connected(): void {
    this.heard.push('connected');
  }

  readable(): void {
    if (!this.holding) this.takeAll();
  }

  writable(): void {
    this.heard.push('writable');
  }

  refusing(): void {
    this.heard.push('refusing');
  }

  closed(error: VhostError | undefined): void {
    this.error = error;
    this.heard.push(`closed ${error?.code ?? 'well'}`);
  }

  takeAll(): void {
    const { connection } = this;
    if (connection === undefined) return;
    for (let bytes = connection.take(); bytes; bytes = connection.take()) this.pieces.push(bytes);
    for (let next = connection.takeMessage(); next; next = connection.takeMessage()) {
      this.messages.push(next);
    }
    if (connection.ended && !this.heard.includes('ended')) this.heard.push('ended');
  }
}

import { execFileSync } from 'node:child_process';
import { PeerProcess } from './peer-process.js';

/** A network of its own, so that a test's addresses and interfaces meet nobody else's. */
export class NetworkNamespace {
  constructor(readonly name: string) {
    execFileSync('ip', ['netns', 'add', name]);
    this.ip('link', 'set', 'lo', 'up');
  }

  /** Runs `ip` for this namespace, as in `ip('link', 'set', 'tap0', 'up')`; returns its output. */
  ip(...args: readonly string[]): string {
    return execFileSync('ip', ['-n', this.name, ...args], { encoding: 'utf8' });
  }

  /** Runs a program inside to its end; returns its output. */
  run(command: readonly string[]): string {
    return execFileSync('ip', this.#inside(command), { encoding: 'utf8' });
  }

  /** Starts a program inside. */
  start(name: string, command: readonly string[], environment?: NodeJS.ProcessEnv): PeerProcess {
    return new PeerProcess(name, this.inside(command), environment);
  }

  /** The command that runs `command` inside. */
  inside(command: readonly string[]): string[] {
    return ['ip', ...this.#inside(command)];
  }

  hasInterface(name: string): boolean {
    return this.ip('-o', 'link').includes(` ${name}:`);
  }

  /** Frames that an interface has received since it was made. */
  receivedFrames(name: string): number {
    const output = this.ip('-json', '-statistics', 'link', 'show', 'dev', name);
    const links = JSON.parse(output) as { stats64: { rx: { packets: number } } }[];
    return links[0]?.stats64.rx.packets ?? 0;
  }

  delete(): void {
    execFileSync('ip', ['netns', 'delete', this.name]);
  }

  #inside(command: readonly string[]): string[] {
    return ['netns', 'exec', this.name, ...command];
  }
}

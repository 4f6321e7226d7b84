import type { PacketSocket } from '@rxvhost/core';

/** What `--backend=` asked for, checked as far as that goes without touching the machine. */
export interface BackendPlan {
  /** For the log: `tap0 (tap)`, `loopback`, … */
  readonly description: string;
  /** It cannot be opened in a worker thread; left out where it can. */
  readonly mainThreadOnly?: true;
  /**
   * Opens it: one socket, or one for each queue pair.
   * @param mtu - what the NIC will report, if that was given
   * Throws `EnvironmentError` or `VhostError` when the machine says no.
   */
  open(mtu: number | undefined): PacketSocket | readonly PacketSocket[];
}

/**
 * One kind of backend that `--backend=NAME:…` can name. A new kind is a new binding of
 * `BACKEND_FACTORY`: the option, its help and the list of known kinds follow from it.
 */
export interface BackendFactory {
  readonly name: string;
  /** How it is written, for `--help` and messages: `tap:ifname=NAME`. */
  readonly form: string;
  readonly help: string;
  /** Keys that it takes. */
  readonly keys: readonly string[];
  /** The key that a bare `NAME:value` stands for, where there is one. */
  readonly bareKey?: string;
  /** Checks the values. Throws `UsageError`. */
  plan(values: ReadonlyMap<string, string>): BackendPlan;
}

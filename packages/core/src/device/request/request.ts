import type { EventPort } from '../../events/event-port.js';
import type { VhostDevice } from '../vhost-device.js';
import type { Argument, Structure } from './argument.js';

/** What a request is served with. */
export interface RequestContext<D extends VhostDevice> {
  readonly device: D;
  /**
   * The event port on an fd that a request carries; undefined for −1, which unsets. `EBADF` for an
   * fd that is not open, `EINVAL` for one that is no eventfd.
   */
  port(fd: number): EventPort | undefined;
}

type Done = void | Promise<void>;

/** How one request is served: a row of the table. */
export interface Request<D extends VhostDevice> {
  /** The whole number, as a C program passes it to `ioctl`. */
  readonly code: number;
  /** True for the one request that is served while the device has no owner. */
  readonly ownerless: boolean;
  /** True when the argument begins with the index of a queue, which is looked at first of all. */
  readonly perVring: boolean;
  serve(context: RequestContext<D>, argument: Argument): Done;
}

/** The rows by the names of `linux/vhost.h`, without `VHOST_`. */
export type RequestTable<D extends VhostDevice> = Readonly<Record<string, Request<D>>>;

/** A request without an argument. */
export function action<D extends VhostDevice>(row: {
  readonly code: number;
  readonly ownerless?: boolean;
  handle(context: RequestContext<D>): Done;
}): Request<D> {
  const { ownerless = false } = row;
  return { code: row.code, ownerless, perVring: false, serve: (context) => row.handle(context) };
}

/** A request that tells the device something. */
export function command<D extends VhostDevice, T>(row: {
  readonly code: number;
  readonly perVring?: boolean;
  /** What the argument is: a structure, or what reads it. */
  readonly argument: Structure<T> | ((argument: Argument) => T);
  handle(context: RequestContext<D>, value: T): Done;
}): Request<D> {
  const { code, perVring = false } = row;
  const read = reader(row.argument);
  return {
    code,
    ownerless: false,
    perVring,
    serve: (context, argument) => row.handle(context, read(argument)),
  };
}

/** A request that the device answers by writing to the argument. */
export function query<D extends VhostDevice, T>(row: {
  readonly code: number;
  readonly reply: Structure<T>;
  handle(context: RequestContext<D>): T;
}): Request<D> {
  return {
    code: row.code,
    ownerless: false,
    perVring: false,
    serve(context, argument) {
      argument.checkRoom(row.reply);
      argument.write(row.reply, row.handle(context));
    },
  };
}

/** A request that reads a structure with a queue's index and writes it back with the answer. */
export function vringQuery<D extends VhostDevice, T extends { readonly index: number }>(row: {
  readonly code: number;
  readonly structure: Structure<T>;
  handle(context: RequestContext<D>, index: number): T;
}): Request<D> {
  return {
    code: row.code,
    ownerless: false,
    perVring: true,
    serve(context, argument) {
      const { index } = argument.read(row.structure);
      argument.write(row.structure, row.handle(context, index));
    },
  };
}

function reader<T>(argument: Structure<T> | ((argument: Argument) => T)) {
  return typeof argument === 'function' ? argument : (given: Argument): T => given.read(argument);
}

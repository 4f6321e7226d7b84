import { toVhostError, VhostError } from '../../errors/vhost-error.js';
import type { EventPort, EventPortFactory } from '../../events/event-port.js';
import { u32 } from '../../layout/struct-layout.js';
import type { VhostDevice } from '../vhost-device.js';
import { Argument } from './argument.js';
import type { Request, RequestContext, RequestTable } from './request.js';
import { scalar } from './structures.js';

const QUEUE_INDEX = scalar('the index of a queue', u32);
const UNBIND = -1;

/**
 * The raw request interface (seed A14): what `ioctl` on `/dev/vhost-net` is to a C program. Requests
 * are served one after the other, also those that have to wait for the device; each answers 0 or a
 * negative errno.
 */
export class RequestInterface<D extends VhostDevice> {
  readonly #context: RequestContext<D>;
  readonly #rows: ReadonlyMap<number, Request<D>>;
  /** Ends when every request that has come so far is served. */
  #served: Promise<unknown> = Promise.resolve();

  /**
   * @param table - the requests that the device serves
   * @param eventPort - makes event ports of the eventfds in arguments; without it there are none
   */
  constructor(
    private readonly device: D,
    table: RequestTable<D>,
    eventPort: EventPortFactory | undefined,
  ) {
    this.#context = { device, port: (fd) => openPort(fd, eventPort) };
    this.#rows = new Map(Object.values(table).map((row) => [row.code, row]));
  }

  /** See {@link VhostDevice.ioctl}. */
  ioctl(request: number, argument: Uint8Array | undefined): Promise<number> {
    const given = new Argument(argument);
    const answer = this.#served.then(() => this.#serve(request >>> 0, given));
    this.#served = answer;
    return answer;
  }

  async #serve(code: number, argument: Argument): Promise<number> {
    try {
      const row = this.#rows.get(code);
      if (row?.ownerless !== true) this.device.checkOwner();
      // The kernel takes what it does not know for a request about a queue, and checks that first.
      if (row === undefined || row.perVring) this.device.checkVring(argument.read(QUEUE_INDEX));
      if (row === undefined) {
        throw new VhostError('ENOIOCTLCMD', `there is no request 0x${code.toString(16)}`);
      }
      await row.serve(this.#context, argument);
      return 0;
    } catch (error) {
      return -toVhostError(error).errno;
    }
  }
}

function openPort(fd: number, eventPort: EventPortFactory | undefined): EventPort | undefined {
  if (fd === UNBIND) return undefined;
  if (eventPort === undefined) {
    throw new VhostError('EBADF', `fd ${fd}: the device was made without event ports`);
  }
  return eventPort(fd);
}

import { Subject, Subscription } from 'rxjs';
import { toVhostError, VhostError } from '../errors/vhost-error.js';
import type { MemoryRegion } from './memory-region.js';

/** Listens to the mappings of the regions that a device has now, for bytes that go missing (T20). */
export class BreakWatch {
  /** Why the regions must not be used, once that is known. */
  fault: VhostError | undefined;

  readonly #broken = new Subject<VhostError>();
  #mappings = new Subscription();

  /** Emits when {@link fault} is set. */
  readonly broken$ = this.#broken.asObservable();

  /** Listens to these regions, and to no others any more. May emit before it returns. */
  follow(regions: readonly MemoryRegion[]): void {
    this.#mappings.unsubscribe();
    this.#mappings = new Subscription();
    this.fault = undefined;
    for (const mapping of new Set(regions.map((region) => region.mapping))) {
      const address = regions.find((region) => region.mapping === mapping)?.guestAddress ?? 0;
      const truncated = () =>
        new VhostError(
          'EFAULT',
          `the file behind the memory at guest address 0x${address.toString(16)} was truncated`,
        );
      this.#mappings.add(
        mapping.broken$?.subscribe({
          next: () => this.#break(truncated()),
          // Memory that cannot be watched is memory that cannot be relied on.
          error: (error: unknown) => this.#break(toVhostError(error)),
        }),
      );
    }
  }

  #break(fault: VhostError): void {
    if (this.fault !== undefined) return;
    this.fault = fault;
    this.#broken.next(fault);
  }
}

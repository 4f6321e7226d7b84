import { CompletionBatch, EventLoopTurns, type TurnScheduler } from '@rxvhost/core';
import { type Observable, Subject } from 'rxjs';

/** Gathers what completes within a turn and says it in the next one, never inside a call. */
export class CompletionQueue {
  readonly completions$: Observable<CompletionBatch>;
  readonly #subject = new Subject<CompletionBatch>();
  readonly #batch = new CompletionBatch();
  readonly #outstanding = new Set<number>();
  readonly #waiting: [ticket: number, succeeded: boolean][] = [];
  #scheduled = false;

  constructor(private readonly turns: TurnScheduler = new EventLoopTurns()) {
    this.completions$ = this.#subject;
  }

  /** A frame was taken by reference. */
  add(ticket: number): void {
    this.#outstanding.add(ticket);
  }

  complete(ticket: number, succeeded: boolean): void {
    if (!this.#outstanding.delete(ticket)) return;
    this.#waiting.push([ticket, succeeded]);
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.turns.schedule(() => {
      this.#scheduled = false;
      this.#emit();
    });
  }

  /** Nothing will complete any more: all that is outstanding has failed. */
  fail(): void {
    for (const ticket of this.#outstanding) this.#waiting.push([ticket, false]);
    this.#outstanding.clear();
    this.#emit();
  }

  end(): void {
    this.fail();
    this.#subject.complete();
  }

  #emit(): void {
    const batch = this.#batch;
    for (const [ticket, succeeded] of this.#waiting.splice(0)) {
      if (batch.push(ticket, succeeded)) continue;
      this.#subject.next(batch);
      batch.count = 0;
      batch.push(ticket, succeeded);
    }
    if (batch.count > 0) this.#subject.next(batch);
    batch.count = 0;
  }
}

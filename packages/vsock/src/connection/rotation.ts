/** What may stand in a {@link Rotation}; the two links are the rotation's own. */
export interface Rotating<T> {
  before: T | undefined;
  after: T | undefined;
  queued: boolean;
}

/** Those who have something to send, in turn: a linked list, so that one may leave from the middle. */
export class Rotation<T extends Rotating<T>> {
  #first: T | undefined;
  #last: T | undefined;
  #length = 0;

  /** How many stand in line. */
  get length(): number {
    return this.#length;
  }

  /** Puts `member` at the end of the line, unless it stands there already. */
  add(member: T): void {
    if (member.queued) return;
    member.queued = true;
    member.before = this.#last;
    if (this.#last === undefined) this.#first = member;
    else this.#last.after = member;
    this.#last = member;
    this.#length += 1;
  }

  /** Takes the first out of the line. */
  shift(): T | undefined {
    const member = this.#first;
    if (member !== undefined) this.remove(member);
    return member;
  }

  /** Takes `member` out of the line, wherever it stands. */
  remove(member: T): void {
    if (!member.queued) return;
    if (member.before === undefined) this.#first = member.after;
    else member.before.after = member.after;
    if (member.after === undefined) this.#last = member.before;
    else member.after.before = member.before;
    member.before = undefined;
    member.after = undefined;
    member.queued = false;
    this.#length -= 1;
  }
}

/** A promise that somebody else settles. */
export class Deferred<Value> {
  readonly promise: Promise<Value>;
  #resolve: (value: Value) => void = () => {};
  #settled = false;

  constructor() {
    this.promise = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  get settled(): boolean {
    return this.#settled;
  }

  /** Later calls do nothing. */
  resolve(value: Value): void {
    this.#settled = true;
    this.#resolve(value);
  }
}

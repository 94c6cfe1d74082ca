/**
 * Seconds left of something that arrived with a lifetime.
 *
 * It counts from the arrival and never compares with the server's clock, which may be minutes away from ours. Two
 * clocks are read because each has a hole: on some systems `performance.now()` stands still while the machine
 * sleeps, and `Date` can be set back. The one that ran further is believed: too early costs a greyed code for a
 * moment, too late would show a dead code as good.
 */
export class Deadline {
  #lifetime;
  #steady = performance.now();
  #wall = Date.now();

  constructor(seconds) {
    this.#lifetime = seconds * 1000;
  }

  /** Milliseconds left; negative once it is over. */
  get left() {
    return this.#lifetime - Math.max(performance.now() - this.#steady, Date.now() - this.#wall);
  }

  get seconds() {
    return Math.max(0, Math.ceil(this.left / 1000));
  }

  /** 1 at the arrival, 0 at the end. */
  get share() {
    return this.#lifetime > 0 ? Math.min(1, Math.max(0, this.left / this.#lifetime)) : 0;
  }

  get over() {
    return this.left <= 0;
  }
}

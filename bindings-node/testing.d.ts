// What `leakpool/testing` exports for tests of leaks.

/** A clock that tests move by hand: `new Pool({ clock: new ManualClock() })`. */
export class ManualClock {
  /** Lets time pass for the pools that have this clock. */
  advance(millis: number): void
}

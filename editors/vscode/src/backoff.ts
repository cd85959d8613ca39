// When a server that ended is started again, and when not. No editor in here.

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 8_000;
/** Ends within the window; one more and it stays down. */
const MOST_ENDS = 5;
const WINDOW_MS = 180_000;

export type Verdict = { restart: true; delayMs: number; attempt: number } | { restart: false; ends: number };

/** Counts the ends of a server; each one within the window doubles the wait. */
export class Backoff {
  private ends: number[] = [];

  /** Takes note of an end at `now` (milliseconds of any clock). */
  ended(now: number): Verdict {
    this.ends = this.ends.filter((end) => now - end < WINDOW_MS);
    this.ends.push(now);
    const attempt = this.ends.length;
    if (attempt > MOST_ENDS) return { restart: false, ends: attempt };
    return { restart: true, delayMs: Math.min(FIRST_DELAY_MS * 2 ** (attempt - 1), LONGEST_DELAY_MS), attempt };
  }

  /** The user asked for a start: earlier ends no longer count. */
  reset(): void {
    this.ends = [];
  }
}

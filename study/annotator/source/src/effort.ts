// Clicks, keys and active seconds since the last change: what an annotation costs.
const LONGEST_PAUSE = 20; // s; of a longer one no more is counted: the annotator was away

export interface Effort {
  seconds: number;
  clicks: number;
  keys: number;
}

export class Meter {
  private last = performance.now();
  private spent: Effort = { seconds: 0, clicks: 0, keys: 0 };

  constructor(root: HTMLElement) {
    const watch = (type: string, count?: "clicks" | "keys") =>
      root.addEventListener(
        type,
        () => {
          this.tick();
          if (count) this.spent[count] += 1;
        },
        { capture: true, passive: true },
      );
    watch("pointerdown", "clicks");
    watch("keydown", "keys");
    watch("pointermove");
    watch("wheel");
  }

  take(): Effort {
    this.tick();
    const { seconds, clicks, keys } = this.spent;
    this.spent = { seconds: 0, clicks: 0, keys: 0 };
    return { seconds: Math.round(1000 * seconds) / 1000, clicks, keys };
  }

  private tick(): void {
    const now = performance.now();
    this.spent.seconds += Math.min((now - this.last) / 1000, LONGEST_PAUSE);
    this.last = now;
  }
}

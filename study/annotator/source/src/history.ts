// Every state of the annotation since it was opened; states are never changed, only replaced.
import type { Shape } from "./shape";

export class History {
  private past: Shape[][] = [];
  private future: Shape[][] = [];

  constructor(public now: Shape[]) {}

  push(next: Shape[]): void {
    this.past.push(this.now);
    this.now = next;
    this.future = [];
  }

  undo(): boolean {
    return this.step(this.past, this.future);
  }

  redo(): boolean {
    return this.step(this.future, this.past);
  }

  private step(from: Shape[][], to: Shape[][]): boolean {
    const state = from.pop();
    if (state === undefined) return false;
    to.push(this.now);
    this.now = state;
    return true;
  }
}

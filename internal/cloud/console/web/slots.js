// Which boards are drawn, and in which colour. A board keeps its colour while
// it is drawn; at most as many boards are drawn as there are colours.

export const most = 8;

export class Slots {
  #taken = new Map(); // board id → 0 … most-1
  #chosen = false; // the person has chosen: no board is drawn unasked any more

  has(id) { return this.#taken.has(id); }
  get(id) { return this.#taken.get(id); }
  get full() { return this.#taken.size >= most; }

  // drawn lists the boards that are drawn, by colour.
  drawn() { return [...this.#taken].sort((a, b) => a[1] - b[1]).map(([id]) => id); }

  // offer draws a new board if nothing speaks against it.
  offer(id) { return !this.#chosen && this.#take(id); }

  choose(id, on) {
    this.#chosen = true;
    if (on) return this.#take(id);
    return this.#taken.delete(id);
  }

  drop(id) { return this.#taken.delete(id); }

  #take(id) {
    if (this.full || this.has(id)) return false;
    const used = new Set(this.#taken.values());
    let slot = 0;
    while (used.has(slot)) slot++;
    this.#taken.set(id, slot);
    return true;
  }
}

export const colour = (slot) => `var(--series-${slot + 1})`;

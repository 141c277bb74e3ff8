// The setting of a board: how often it sends. It goes through the board's shadow.

import { el, fetchJSON, setText, span } from "./dom.js";

const lookEvery = 1500;

export class Steering {
  constructor(board) {
    this.board = board;
    this.input = el("input", { type: "number", min: "0.001", max: "604800", step: "any", required: true, ariaLabel: `seconds between two readings of board ${board}` });
    this.button = el("button", { textContent: "set" });
    this.note = el("p", { className: "foot" });
    this.note.setAttribute("role", "status");
    const form = el("form", {}, el("span", { textContent: "every" }), this.input, el("span", { textContent: "s" }), this.button);
    form.addEventListener("submit", (e) => { e.preventDefault(); this.set(); });
    this.node = el("details", { className: "steer" }, el("summary", { textContent: "rate" }), form, this.note);
    this.node.addEventListener("toggle", () => { if (this.node.open) this.look(true); });
  }

  async set() {
    this.button.disabled = true;
    await this.ask("/console/api/rate", { board: this.board, rate: Number(this.input.value) });
    this.button.disabled = false;
  }

  // look reads what the shadow says, and goes on until the board has what is wanted.
  look(first) {
    return this.ask("/console/api/rate?" + new URLSearchParams({ board: this.board }), undefined, first);
  }

  async ask(path, send, first) {
    clearTimeout(this.again);
    try {
      const rate = await fetchJSON(path, send);
      if (first) this.input.value = rate.desired || rate.reported || "";
      this.show(rate);
    } catch (err) {
      setText(this.note, err.message);
    }
  }

  show({ desired, reported }) {
    const waits = desired > 0 && desired !== reported;
    const says = reported > 0 ? `the board sends every ${span(reported * 1000)}` : "no gateway has reported this board's rate yet";
    setText(this.note, waits ? `${says}; waiting for it to take ${span(desired * 1000)}` : says);
    if (waits && this.node.open && this.node.isConnected) this.again = setTimeout(() => this.look(), lookEvery);
  }
}

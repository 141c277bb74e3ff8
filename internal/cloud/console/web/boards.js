// The list of boards: last reading, whether it is alive, whether it is drawn.

import { byId, count, el, setText, span, localTime } from "./dom.js";
import { Steering } from "./steer.js";
import { colour, most } from "./slots.js";

const shownAtFirst = matchMedia("(max-width: 36rem)").matches ? 8 : 24; // a phone should not scroll past them all
const words = { alive: "alive", silent: "silent", "catching-up": "catching up" };
const natural = new Intl.Collator(undefined, { numeric: true });

export class Boards {
  #cards = new Map(); // id → card
  #all = false;

  // onChoose(id, on) is called when the person draws a board or not.
  constructor(slots, onChoose) {
    this.slots = slots;
    this.onChoose = onChoose;
    this.list = byId("boards");
    this.more = byId("boards-more");
    this.more.addEventListener("click", () => { this.#all = true; this.arrange(); });
  }

  get(id) { return this.#cards.get(id)?.board; }
  get size() { return this.#cards.size; }
  get alive() { return [...this.#cards.values()].filter((c) => c.board.state !== "silent").length; }

  // replace takes the whole list, update only changes.
  replace(boards, now) {
    const ids = new Set(boards.map((b) => b.id));
    this.update(boards, [...this.#cards.keys()].filter((id) => !ids.has(id)), now);
    this.arrange();
  }

  update(boards, gone, now) {
    let changed = gone.length > 0;
    for (const id of gone) {
      this.#cards.get(id)?.node.remove();
      this.#cards.delete(id);
      this.slots.drop(id);
    }
    for (const board of boards) {
      let card = this.#cards.get(board.id);
      if (!card) {
        this.slots.offer(board.id);
        card = new Card(board, (on) => this.onChoose(board.id, on));
        this.#cards.set(board.id, card);
        changed = true;
      }
      card.show(board, now);
    }
    if (changed) this.arrange();
  }

  // arrange puts the cards in order and fills in what depends on all of them.
  arrange() {
    const cards = [...this.#cards.values()].sort((a, b) => natural.compare(a.board.id, b.board.id));
    const shown = this.#all ? cards : cards.slice(0, shownAtFirst);
    const nodes = shown.map((c) => c.node);
    if (nodes.length !== this.list.children.length || nodes.some((n, i) => n !== this.list.children[i])) {
      this.list.replaceChildren(...nodes);
    }
    byId("boards-empty").hidden = cards.length > 0;
    this.more.hidden = shown.length === cards.length;
    setText(this.more, `show all ${count(cards.length)} boards`);
    this.mark();
  }

  // mark shows which boards are drawn, and keeps the others from being too many.
  mark() {
    for (const [id, card] of this.#cards) card.mark(this.slots.get(id), this.slots.full);
  }

  // age refreshes what changes by the clock alone.
  age(now) {
    for (const card of this.#cards.values()) card.age(now);
    const n = this.size;
    setText(byId("boards-note"), n === 0 ? "" : `${this.alive} of ${n} alive`);
  }
}

class Card {
  constructor(board, onChoose) {
    this.box = el("input", { type: "checkbox" });
    this.box.addEventListener("change", () => onChoose(this.box.checked));
    this.state = el("span", { className: "state" });
    this.values = el("dl", { className: "values" });
    this.foot = el("p", { className: "foot" });
    const name = el("span", { textContent: "board " + board.id, title: board.id });
    this.node = el("li", {},
      el("div", { className: "top" }, el("label", {}, this.box, name), this.state), this.values, this.foot,
      new Steering(board.id).node);
    this.node.dataset.board = board.id;
  }

  show(board, now) {
    this.board = board;
    this.node.dataset.state = board.state;
    this.state.dataset.state = board.state;
    setText(this.state, words[board.state] ?? board.state);
    this.showValues(board.fields);
    this.age(now);
  }

  // showValues keeps the elements as long as the fields are the same.
  showValues(fields) {
    const names = fields.map((f) => f.name).join("\n");
    if (names !== this.names) {
      this.names = names;
      this.values.replaceChildren(...fields.map((f) => el("div", {}, el("dt", { textContent: f.name }), el("dd"))));
    }
    fields.forEach((f, i) => {
      const pair = this.values.children[i];
      pair.className = f.value === undefined ? "words" : "";
      setText(pair.lastChild, f.text);
    });
  }

  mark(slot, full) {
    const drawn = slot !== undefined;
    this.box.checked = drawn;
    this.box.disabled = full && !drawn;
    this.box.title = drawn ? "drawn in the charts" : full ? `the charts show ${most} boards at most` : "not drawn in the charts";
    this.box.ariaLabel = `board ${this.board.id}, draw in the charts`;
    if (drawn) this.node.style.setProperty("--slot", colour(slot));
    else this.node.style.removeProperty("--slot");
  }

  age(now) {
    const b = this.board;
    const parts = [`${span(now - b.time)} ago`];
    if (b.interval > 0) parts.push(`every ${span(b.interval)}`);
    parts.push(b.source);
    setText(this.foot, parts.join(" · "));
    this.foot.title = `${localTime(b.time)} (${new Date(b.time).toISOString()})`;
  }
}

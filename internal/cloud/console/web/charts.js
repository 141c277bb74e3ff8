// One chart for each field, one line for each drawn board. Readings lie on the
// board's own times; where a board was silent the line has a gap.

import { byId, clockMinutes, clockTime, el, setText, timeOf } from "./dom.js";
import { colour } from "./slots.js";

const { uPlot } = globalThis; // index.html loads it before the modules; only this form of it comes minified

const height = 190;
const leastWindow = 2 * 60e3; // what is drawn of a range that has just begun to fill
const gaps = 2; // uPlot.join: a null also covers the other boards' times around it
const mostFields = 16;
const mostPoints = 3000; // kept of a line between two loads of the history

export const ranges = { "15m": 15 * 60e3, "1h": 3600e3, "24h": 24 * 3600e3 };
const words = { "15m": "last 15 minutes", "1h": "last hour", "24h": "last 24 hours" };

export class Charts {
  #lines = new Map(); // field → board → Line
  #charts = new Map(); // field → Chart
  #dirty = true;
  range = "15m";

  // interval(id) is a board's usual interval in milliseconds, known() how many
  // boards there are, now() the server's clock.
  constructor(slots, interval, known, now) {
    Object.assign(this, { slots, interval, known, now });
    this.box = byId("charts");
    this.sync = uPlot.sync("charts");
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.rebuild());
    this.resizes = new ResizeObserver((entries) => entries.forEach((e) => e.target.chart?.fit()));
  }

  // load takes a history answer in place of what is known of its boards.
  load(history) {
    this.sampled = history.series.some((s) => s.sampled);
    const loaded = new Map();
    for (const s of history.series) {
      const line = new Line(s.t, s.v, s.step);
      const old = this.#lines.get(s.field)?.get(s.board);
      old?.after(line.last).forEach(([t, v]) => line.add(t, v)); // came while the history was read
      if (!loaded.has(s.field)) loaded.set(s.field, new Map());
      loaded.get(s.field).set(s.board, line);
    }
    this.#lines = loaded;
    this.loaded = true;
    this.#dirty = true;
    this.render();
  }

  add(id, points) {
    for (const { t, v } of points) {
      for (const [field, value] of Object.entries(v)) {
        if (!this.#lines.has(field)) {
          if (this.#lines.size >= mostFields) continue;
          this.#lines.set(field, new Map());
        }
        const boards = this.#lines.get(field);
        if (!boards.has(id)) boards.set(id, new Line([], [], 0));
        boards.get(id).add(t, value);
        this.#dirty = true;
      }
    }
  }

  drop(id) {
    for (const boards of this.#lines.values()) boards.delete(id);
  }

  // rebuild makes the charts anew: other boards, another range, other colours.
  rebuild() {
    for (const field of [...this.#charts.keys()]) this.#remove(field);
    this.#dirty = true;
    this.render();
  }

  // render draws if something is new, or if the window has moved by a pixel or so.
  render() {
    const now = this.now(), moved = (this.to - this.from) / 600;
    if (document.hidden || (!this.#dirty && now - this.drawnAt < moved)) return;
    this.#dirty = false;
    this.drawnAt = now;
    const drawn = this.slots.drawn();
    this.#window(drawn, now);
    const fields = [...this.#lines.keys()].sort().filter((f) => drawn.some((id) => this.#lines.get(f).get(id)?.size));
    for (const field of [...this.#charts.keys()]) if (!fields.includes(field)) this.#remove(field);
    fields.forEach((field, i) => {
      if (!this.#charts.has(field)) this.#make(field, drawn, i);
      this.#charts.get(field).draw(drawn.map((id) => this.#points(field, id)));
    });
    this.#notes(fields, drawn);
  }

  emptyText(drawn) {
    if (this.known() === 0) return "A chart appears for each number that boards send.";
    return drawn.length ? "No numbers in this range." : "No board is chosen: tick one above.";
  }

  // window begins with the range, or with the first reading if that is later.
  #window(drawn, now) {
    let first = now - leastWindow;
    for (const boards of this.#lines.values()) {
      for (const id of drawn) first = Math.min(first, boards.get(id)?.t[0] ?? first);
    }
    this.from = Math.max(now - ranges[this.range], first);
    this.to = now;
  }

  #points(field, id) {
    const line = this.#lines.get(field).get(id);
    return line ? line.table(this.from, 3 * (this.interval(id) || 20e3)) : [[], []];
  }

  #make(field, drawn, at) {
    const chart = new Chart(field, drawn.map((id) => [id, this.slots.get(id)]), this);
    this.#charts.set(field, chart);
    this.box.insertBefore(chart.node, this.box.children[at] ?? null);
    this.resizes.observe(chart.node);
    chart.begin();
  }

  #remove(field) {
    const chart = this.#charts.get(field);
    this.resizes.unobserve(chart.node);
    chart.end();
    this.#charts.delete(field);
  }

  #notes(fields, drawn) {
    const empty = byId("charts-empty");
    empty.hidden = fields.length > 0 || !this.loaded;
    setText(empty, this.emptyText(drawn));
    setText(byId("charts-note"), fields.length && this.sampled ? words[this.range] + ", sampled" : words[this.range]);
  }
}

// Line is the points of one board and field, in the order of time.
class Line {
  constructor(t, v, step) { Object.assign(this, { t, v, step }); }
  get size() { return this.t.length; }
  get last() { return this.t.at(-1) ?? -Infinity; }

  add(t, v) {
    if (t <= this.last) return;
    this.t.push(t);
    this.v.push(v);
    if (this.t.length > mostPoints) {
      this.t.splice(0, mostPoints / 4);
      this.v.splice(0, mostPoints / 4);
    }
  }

  after(t) { return this.t.flatMap((at, i) => (at > t ? [[at, this.v[i]]] : [])); }

  // table is the points from a time on, in seconds, with a null in each gap.
  table(from, gap) {
    gap = Math.max(gap, 2.5 * this.step, 2000);
    const xs = [], ys = [];
    for (let i = 0; i < this.t.length; i++) {
      const t = this.t[i];
      if (t < from) continue;
      if (xs.length && t - this.t[i - 1] > gap) {
        xs.push((this.t[i - 1] + t) / 2000);
        ys.push(null);
      }
      xs.push(t / 1000);
      ys.push(this.v[i]);
    }
    return [xs, ys];
  }
}

// Chart is one figure.
class Chart {
  constructor(field, boards, charts) {
    Object.assign(this, { field, boards, charts });
    this.time = el("time");
    this.values = boards.map(() => el("b"));
    this.keys = boards.map(([id, slot], i) => {
      const mark = el("i");
      mark.style.setProperty("--slot", colour(slot));
      return el("span", {}, mark, `board ${id} `, this.values[i]);
    });
    this.plot = el("div", { className: "plot", role: "img" });
    this.plot.ariaLabel = `${field} of ${boards.map(([id]) => "board " + id).join(", ")}, ${words[charts.range]}`;
    this.node = el("figure", {},
      el("figcaption", {}, el("h3", { textContent: field }), el("span", { className: "keys" }, ...this.keys), this.time), this.plot);
    this.node.dataset.field = field;
    this.node.chart = this;
  }

  begin() {
    const paint = getComputedStyle(document.documentElement);
    const ink = (name) => paint.getPropertyValue(name).trim();
    const axis = { stroke: ink("--quiet"), font: "12px system-ui, sans-serif", grid: { stroke: ink("--grid"), width: 1 }, ticks: { stroke: ink("--grid"), width: 1, size: 4 } };
    this.u = new uPlot({
      width: this.width, height, legend: { show: false },
      padding: [8, 22, 0, 0],
      cursor: { sync: { key: this.charts.sync.key, scales: ["x", null] }, drag: { x: false, y: false }, y: false, points: { size: 7 }, dataIdx: nearest },
      scales: { x: { range: () => [this.charts.from / 1000, this.charts.to / 1000] } },
      axes: [
        { ...axis, space: 64, size: 30, values: (u, splits) => splits.map((s) => (s % 60 ? clockTime : clockMinutes)(s * 1000)) },
        { ...axis, space: 34, size: (u, values) => Math.max(40, 14 + 7.2 * Math.max(0, ...(values ?? []).map((v) => v.length))) },
      ],
      series: [{}, ...this.boards.map(([, slot]) => ({
        stroke: ink(`--series-${slot + 1}`), width: 1.6, dash: slot > 3 ? [7, 3] : undefined, points: { size: 4, show: fewPoints },
      }))],
      hooks: { setCursor: [() => this.tell()] },
    }, [[], ...this.boards.map(() => [])], this.plot);
  }

  get width() { return Math.max(200, this.plot.clientWidth || this.node.clientWidth - 28); }

  fit() {
    if (this.u && this.u.width !== this.width) this.u.setSize({ width: this.width, height });
  }

  draw(tables) {
    this.latest = tables.map(([xs, ys]) => (xs.length ? [xs.at(-1), ys.at(-1)] : null));
    this.u.setData(uPlot.join(tables, tables.map(() => [0, gaps])));
    this.tell();
  }

  // tell writes the values under the cursor, else the latest.
  tell() {
    if (!this.u || !this.latest) return;
    const under = this.u.cursor.left >= 0 && this.u.cursor.idx != null;
    this.values.forEach((node, i) => {
      const index = this.u.cursor.idxs?.[i + 1];
      const value = under ? this.u.data[i + 1]?.[index] : this.latest[i]?.[1];
      setText(node, value == null ? "–" : short(value));
    });
    const label = under ? timeOf(this.u.data[0][this.u.cursor.idx] * 1000) : el("time");
    this.time.replaceWith(label);
    this.time = label;
  }

  end() {
    this.u?.destroy();
    this.u = null;
    this.node.remove();
  }
}

// nearest finds the point of a series nearest to a place, since the boards'
// readings do not lie at the same times.
function nearest(u, series, index) {
  const values = u.data[series];
  if (series === 0 || values[index] != null) return index;
  for (let d = 1; d < 40; d++) {
    if (values[index - d] != null) return index - d;
    if (values[index + d] != null) return index + d;
  }
  return index;
}

// fewPoints marks the points of a line only while they can be told apart.
const fewPoints = (u, series, from, to) => to - from < u.width / 12;

const short = (value) => (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6))));

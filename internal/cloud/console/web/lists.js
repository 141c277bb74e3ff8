// The tables' newest rows, the refusals, the rules and the small counters.

import { byId, count, el, fetchJSON, localTime, setText, timeOf } from "./dom.js";

const isTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
const isNumber = /^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/;

// Figures are the counters at the top.
export function showFigures(counters, refused, boards) {
  const sum = (name) => counters.rules.reduce((n, r) => n + r[name], 0);
  const figures = [
    ["boards alive", boards.size ? `${count(boards.alive)} of ${count(boards.size)}` : "0", false],
    ["connections", count(counters.connections), false],
    ["messages in", count(counters.received), false],
    ["rules fired", count(sum("fired")), false],
    ["rules failed", count(sum("failed")), sum("failed") > 0],
    ["refused", count(refused), refused > 0],
  ];
  const brokers = [["sessions away", counters.sessions - counters.connections], ["waiting for subscribers", counters.queued], ["retained", counters.retained],
    ["dropped", counters.dropped, true], ["throttled", counters.throttled, true]];
  for (const [name, n, bad] of brokers) if (n > 0) figures.push([name, count(n), Boolean(bad)]);
  const builds = counters.builds || [];
  if (builds.length > 0) {
    const b = builds[0];
    const more = builds.length > 1 ? ` and ${builds.length - 1} more` : "";
    figures.push(["index in the making", `${b.table} ${b.index || "expiry"} ${Math.floor(b.done * 100)} %${more}`, false]);
  }
  const expiring = counters.expiring || [];
  if (expiring.length > 0) {
    const e = expiring[0], days = Math.floor((Date.parse(e.not_after) - Date.now()) / 86400000);
    const more = expiring.length > 1 ? ` and ${expiring.length - 1} more` : "";
    const when = days < 0 ? "has expired" : days < 1 ? "ends within a day" : `ends in ${days} days`;
    figures.push([e.ca ? "CA certificate" : "certificate", `${e.name || e.id.slice(0, 12)} ${when}${more}`, days < 7]);
  }
  const box = byId("figures");
  if (figures.some(([name], i) => box.children[i]?.firstChild.textContent !== name) || box.children.length !== figures.length) {
    box.replaceChildren(...figures.map(([name]) => el("div", {}, el("dt", { textContent: name }), el("dd"))));
  }
  figures.forEach(([, value, bad], i) => {
    box.children[i].className = bad ? "bad" : "";
    setText(box.children[i].lastChild, value);
  });
}

// Rows shows the newest rows of one table.
export class Rows {
  #tables = [];

  constructor() {
    this.select = byId("table");
    this.select.addEventListener("change", () => this.load());
  }

  async load() {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    try {
      this.#offer(await fetchJSON("/console/api/tables"));
      if (this.#tables.length === 0) return this.#say("There is no table yet. Write a [[table]] in mote.toml, or use aws dynamodb create-table.");
      const answer = await fetchJSON("/console/api/rows?limit=50&table=" + encodeURIComponent(this.select.value));
      if (turn === this.turn) this.#show(answer);
    } catch (err) {
      if (turn === this.turn) this.#say("The rows could not be read: " + err.message);
    }
  }

  #offer(tables) {
    this.#tables = tables;
    const names = tables.map((t) => t.name), now = [...this.select.options].map((o) => o.value);
    byId("table-choice").hidden = tables.length < 2;
    if (names.join("\n") === now.join("\n")) return;
    const chosen = this.select.value;
    this.select.replaceChildren(...names.map((n) => el("option", { value: n, textContent: n })));
    const readings = tables.find((t) => t.hash === "id" && t.range === "time");
    this.select.value = names.includes(chosen) ? chosen : readings?.name ?? names[0];
  }

  #say(text) {
    byId("rows").hidden = true;
    byId("rows-empty").hidden = false;
    setText(byId("rows-empty"), text);
    setText(byId("rows-note"), "");
  }

  #show(answer) {
    if (answer.rows.length === 0) return this.#say(`Table ${answer.table} is empty. Topic rules store messages in it; so does aws dynamodb put-item.`);
    const info = this.#tables.find((t) => t.name === answer.table);
    const order = answer.ordered ? (answer.partial ? "newest first, of some partitions" : "newest first") : "in no order";
    setText(byId("rows-note"), `table ${answer.table}, ${order}` + (info?.items ? `, about ${count(info.items)} in all` : ""));
    const text = JSON.stringify([answer.columns, answer.rows]);
    byId("rows-empty").hidden = true;
    byId("rows").hidden = false;
    if (text === this.text) return;
    this.text = text;
    byId("rows").replaceChildren(rowsTable(answer));
  }
}

function rowsTable({ columns, keys, rows }) {
  const numeric = columns.map((_, i) => i >= keys && rows.every((r) => r[i] === null || isNumber.test(r[i])));
  const head = columns.map((name, i) => el("th", { scope: "col", textContent: name, className: (i < keys ? "key " : "") + (numeric[i] ? "number" : "") }));
  const body = rows.map((row) => el("tr", {}, ...row.map((text, i) => rowsCell(text, numeric[i]))));
  return el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body));
}

function rowsCell(text, numeric) {
  if (text === null) return el("td", { className: "none", textContent: "–", title: "no such attribute" });
  if (isTime.test(text)) return el("td", {}, el("time", { dateTime: text, title: text, textContent: localTime(Date.parse(text)) }));
  return el("td", { className: numeric ? "number" : "", textContent: text, title: text.length > 40 ? text : "" });
}

// Refusals shows who was turned away, the newest first.
export class Refusals {
  #list = [];
  #all = false;
  total = 0;

  constructor() {
    byId("refusals-more").addEventListener("click", () => { this.#all = true; this.show(); });
  }

  replace({ total, refusals }) {
    this.total = total;
    this.#list = refusals;
    this.show();
  }

  add({ total, refusals }) {
    this.total = total;
    this.#list = [...refusals, ...this.#list].slice(0, 100);
    this.#stale = true;
  }

  #stale = false;

  // flush shows what has come; a flood of refusals must not be a flood of work.
  flush() {
    if (this.#stale) this.show();
  }

  show() {
    this.#stale = false;
    const shown = this.#all ? this.#list : this.#list.slice(0, 8);
    byId("refusals").replaceChildren(...shown.map(refusalItem));
    byId("refusals-empty").hidden = this.#list.length > 0;
    byId("refusals-more").hidden = shown.length === this.#list.length;
    setText(byId("refusals-more"), `show ${this.#list.length} refusals`);
    setText(byId("refusals-note"), this.total ? `${count(this.total)} since the start` : "");
  }
}

function refusalItem(r) {
  const who = [["client", r.client_id], ["from", r.source_ip], ["principal", r.principal], ["resource", r.resource]];
  const details = who.filter(([, text]) => text).map(([name, text]) => el("div", {},
    el("dt", { textContent: name }), el("dd", { className: "mono", textContent: name === "principal" ? abbreviated(text) : text, title: text })));
  return el("li", {},
    el("p", { className: "what" }, el("span", { textContent: r.action }), el("span", { className: "note", textContent: r.where }), timeOf(Date.parse(r.time))),
    el("p", { className: "why", textContent: r.reason }),
    el("dl", {}, ...details));
}

// abbreviated shortens a certificate id, which has 64 digits; the title has it whole.
const abbreviated = (text) => (text.length > 24 ? text.slice(0, 16) + "…" : text);

// failureCell says what went wrong last with a rule, with the message that
// caused it, and what of the rule does nothing here.
function failureCell(r) {
  const lines = [];
  if (r.last_error) {
    const e = r.last_error;
    lines.push(el("p", { textContent: (e.action ? e.action + ": " : "") + e.text }));
    if (e.topic) lines.push(el("p", { className: "note mono", textContent: `${e.topic} ${e.payload || ""}` }));
  }
  if (r.waiting && r.last_retry) lines.push(el("p", { className: "note", textContent: "tried again later: " + r.last_retry }));
  if (r.not_executed) lines.push(el("p", { className: "note", textContent: "stored, not executed: " + r.not_executed.join(", ") }));
  if (r.not_offered) lines.push(el("p", { className: "note", textContent: "always undefined here: " + r.not_offered.join(", ") }));
  return lines.length ? el("td", { className: "wrap" }, ...lines) : el("td", { className: "none", textContent: "–" });
}

export function showRules(rules) {
  byId("rules").hidden = rules.length === 0;
  byId("rules-empty").hidden = rules.length > 0;
  const text = JSON.stringify(rules);
  if (text === byId("rules").shown) return;
  byId("rules").shown = text;
  const head = ["rule", "matched", "fired", "failed", "waiting", "from", "last failure"]
    .map((name, i) => el("th", { scope: "col", textContent: name, className: i > 0 && i < 5 ? "number" : "" }));
  const body = rules.map((r) => el("tr", {},
    el("th", { scope: "row", textContent: r.name + (r.enabled ? "" : " (disabled)") }),
    ...[r.matched, r.fired, r.failed, r.waiting].map((n, i) => el("td", { className: "number" + (i === 2 && n ? " bad" : ""), textContent: count(n) })),
    el("td", { className: "mono", textContent: r.filter }),
    failureCell(r)));
  byId("rules").replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body)));
}

// The page: one stream of events from the server feeds all parts.

import { Boards } from "./boards.js";
import { Charts } from "./charts.js";
import { byId, fetchJSON, setText } from "./dom.js";
import { Refusals, Rows, showFigures, showRules } from "./lists.js";
import { Slots } from "./slots.js";

const quietAtMost = 12e3; // the server says something every 2 s
const rowsEvery = 2e3;
const rowsIdle = 15e3; // also without news: other programs write to tables too
const historyEvery = 60e3;
const drawEvery = 500;

let ahead = 0; // the server's clock minus this one's, milliseconds
const serverNow = () => Date.now() + ahead;

const slots = new Slots();
const boards = new Boards(slots, choose);
const charts = new Charts(slots, (id) => boards.get(id)?.interval, () => boards.size, serverNow);
const rows = new Rows();
const refusals = new Refusals();
let counters = { connections: 0, received: 0, rules: [] };

// choose draws a board, or no longer.
function choose(id, on) {
  slots.choose(id, on);
  boards.mark();
  charts.rebuild();
  loadHistory();
}

// loadHistory fetches what the charts show from before the page was open.
async function loadHistory() {
  const turn = (loadHistory.turn = (loadHistory.turn ?? 0) + 1);
  loadHistory.at = Date.now();
  const drawn = slots.drawn();
  if (drawn.length === 0) return charts.load({ series: [] });
  const query = new URLSearchParams([["range", charts.range], ...drawn.map((id) => ["board", id])]);
  try {
    const answer = await fetchJSON("/console/api/history?" + query);
    if (turn === loadHistory.turn) charts.load(answer);
  } catch (err) {
    setText(byId("charts-note"), "the history could not be read: " + err.message);
  }
}

async function loadRows() {
  loadRows.news = false;
  loadRows.at = Date.now();
  await rows.load();
}

const handlers = {
  // hello is the whole state, on every connection.
  hello(e) {
    ahead = e.now - Date.now();
    boards.replace(e.boards, e.now);
    refusals.replace(e.refused);
    handlers.counters(e.counters);
    charts.rebuild();
    loadHistory();
    loadRows();
  },
  boards(e) {
    ahead = e.now - Date.now();
    const drawn = slots.drawn().join("\n");
    boards.update(e.boards, e.gone ?? [], e.now);
    for (const id of e.gone ?? []) charts.drop(id);
    for (const b of e.boards) if (slots.has(b.id)) charts.add(b.id, b.points ?? []);
    if (slots.drawn().join("\n") !== drawn) {
      charts.rebuild();
      loadHistory();
    }
    loadRows.news = true;
    if (serverNow() - charts.drawnAt > drawEvery) refresh();
  },
  counters(e) {
    counters = e;
    showRules(e.rules);
  },
  refused(e) { refusals.add(e); },
};

// Link is the stream of events. It says when it is lost and opens it again.
const link = {
  open() {
    clearTimeout(this.retry);
    this.source?.close();
    this.heard = Date.now();
    const source = (this.source = new EventSource("/console/events"));
    for (const name of Object.keys(handlers)) {
      source.addEventListener(name, (e) => {
        this.heard = Date.now();
        this.say("live", "live");
        handlers[name](JSON.parse(e.data));
        if (name === "hello") refresh();
      });
    }
    source.onerror = () => this.lost();
  },
  lost() {
    this.source.close();
    this.heard = Date.now();
    this.say("lost", "connection lost, trying again");
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.open(), 2000);
  },
  say(state, text) {
    byId("link").dataset.state = state;
    setText(byId("link"), text);
    document.body.classList.toggle("stale", state === "lost");
  },
};

// refresh is what happens by the clock.
function refresh() {
  boards.age(serverNow());
  showFigures(counters, refusals.total, boards);
  refusals.flush();
  charts.render();
}

setInterval(() => {
  if (Date.now() - link.heard > quietAtMost) link.lost();
  if (document.hidden) return;
  refresh();
  const since = Date.now() - (loadRows.at ?? 0);
  if (link.source.readyState === EventSource.OPEN) {
    if (since > rowsIdle || (loadRows.news && since > rowsEvery)) loadRows();
    if (Date.now() - (loadHistory.at ?? 0) > historyEvery) loadHistory();
  }
}, 1000);

byId("range").addEventListener("change", (e) => {
  charts.range = e.target.value;
  charts.rebuild();
  loadHistory();
});
document.addEventListener("visibilitychange", refresh);

link.open();

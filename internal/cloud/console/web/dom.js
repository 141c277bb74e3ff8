// Making elements and writing times. Every text from outside goes through
// textContent, so it can never become markup.

export const byId = (id) => document.getElementById(id);

// el makes an element. Properties are set as properties; "data" fills the data set.
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  const { data, ...rest } = props;
  Object.assign(node, rest);
  Object.assign(node.dataset, data);
  node.append(...children);
  return node;
}

// setText changes a node only when the text is another one.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const year = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const minutes = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

// localTime writes a time as the person's clock shows it, with the day when it is not today.
export function localTime(ms) {
  const at = new Date(ms), now = new Date();
  const time = clock.format(at);
  if (at.toDateString() === now.toDateString()) return time;
  return (at.getFullYear() === now.getFullYear() ? day : year).format(at) + " " + time;
}

export const clockTime = (ms) => clock.format(new Date(ms));
export const clockMinutes = (ms) => minutes.format(new Date(ms));

// timeOf is a <time> in local time, with UTC in its title.
export function timeOf(ms) {
  const at = new Date(ms);
  if (Number.isNaN(at.getTime())) return el("span", { textContent: "unknown time" });
  return el("time", { dateTime: at.toISOString(), title: at.toISOString().replace("T", " ").replace("Z", " UTC"), textContent: localTime(ms) });
}

// span writes a duration in its largest unit.
export function span(ms) {
  const s = Math.max(0, ms / 1000);
  if (s < 9.95 && s !== Math.round(s)) return s.toFixed(1).replace(/\.0$/, "") + " s";
  if (s < 99.5) return Math.round(s) + " s";
  if (s < 5400) return Math.round(s / 60) + " min";
  if (s < 172800) return Math.round(s / 3600) + " h";
  return Math.round(s / 86400) + " days";
}

const counting = new Intl.NumberFormat();
export const count = (n) => counting.format(n);

// fetchJSON reads one of the console's own answers; what is to be sent makes it a POST.
export async function fetchJSON(path, send) {
  const headers = { Accept: "application/json" };
  if (send) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { headers, method: send ? "POST" : "GET", body: send && JSON.stringify(send) });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error || `the server answers ${response.status}`);
  return answer;
}

"use strict";
// The members of the lists in the data, as page.py writes them.
const FAULT = { name: 0, detail: 1, began: 2, ended: 3 };
const REQUEST = { number: 0, session: 1, what: 2, began: 3, ended: 4, outcome: 5, answer: 6, version: 7, ifMatch: 8,
  key: 9, sent: 10, received: 11, replayed: 12 };
const EVENT = { sequence: 0, type: 1, committed: 2, sent: 3, applied: 4 };
const DEAD = { consumer: 0, sequence: 1, type: 2, reason: 3, error: 4, at: 5, resolved: 6, resolution: 7 };

const PAGE_LANES = 60, LIST_ROWS = 500, REQUEST_ROWS = 8, ROW = 6, EVENT_HEIGHT = 16, FAULT_HEIGHT = 18, REACH = 6;
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const style = getComputedStyle(document.documentElement);
const color = (name) => style.getPropertyValue(`--${name}`).trim();
const OUTCOMES = { SUCCESS: color("success"), CLIENT_ERROR: color("client-error"), UNKNOWN: color("unknown") };
const whole = { from: 0, to: Math.max(data.seconds, 1) };
let view = { ...whole }, limit = PAGE_LANES;
const drawn = new Map(); // canvas -> its drawing, of those in the window

const seconds = (time) => (time === null ? "never" : `${time.toFixed(3)} s`);
const xOf = (time, width) => ((time - view.from) / (view.to - view.from)) * width;
const timeAt = (canvas, clientX) => {
  const box = canvas.getBoundingClientRect();
  return view.from + ((clientX - box.left) / box.width) * (view.to - view.from);
};

function element(name, { text = "", ...attributes } = {}, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...(text ? [text] : []), ...children);
  return made;
}

// Drawing

function contextOf(canvas, height) {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return [context, width];
}

function drawAxis(canvas) {
  const [context, width] = contextOf(canvas, 22);
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = color("quiet");
  for (const time of ticks(width)) {
    const x = xOf(time, width), text = `${+time.toFixed(3)} s`;
    context.fillRect(x, 16, 1, 6);
    context.fillText(text, Math.min(Math.max(x - 10, 0), width - context.measureText(text).width), 12);
  }
}

function ticks(width) {
  const wanted = (view.to - view.from) / Math.max(width / 90, 1), power = 10 ** Math.floor(Math.log10(wanted));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= wanted);
  const first = Math.ceil(view.from / step);
  return Array.from({ length: Math.floor(view.to / step) - first + 1 }, (_, number) => (first + number) * step);
}

function drawFaults(canvas, faults) {
  const [context, width] = contextOf(canvas, FAULT_HEIGHT);
  context.font = "11px system-ui, sans-serif";
  for (const [place, fault] of faults.entries()) {
    const x = xOf(fault[FAULT.began], width), end = fault[FAULT.ended];
    const next = faults[place + 1] ? xOf(faults[place + 1][FAULT.began], width) : width;
    const length = end === null ? 3 : Math.max(xOf(end, width) - x, 3);
    context.fillStyle = color("fault");
    context.fillRect(x, 3, end === null ? 3 : length, FAULT_HEIGHT - 6);
    const text = fault[FAULT.detail], space = context.measureText(text).width + 8, inside = space < Math.min(length, next - x);
    if (!inside && x + length + space > next) continue; // pointing at it shows the text
    context.fillStyle = inside ? "#fff" : color("quiet");
    context.fillText(text, inside ? Math.max(x, 0) + 4 : x + length + 3, FAULT_HEIGHT - 5);
  }
}

function shade(context, width, height) {
  for (const fault of data.faults) {
    const x = xOf(fault[FAULT.began], width), end = fault[FAULT.ended];
    context.fillStyle = end === null ? "#8a1f5c55" : "#8a1f5c14";
    context.fillRect(x, 0, end === null ? 1 : xOf(end, width) - x, height);
  }
  context.fillStyle = "#eef0f4";
  for (const time of ticks(width)) context.fillRect(xOf(time, width), 0, 1, height);
}

// Requests that overlap are in rows of their own.
function rowsOf(lane) {
  if (lane.rows) return lane.rows;
  const ends = [];
  lane.rows = [...lane.requests].sort((a, b) => a[REQUEST.began] - b[REQUEST.began]).map((request) => {
    let row = ends.findIndex((end) => end < request[REQUEST.began]);
    if (row < 0) row = ends.length < REQUEST_ROWS ? ends.length : REQUEST_ROWS - 1;
    ends[row] = request[REQUEST.ended];
    return [row, request];
  });
  lane.requestRows = ends.length;
  return lane.rows;
}

function heightOf(lane) {
  rowsOf(lane);
  const events = lane.events.length || lane.deadLetters.length;
  return Math.max(lane.requestRows * ROW + (events ? EVENT_HEIGHT : 0) + 6, 22);
}

function drawLane(canvas, lane) {
  const height = heightOf(lane), [context, width] = contextOf(canvas, height);
  shade(context, width, height);
  for (const [row, request] of rowsOf(lane)) {
    const x = xOf(request[REQUEST.began], width), length = Math.max(xOf(request[REQUEST.ended], width) - x, 2);
    if (x > width || x + length < 0) continue;
    context.globalAlpha = request[REQUEST.what].startsWith("GET") ? 0.4 : 1;
    context.fillStyle = OUTCOMES[request[REQUEST.outcome]];
    context.fillRect(x, 3 + row * ROW, length, ROW - 1);
  }
  context.globalAlpha = 1;
  drawEvents(context, width, lane, lane.requestRows * ROW + 3 + EVENT_HEIGHT / 2);
}

function drawEvents(context, width, lane, middle) {
  for (const event of lane.events) {
    const x = xOf(event[EVENT.committed], width), sent = event[EVENT.sent];
    const last = Math.max(sent ?? 0, ...event[EVENT.applied].map(([, at]) => at));
    if (x > width + 9 || (last && xOf(last, width) < -9 && x < -9)) continue;
    context.strokeStyle = "#3557b766";
    context.beginPath();
    context.moveTo(x, middle);
    context.lineTo(last ? xOf(last, width) : width, middle);
    context.stroke();
    context.fillStyle = color("event");
    context.beginPath();
    context.arc(x, middle, 3.5, 0, 7);
    context.fill();
    context.fillStyle = color("sent");
    if (sent !== null) context.fillRect(xOf(sent, width) - 1, middle - 5, 2, 10);
    context.fillStyle = color("applied");
    for (const [, at] of event[EVENT.applied]) context.fillRect(xOf(at, width) - 1, middle - 7, 2, 14);
  }
  for (const dead of lane.deadLetters) {
    const x = xOf(dead[DEAD.at], width), resolved = dead[DEAD.resolved];
    context.fillStyle = resolved === null ? color("unknown") : color("resolved");
    context.fillRect(x, middle - 1, (resolved === null ? width : xOf(resolved, width)) - x, 2);
    context.beginPath();
    [[-6, 0], [0, -6], [6, 0], [0, 6]].forEach(([right, down]) => context.lineTo(x + right, middle + down));
    context.fill();
  }
}

// Texts

const describeFault = (fault) => `${fault[FAULT.name]} ${fault[FAULT.detail]}\nfrom ${seconds(fault[FAULT.began])}` +
  (fault[FAULT.ended] === null ? "" : ` to ${seconds(fault[FAULT.ended])}`);

const describeAnswer = (request) => request[REQUEST.answer] +
  (request[REQUEST.version] === null ? "" : `, version ${request[REQUEST.version]}`) +
  (request[REQUEST.replayed] ? ", replayed" : "");

const describeSent = (request) => [
  request[REQUEST.ifMatch] === null ? "" : `If-Match ${request[REQUEST.ifMatch]}`,
  request[REQUEST.key] && `key ${request[REQUEST.key]}`,
  request[REQUEST.sent],
].filter(Boolean).join("; ");

const describeRequest = (request) => [
  `#${request[REQUEST.number]} ${request[REQUEST.session]}: ${request[REQUEST.what]}`,
  describeSent(request),
  `→ ${describeAnswer(request)}`,
  request[REQUEST.received],
  `${seconds(request[REQUEST.began])} to ${seconds(request[REQUEST.ended])}`,
].filter(Boolean).join("\n");

const describeApplied = (event) =>
  event[EVENT.applied].map(([consumer, at]) => `${data.consumers[consumer]} ${seconds(at)}`).join(", ") || "by nobody";

const describeEvent = (event) => `${data.types[event[EVENT.type]]}, sequence ${event[EVENT.sequence]}\n` +
  `committed ${seconds(event[EVENT.committed])}\nsent ${seconds(event[EVENT.sent])}\napplied ${describeApplied(event)}`;

const describeDead = (dead) => `dead letter of ${dead[DEAD.consumer]}: ${dead[DEAD.reason]}\n` +
  `${dead[DEAD.type]} sequence ${dead[DEAD.sequence] ?? "unknown"}\n${dead[DEAD.error]}\n` +
  `${seconds(dead[DEAD.at])}, ${dead[DEAD.resolution] || "unresolved"} ${dead[DEAD.resolution] ? seconds(dead[DEAD.resolved]) : ""}`;

// Return what is at a place of a lane's canvas.
function findInLane(lane, x, y, width) {
  const row = Math.floor((y - 3) / ROW);
  const request = rowsOf(lane).findLast(([its, one]) => its === row &&
    xOf(one[REQUEST.began], width) <= x + 2 && xOf(one[REQUEST.ended], width) >= x - 2);
  if (request) return describeRequest(request[1]);
  if (y < lane.requestRows * ROW) return "";
  const near = (time) => time !== null && Math.abs(xOf(time, width) - x) <= REACH;
  const dead = lane.deadLetters.filter((one) => near(one[DEAD.at])).map(describeDead);
  const events = lane.events.filter((one) =>
    near(one[EVENT.committed]) || near(one[EVENT.sent]) || one[EVENT.applied].some(([, at]) => near(at)));
  return [...dead, ...events.slice(0, 4).map(describeEvent), ...(events.length > 4 ? ["..."] : [])].join("\n\n");
}

function listOf(lane) {
  const rows = [
    ...lane.requests.map((one) => [one[REQUEST.began], one[REQUEST.ended],
      `${one[REQUEST.session]} ${one[REQUEST.what]}`, describeSent(one), describeAnswer(one), one[REQUEST.received]]),
    ...lane.events.map((one) => [one[EVENT.committed], one[EVENT.sent],
      `${data.types[one[EVENT.type]]} ${one[EVENT.sequence]}`, "", "applied", describeApplied(one)]),
    ...lane.deadLetters.map((one) => [one[DEAD.at], one[DEAD.resolved],
      `dead letter of ${one[DEAD.consumer]}`, `${one[DEAD.type]} ${one[DEAD.sequence] ?? ""}`, one[DEAD.reason],
      `${one[DEAD.error]} ${one[DEAD.resolution]}`]),
  ].filter(([from, to]) => from <= view.to && (to ?? from) >= view.from).sort((a, b) => a[0] - b[0]);
  const cells = (row) => row.map((cell, column) => column < 2
    ? element("td", { className: "time", text: cell === null ? "–" : cell.toFixed(3) }) : element("td", { text: String(cell) }));
  const table = element("table", {}, element("thead", {}, element("tr", {},
    ...["began", "ended or sent", "what", "with", "answer", "body or consumers"].map((text) => element("th", { text })))),
  element("tbody", {}, ...rows.slice(0, LIST_ROWS).map((row) => element("tr", {}, ...cells(row)))));
  const more = rows.length > LIST_ROWS ? [element("p", { text: `and ${rows.length - LIST_ROWS} more: zoom in` })] : [];
  return element("div", { className: "list" }, table, ...more);
}

// Rows

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) { drawn.set(target, target.draw); target.draw(); } else drawn.delete(target);
  }
}, { rootMargin: "200px" });

function rowOf(label, height, draw, find, attributes = {}) {
  const canvas = element("canvas");
  canvas.style.height = `${height}px`;
  canvas.draw = () => draw(canvas);
  observer.observe(canvas);
  canvas.addEventListener("mousemove", (event) => {
    const box = canvas.getBoundingClientRect();
    show(find(event.clientX - box.left, event.clientY - box.top, box.width), event);
  });
  canvas.addEventListener("mouseleave", () => show("", null));
  canvas.addEventListener("mousedown", (event) => beginSelection(canvas, event));
  return element("div", { ...attributes }, label, canvas);
}

function show(text, event) {
  const tip = $("tip");
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8)}px`;
  const below = event.clientY + 16;
  tip.style.top = `${below + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 8 : below}px`;
}

function faultRows() {
  const byName = Map.groupBy ? Map.groupBy(data.faults, (fault) => fault[FAULT.name]) : new Map();
  if (!Map.groupBy) for (const fault of data.faults) {
    byName.set(fault[FAULT.name], [...(byName.get(fault[FAULT.name]) ?? []), fault]);
  }
  return [...byName].sort().map(([name, faults]) => rowOf(
    element("span", { className: "label", text: `fault: ${name}` }), FAULT_HEIGHT,
    (canvas) => drawFaults(canvas, faults),
    (x, _y, width) => faults.filter((fault) => xOf(fault[FAULT.began], width) - 3 <= x &&
      xOf(fault[FAULT.ended] ?? fault[FAULT.began], width) + REACH >= x).map(describeFault).join("\n\n"),
    { className: "row" }));
}

function laneRow(lane, place) {
  if (lane.row) return lane.row;
  const label = element("span", { className: "label", title: `${lane.topic} ${lane.key} ${lane.alias}` },
    element("span", { className: "topic", text: `${lane.topic || "other"} ` }),
    element("b", { text: lane.key.length > 20 ? `…${lane.key.slice(-17)}` : lane.key }),
    element("span", { className: "alias", text: ` ${lane.alias}` }));
  lane.row = rowOf(label, heightOf(lane), (canvas) => drawLane(canvas, lane),
    (x, y, width) => findInLane(lane, x, y, width),
    { id: `lane-${place}`, className: lane.violations ? "row lane named" : "row lane" });
  label.addEventListener("click", () => toggleList(lane));
  lane.row.toggle = () => toggleList(lane);
  return lane.row;
}

function toggleList(lane, open = !lane.list) {
  lane.list?.remove();
  lane.list = open ? listOf(lane) : null;
  if (open) lane.row.after(lane.list);
}

function matches(lane) {
  const isBlocked = lane.deadLetters.some((dead) => dead[DEAD.resolved] === null);
  if ($("only-named").checked && !lane.violations && !isBlocked) return false;
  const text = $("filter").value.trim().toLowerCase();
  return !text || `${lane.topic} ${lane.key} ${lane.alias}`.toLowerCase().includes(text) ||
    lane.events.some((event) => data.types[event[EVENT.type]].includes(text));
}

function arrange() {
  const found = data.lanes.map((lane, place) => [lane, place]).filter(([lane]) => matches(lane));
  const shown = found.slice(0, limit);
  $("lanes").replaceChildren(...shown.flatMap(([lane, place]) => [laneRow(lane, place), ...(lane.list ? [lane.list] : [])]));
  $("shown").textContent = `${shown.length} of ${data.lanes.length} keys`;
  $("more").hidden = shown.length === found.length;
}

// Time

function look(from, to) {
  const length = Math.min(Math.max(to - from, 0.005), whole.to - whole.from);
  from = Math.min(Math.max(from, whole.from), whole.to - length);
  view = { from, to: from + length };
  $("range").textContent = `${view.from.toFixed(2)} to ${view.to.toFixed(2)} s`;
  drawAxis(document.querySelector("#axis canvas"));
  for (const draw of drawn.values()) draw();
  for (const lane of data.lanes) if (lane.list) toggleList(lane, true);
}

function zoom(factor, middle = (view.from + view.to) / 2) {
  look(middle - (middle - view.from) * factor, middle + (view.to - middle) * factor);
}

const move = (share) => look(view.from + share * (view.to - view.from), view.to + share * (view.to - view.from));

function beginSelection(canvas, down) {
  const mark = element("div");
  mark.style.cssText = "position:fixed;top:0;bottom:0;background:#3557b722;border:solid #3557b7;border-width:0 1px;z-index:8";
  const drag = (event) => {
    document.body.append(mark);
    mark.style.left = `${Math.min(down.clientX, event.clientX)}px`;
    mark.style.width = `${Math.abs(event.clientX - down.clientX)}px`;
  };
  const drop = (event) => {
    window.removeEventListener("mousemove", drag);
    mark.remove();
    if (Math.abs(event.clientX - down.clientX) > 4) {
      const times = [timeAt(canvas, down.clientX), timeAt(canvas, event.clientX)].sort((a, b) => a - b);
      look(...times);
    } else canvas.parentElement.toggle?.();
  };
  down.preventDefault();
  window.addEventListener("mousemove", drag);
  window.addEventListener("mouseup", drop, { once: true });
}

function goToTarget() {
  const place = Number(/^#lane-(\d+)$/.exec(location.hash)?.[1] ?? NaN), lane = data.lanes[place];
  if (!lane) return;
  if (!lane.row?.isConnected) {
    $("filter").value = "";
    $("only-named").checked = false;
    limit = Math.max(limit, place + 1);
    arrange();
  }
  document.querySelectorAll(".lane.target").forEach((one) => one.classList.remove("target"));
  lane.row.classList.add("target");
  toggleList(lane, true);
  lane.row.scrollIntoView({ block: "start" });
}

const KEYS = { "+": () => zoom(0.5), "-": () => zoom(2), 0: () => look(whole.from, whole.to),
  ArrowLeft: () => move(-0.25), ArrowRight: () => move(0.25) };
for (const [id, key] of Object.entries({ "zoom-in": "+", "zoom-out": "-", reset: "0", earlier: "ArrowLeft", later: "ArrowRight" })) {
  $(id).addEventListener("click", KEYS[key]);
}
window.addEventListener("keydown", (event) => {
  if (event.target.tagName !== "INPUT" && !event.ctrlKey && !event.metaKey && KEYS[event.key]) KEYS[event.key]();
});
window.addEventListener("wheel", (event) => {
  if (!event.shiftKey || event.target.tagName !== "CANVAS") return;
  event.preventDefault();
  move(Math.sign(event.deltaY || event.deltaX) * 0.15);
}, { passive: false });
window.addEventListener("resize", () => look(view.from, view.to));
window.addEventListener("hashchange", goToTarget);
$("filter").addEventListener("input", () => { limit = PAGE_LANES; arrange(); });
$("only-named").addEventListener("change", () => { limit = PAGE_LANES; arrange(); });
$("more").addEventListener("click", () => { limit += PAGE_LANES; arrange(); });

$("faults").append(...faultRows());
arrange();
look(whole.from, whole.to);
goToTarget();

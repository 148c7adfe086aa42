// Keeps parts of a page fresh, and shows times in the browser's zone. Every page works without it.
"use strict";

// An element with data-live="2" is replaced every two seconds by the element of the same id in the page as it is now.
// An element that holds the focus, or a <dialog> that is open, is left alone; open <details> stay open.
async function refresh(elements) {
  const response = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!response.ok || response.redirected) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const element of elements) {
    const next = fresh.getElementById(element.id);
    const isUsed = element.contains(document.activeElement) && document.activeElement !== element;
    if (!next || isUsed || element.querySelector("dialog[open]")) continue;
    for (const open of element.querySelectorAll("details[open][id]")) {
      next.querySelector(`#${CSS.escape(open.id)}`)?.setAttribute("open", "");
    }
    if (next.innerHTML !== element.dataset.seen) {
      element.dataset.seen = next.innerHTML;
      element.innerHTML = next.innerHTML;
      showTimes(element);
    }
  }
}

function showTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    time.title = moment.toLocaleString();
    const digits = "precise" in time.dataset ? { fractionalSecondDigits: 3 } : {};
    const options = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false, ...digits };
    time.textContent = moment.toLocaleTimeString([], options);
  }
}

function keepFresh() {
  const groups = Map.groupBy(document.querySelectorAll("[data-live][id]"), (element) => element.dataset.live);
  for (const [seconds, elements] of groups) {
    const next = async () => {
      if (!document.hidden) await refresh(elements).catch(() => {}); // the next round tries again
      setTimeout(next, seconds * 1000);
    };
    setTimeout(next, seconds * 1000);
  }
}

showTimes(document);
keepFresh();

// The link #newer leads to the log lines after those of the page. Following it adds them to #lines, at most MAX_LINES.
// Screen readers hear the number of new lines now and then, not each line.
const MAX_LINES = 1000;
const ANNOUNCED_EVERY_MS = 15000;

function follow(link) {
  const list = document.getElementById("lines");
  const status = document.getElementById("followed");
  const button = document.getElementById("pause");
  let added = 0;
  let announcedAt = Date.now();
  const isPaused = () => button.getAttribute("aria-pressed") === "true";
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(!isPaused()));
    status.textContent = isPaused() ? "Not following." : "Following.";
  });
  button.hidden = false;
  link.hidden = true;
  list.scrollTop = list.scrollHeight;

  async function addNewer() {
    const response = await fetch(link.href, { headers: { accept: "text/html" } });
    if (!response.ok || response.redirected) return;
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    const lines = [...fresh.getElementById("lines").children];
    for (const line of lines) showTimes(line);
    list.append(...lines);
    while (list.children.length > MAX_LINES) list.firstElementChild.remove();
    if (isAtEnd && lines.length) list.scrollTop = list.scrollHeight;
    link.href = fresh.getElementById("newer").href;
    added += lines.length;
    if (added && Date.now() - announcedAt > ANNOUNCED_EVERY_MS) {
      status.textContent = `${added} new lines.`;
      added = 0;
      announcedAt = Date.now();
    }
  }

  const next = async () => {
    if (!document.hidden && !isPaused()) await addNewer().catch(() => (status.textContent = "The console does not answer."));
    setTimeout(next, link.dataset.follow * 1000);
  };
  setTimeout(next, link.dataset.follow * 1000);
}

const followed = document.querySelector("a[data-follow]");
if (followed) follow(followed);

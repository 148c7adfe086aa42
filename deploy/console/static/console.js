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
      if (!document.hidden) await refresh(elements).catch(() => document.body.classList.add("offline"));
      setTimeout(next, seconds * 1000);
    };
    setTimeout(next, seconds * 1000);
  }
}

showTimes(document);
keepFresh();

// Improves pages that work without it: parts that change are replaced when the server says so.
"use strict";

const menu = document.querySelector("details.menu");
const narrow = matchMedia("(max-width: 52rem)");
const fold = () => { if (menu) { menu.open = !narrow.matches; } };
narrow.addEventListener("change", fold);
fold();

// Times are written in UTC; the title has the time of the reader.
const localise = (root) => {
  for (const each of root.querySelectorAll("time[datetime]")) {
    each.title = new Date(each.dateTime).toLocaleString();
  }
};
localise(document);

const RETRY_MILLISECONDS = 5000;
let address = document.body.dataset.live;
let source = null;
let isLoading = false;
let isOutdated = false;

// A part in which somebody types or has opened something stays as it is.
const isInUse = (part) => part.contains(document.activeElement) || part.querySelector("details[open]") !== null;

const reload = async () => {
  if (isLoading) {
    isOutdated = true;
    return;
  }
  isLoading = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html", "X-Refresh": "1" } });
    if (answer.status >= 500 || answer.status === 429) {
      return; // the next change tries again
    }
    if (answer.redirected || !answer.ok) {
      location.reload();
      return;
    }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    follow(fresh.body.dataset.live);
    for (const part of document.querySelectorAll("[data-part]")) {
      const other = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
      if (other && !isInUse(part) && other.textContent !== part.textContent) {
        part.replaceChildren(...other.childNodes);
        part.className = other.className;
        part.classList.add("changed");
        localise(part);
      }
    }
  } catch { /* the next change tries again */ } finally {
    isLoading = false;
    if (isOutdated) {
      isOutdated = false;
      setTimeout(reload, 1000);
    }
  }
};

// A page may ask for another pace after what it waited for has happened.
const follow = (next) => {
  if (next === address) {
    return;
  }
  address = next;
  if (source) {
    source.close();
    source = null;
  }
  listen();
};

const listen = () => {
  if (!address || document.hidden) {
    return;
  }
  const opened = new EventSource(address);
  source = opened;
  opened.addEventListener("changed", reload);
  // Browsers open a stream again after its end, but not after the error of a proxy while the server restarts.
  opened.addEventListener("error", () => {
    if (opened.readyState === EventSource.CLOSED && source === opened) {
      source = null;
      setTimeout(resume, RETRY_MILLISECONDS);
    }
  });
};
const resume = () => {
  if (source === null && !document.hidden) {
    reload();
    listen();
  }
};
document.addEventListener("visibilitychange", () => {
  if (source) {
    source.close();
    source = null;
  }
  if (!document.hidden && address) {
    reload();
  }
  listen();
});
listen();

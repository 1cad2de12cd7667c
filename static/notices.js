// Says what happened, or what went wrong; keeps relative times true while a page stays
// open, and keeps typed text and focus when live news replaces what holds them.

const byId = (id) => document.getElementById(id);

function say(text) {
  const place = byId("notices");
  if (!place) return;
  const line = document.createElement("p");
  line.className = "notice error";
  line.textContent = text;
  place.replaceChildren(line);
}

document.addEventListener("htmx:responseError", (event) => {
  const status = event.detail.xhr.status;
  if (status === 403) say("Nothing was done: your account may not do that. Load the page again.");
  else if (status === 404) say("Nothing was done: this is gone, or your account may not see it.");
  else say("The server answered with an error (" + status + "). Load the page again to see how things stand.");
});
document.addEventListener("htmx:sendError", () => {
  say("The server cannot be reached. Nothing was sent; try again in a moment.");
});

document.addEventListener("htmx:afterRequest", (event) => {
  const said = event.detail.xhr.getResponseHeader("Placet-Announce");
  const pending = event.detail.xhr.getResponseHeader("Placet-Pending");
  const count = byId("pending-count");
  if (said) byId("announcer").textContent = decodeURIComponent(said);
  if (pending !== null && count) {
    count.firstChild.data = pending;
    count.hidden = pending === "0";
  }
});

// A button that is disabled while its form is under way loses the focus at once.
let asked = null;
document.addEventListener("htmx:beforeRequest", (event) => {
  asked = event.detail.elt.closest(".block");
});
document.addEventListener("focusin", () => { asked = null; });

let kept = null;
document.addEventListener("htmx:wsBeforeMessage", () => {
  const active = document.activeElement;
  const typed = [...document.querySelectorAll(".block textarea")].filter((area) => area.value !== area.defaultValue);
  kept = {
    id: active.id,
    block: active.closest(".block") || asked,
    texts: typed.map(({ id, value }) => [id, value]),
  };
});
document.addEventListener("htmx:wsAfterMessage", () => {
  kept.texts.forEach(([id, value]) => {
    const area = byId(id);
    if (!area || area.value === value) return;
    area.value = value;
    area.closest("details").open = true;
  });
  if (!kept.block || document.activeElement !== document.body) return;
  const place = byId(kept.id) || byId(kept.block.id);
  if (!place) return;
  if (place.tabIndex < 0) place.tabIndex = -1;
  place.focus({ preventScroll: true });
});

const units = [[86400, "d"], [3600, "h"], [60, "min"]];

function relative(then, now) {
  const seconds = (now - then) / 1000;
  const fits = units.find(([length]) => Math.abs(seconds) >= length);
  if (!fits) return seconds >= -5 ? "just now" : "in under a minute";
  const count = Math.floor(Math.abs(seconds) / fits[0]) + " " + fits[1];
  return seconds > 0 ? count + " ago" : "in " + count;
}

setInterval(() => {
  document.querySelectorAll("time[data-ago]").forEach((time) => {
    const text = relative(Date.parse(time.dateTime), Date.now());
    if (time.textContent !== text) time.textContent = text;
  });
}, 20000);

setInterval(() => {
  document.querySelectorAll("time[data-left]").forEach((time) => {
    const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
    if (seconds < 60) time.textContent = Math.max(0, Math.ceil(seconds)) + " s";
  });
}, 1000);

// Single keys. What carries data-key="a" is clicked by A, or focused where it is a field:
// in the request that is open, or else outside of any.

const byId = (id) => document.getElementById(id);

const PLACES = { q: "/", h: "/history/", c: "/conversations/", o: "/ops/" };
const AGAIN_MS = 5000;
const FIELD = "input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]";
const OWNED = ".request, .card, .row, #pane";
let went = 0;
let armed = null;

const shows = (element) => element.getClientRects().length > 0;
const say = (text) => { byId("announcer").textContent = text; };
const all = (query, inside) => [...(inside || document).querySelectorAll(query)].filter(shows);
const rowAt = () => document.activeElement.closest("#queue > .row");
const cards = () => all(".card.is-pending");
const items = () => {
  const rows = all("#queue > .row:not(.is-over)");
  return byId("pane") ? rows : cards();
};

// Where a verb acts: never on a call that the person is not at.
function place() {
  const pane = byId("pane");
  if (pane) {
    const row = rowAt();
    const open = pane.querySelector("[id^=card-]");
    return row && (!open || open.id !== "card-" + row.dataset.pk) ? row : pane;
  }
  const own = document.activeElement.closest(".request, .card") || document.querySelector(".request");
  return own || (cards().length === 1 ? cards()[0] : null);
}

function keyed(key) {
  const query = '[data-key="' + CSS.escape(key) + '"]';
  const at = place();
  const inside = at ? all(query, at) : [];
  // What was just decided is still there to undo, though the focus has gone on.
  const pane = byId("pane");
  const decided = key === "z" && pane ? all(query, pane) : [];
  return inside[0] || decided.find((element) => element.closest(".card:not(.is-pending)")) ||
    all(query).find((element) => !element.closest(OWNED));
}

function needsAgain(element) {
  const at = element.closest(".request") || element.closest(".card") || document.body;
  if (at.querySelector('.risk-high, .risk-critical, [data-risk="high"], [data-risk="critical"]')) {
    return "The risk is high";
  }
  const last = at.querySelector("[data-end]") || [...at.querySelectorAll(".arguments")].pop();
  const bar = element.closest(".bar");
  const below = bar ? bar.getBoundingClientRect().top : window.innerHeight;
  const unseen = last && last.getBoundingClientRect().bottom > Math.min(below, window.innerHeight) + 1;
  return unseen ? "The end of the call is not on the screen" : "";
}

function disarm() {
  if (armed) armed.element.classList.remove("armed");
  armed = null;
}

function approve(element) {
  const why = needsAgain(element);
  const again = armed && armed.element === element && Date.now() - armed.at < AGAIN_MS;
  disarm();
  if (!why || again) return press(element);
  armed = { element, at: Date.now() };
  element.classList.add("armed");
  say(why + ": press A again to approve.");
}

function press(element) {
  if (element.matches(FIELD)) {
    element.focus();
    return element.select && element.select();
  }
  if (element.disabled) {
    const why = byId(element.getAttribute("aria-describedby"));
    return say(why ? why.textContent : "That is not possible here.");
  }
  element.classList.add("pressed");
  setTimeout(() => element.classList.remove("pressed"), 400);
  element.click();
  const opened = element.closest("summary + *, details[open]");
  const first = opened && opened.querySelector("textarea, select, input:not([type=hidden]), form button");
  if (first && element.matches("summary")) first.focus();
}

function move(list, step) {
  const at = document.activeElement.closest("#queue > .row, .card");
  const every = [...document.querySelectorAll("#queue > .row, .card")];
  const from = every.indexOf(at);
  const behind = (item) => every.indexOf(item) > from;
  const before = list.filter((item) => every.indexOf(item) < from);
  const to = step > 0 ? list.find(behind) : from < 0 ? list[0] : before.pop();
  if (!to) return;
  if (!to.matches(".row")) to.tabIndex = -1;
  (to.querySelector(".summary") || to).focus();
  to.scrollIntoView({ block: "nearest" });
  document.dispatchEvent(new CustomEvent("desk:moved", { detail: to }));
}

async function help() {
  let dialog = byId("keys-help");
  if (!dialog) {
    dialog = document.createElement("dialog");
    dialog.id = "keys-help";
    dialog.setAttribute("aria-labelledby", "keys-title");
    document.body.append(dialog);
    await htmx.ajax("GET", "/keys/", { target: dialog, select: "#keys-list", swap: "innerHTML" });
    const close = document.createElement("button");
    close.className = "button quiet";
    close.textContent = "Close";
    close.addEventListener("click", () => dialog.close());
    dialog.append(close);
  }
  if (!dialog.open) dialog.showModal();
}

function raw() {
  const fold = (place() || document).querySelector("details.raw");
  if (fold) fold.open = !fold.open;
}

const OWN = {
  j: () => move(items(), 1),
  k: () => move(items(), -1),
  n: () => move(items().filter((item) => item.matches(".risk-high, .risk-critical")), 1),
  o: () => rowAt() && rowAt().querySelector(".summary").click(),
  x: () => document.dispatchEvent(new CustomEvent("desk:pick", { detail: rowAt() })),
  X: () => document.dispatchEvent(new CustomEvent("desk:pick-to", { detail: rowAt() })),
  v: raw,
  "?": help,
};

// The reason has the focus; a number is a preset while nothing is said or chosen yet.
function presetOf(event) {
  const form = event.target.form;
  const begun = event.target.value || !form || form.querySelector("[name=preset]:checked");
  return begun || !/^[1-9]$/.test(event.key) ? null
    : form.querySelector('.presets [data-key="' + event.key + '"]');
}

function send(event) {
  const form = event.target.closest("form");
  const chosen = form && (form.matches("[data-send]") ? form : form.querySelector("[data-send]"));
  if (!chosen) return;
  event.preventDefault();
  const button = chosen.matches("button") ? chosen : form.querySelector("button[name]:not([disabled])");
  // A click: htmx posts the verdict of the button that was clicked, and of no other.
  if (button) button.click();
  else form.requestSubmit();
}

document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (event.isComposing || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) return send(event);
  if (event.ctrlKey || event.metaKey || document.body.dataset.keys === "off") return;
  if (target.matches(FIELD)) {
    if (event.key === "Escape") target.blur();
    const reason = presetOf(event);
    if (reason) {
      event.preventDefault();
      press(reason);
    }
    return;
  }
  const key = event.key;
  if (event.repeat && key !== "j" && key !== "k") return;
  if (Date.now() - went < AGAIN_MS && PLACES[key]) return location.assign(PLACES[key]);
  went = key === "g" ? Date.now() : 0;
  const found = keyed(key);
  if (key !== "a" && key !== "Shift") disarm();
  if (!found && !OWN[key]) return;
  event.preventDefault();
  if (!found) OWN[key]();
  else if (key === "a") approve(found);
  else press(found);
});

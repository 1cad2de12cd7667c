// The queue: rows change in their place, what is new is counted and waits for a press,
// and on a wide screen the request opens beside the list.

const byId = (id) => document.getElementById(id);

const desk = document.querySelector("[data-queue]");
const wide = matchMedia("(min-width: 1320px)");
const pane = byId("pane");
const pill = byId("arrived");
const arrived = new Set();
const held = new Map();
const PRESS_MS = 50;
let lastPicked = null;
let lastAt = "";
let waking = 0;

const list = () => byId("queue-list");
const rowOf = (pk) => pk && list().querySelector('[data-pk="' + CSS.escape(pk) + '"]');
const pending = () => [...list().querySelectorAll("#queue > .row:not(.is-over):not(.is-put-off)")];
const openPk = () => {
  const card = pane.querySelector("[id^=card-]");
  return card ? card.id.slice(5) : "";
};
const boxes = () => [...list().querySelectorAll("[name=pick]")];
const countsAreOld = () => htmx.trigger("#views", "counts-old");

// A row is the same for all who see it; one's own look is no news.
const me = document.querySelector(".menu .name");
const withoutMe = (inside) => inside.querySelectorAll("[data-who]").forEach((tag) => {
  if (me && tag.dataset.who === me.textContent) tag.remove();
});

// Each with a source of its own: of what has the same one, some is never asked for.
const load = (address, source, how) => htmx.ajax("GET", address, { source, ...how }).catch(() => 0);

function showPill() {
  pill.hidden = !arrived.size;
  const many = arrived.has("many");
  pill.textContent = many ? "Show what has changed" : arrived.size + " new";
  if (arrived.size && !pending().length && !pill.dataset.busy) renew();
}

function showPicked() {
  const place = byId("picked");
  const count = boxes().filter((box) => box.checked).length;
  if (place) place.textContent = count ? count + " selected" : "";
}

async function renew() {
  if (pill.dataset.busy) return;
  const before = list();
  const asked = new Set(arrived);
  const picked = new Set(boxes().filter((box) => box.checked).map((box) => box.value));
  const own = document.activeElement;
  const isHere = list().contains(own) || own === pill;
  const address = location.pathname + location.search;
  pill.dataset.busy = "yes";
  await load(address, pill, { target: "#queue-list", swap: "outerHTML" });
  delete pill.dataset.busy;
  if (list() === before) return; // it did not come: what has arrived stays told of
  held.clear();
  withoutMe(list());
  boxes().forEach((box) => { box.checked = picked.has(box.value); });
  asked.forEach((pk) => arrived.delete(pk));
  [...arrived].filter(rowOf).forEach((pk) => arrived.delete(pk));
  showPicked();
  showPill();
  markOpen();
  const again = isHere && (rowOf(lastAt) || pending()[0]);
  if (again) again.querySelector(".summary").focus({ preventScroll: true });
}

// The newest of each row under a press waits: a link that is replaced loses the click.
function put(row, shown) {
  const { pk } = row.dataset;
  if (shown.matches(":active")) {
    held.set(pk, row);
    return void setTimeout(letGo, PRESS_MS, pk);
  }
  held.delete(pk);
  const active = shown.contains(document.activeElement) && document.activeElement;
  withoutMe(row);
  const box = shown.querySelector("[name=pick]");
  const next = row.querySelector("[name=pick]");
  if (box && next) next.checked = box.checked;
  row.classList.toggle("is-put-off", shown.matches(".is-put-off"));
  shown.replaceWith(row);
  markOpen();
  if (!active) return;
  const same = active.name === "pick" && next ? next : row.querySelector(".summary");
  same.focus({ preventScroll: true });
}

function letGo(pk) {
  const shown = rowOf(pk);
  if (held.has(pk) && shown) put(held.get(pk), shown);
  showPicked();
}

function renewOpen(row) {
  const pk = row.dataset.pk;
  const card = pane.querySelector(".card.is-pending");
  const typing = pane.querySelector("details[open]") || pane.querySelector("form.htmx-request");
  if (pk !== openPk() || typing) return;
  const bar = byId("attention-" + pk);
  if (row.matches(".is-over") && card) open(row);
  else if (bar && bar.matches(":active")) setTimeout(renewOpen, PRESS_MS, row);
  else if (bar && bar.dataset.look && card) {
    htmx.trigger(bar, "htmx:abort");
    load(bar.dataset.look.replace("/look/", "/attention/"), bar, { target: bar, swap: "outerHTML" });
  }
}

document.addEventListener("htmx:wsAfterMessage", () => {
  const news = byId("news");
  const fresh = new Set((news.dataset.new || "").split(" "));
  const rows = [...news.children];
  if ("whole" in news.dataset) arrived.add("many");
  rows.forEach((row) => {
    const shown = rowOf(row.dataset.pk);
    if (shown) put(row, shown);
    else if (fresh.has(row.dataset.pk)) arrived.add(row.dataset.pk);
    else arrived.delete(row.dataset.pk);
    renewOpen(row);
  });
  news.replaceChildren();
  if (rows.length || arrived.size) countsAreOld();
  showPicked();
  showPill();
});

function markOpen() {
  const pk = pane.dataset.pk || "";
  list().querySelectorAll("[aria-current]").forEach((link) => link.removeAttribute("aria-current"));
  const row = pk && rowOf(pk);
  if (row) row.querySelector(".summary").setAttribute("aria-current", "true");
}

function isAt(pk) {
  const address = new URL(location.href);
  pane.dataset.pk = pk;
  address.searchParams.set("open", pk);
  history.replaceState(history.state, "", address);
  markOpen();
}

async function open(row) {
  const { pk } = row.dataset;
  clearTimeout(following);
  if (pane.ariaBusy && pane.dataset.pk === pk) return;
  // What was sent is answered first: the answer may be a refusal.
  if (pane.querySelector("form.htmx-request")) {
    following = setTimeout(() => open(rowOf(pk) || row), PRESS_MS);
    return;
  }
  pane.ariaBusy = "true";
  isAt(pk);
  htmx.trigger(pane, "htmx:abort");
  await load(row.querySelector(".summary").getAttribute("href"), pane, { target: pane, select: ".request", swap: "innerHTML" });
  if (pane.dataset.pk !== pk) return;
  pane.ariaBusy = null;
  isAt(openPk());
  pane.scrollTop = 0;
  document.dispatchEvent(new Event("desk:opened"));
}

function next(pk) {
  const rows = [...list().querySelectorAll("#queue > .row")];
  const at = rows.findIndex((row) => row.dataset.pk === pk);
  const waits = (row) => !row.matches(".is-over, .is-put-off") && row.dataset.pk !== pk;
  return rows.slice(at + 1).find(waits) || rows.slice(0, Math.max(at, 0)).reverse().find(waits);
}

// The pane stays with what was decided: no key acts on a call that was not opened.
function goOn(pk) {
  const row = next(pk);
  const place = row ? row.querySelector(".summary") : pane;
  place.focus();
}

const pathOf = (event) => (event.detail.requestConfig || event.detail.pathInfo || {}).path || "";

document.addEventListener("htmx:beforeRequest", (event) => {
  const row = /\/decide\/$/.test(pathOf(event)) && rowOf(openPk());
  if (row) row.classList.add("is-sent");
});

document.addEventListener("htmx:afterSettle", (event) => {
  if (!pane.contains(event.target) || !event.detail.xhr) return;
  const [, pk, verb] = pathOf(event).match(/\/requests\/([^/]+)\/(decide|later)\/$/) || [];
  const row = pk && rowOf(pk);
  if (!pk || event.detail.xhr.status !== 200) return row && row.classList.remove("is-sent");
  if (row && verb === "later") row.classList.toggle("is-put-off", !!pane.querySelector("[value=now]"));
  countsAreOld();
  setTimeout(() => goOn(pk));
});

document.addEventListener("htmx:responseError", () => {
  list().querySelectorAll(".is-sent").forEach((row) => row.classList.remove("is-sent"));
});

desk.addEventListener("click", (event) => {
  const link = event.target.closest("#queue .summary");
  const plain = !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
  if (!link || !plain || !wide.matches) return;
  event.preventDefault();
  link.focus();
  open(link.closest(".row"));
});

let following = 0;
document.addEventListener("desk:moved", (event) => {
  clearTimeout(following);
  if (wide.matches && openPk()) following = setTimeout(() => open(event.detail), 120);
});

document.addEventListener("desk:pick", (event) => {
  const box = event.detail && event.detail.querySelector("[name=pick]");
  if (!box) return;
  box.checked = !box.checked;
  lastPicked = event.detail.dataset.pk;
  showPicked();
});

document.addEventListener("desk:pick-to", (event) => {
  if (!event.detail) return;
  const all = boxes().map((box) => box.value);
  const ends = [all.indexOf(lastPicked), all.indexOf(event.detail.dataset.pk)].sort((a, b) => a - b);
  boxes().slice(Math.max(ends[0], 0), ends[1] + 1).forEach((box) => { box.checked = true; });
  showPicked();
});

desk.addEventListener("change", showPicked);
desk.addEventListener("focusin", (event) => {
  const row = event.target.closest("#queue > .row");
  if (row) lastAt = row.dataset.pk;
});
pill.addEventListener("click", renew);

function wakeInTime() {
  const at = byId("views").dataset.wakes;
  clearTimeout(waking);
  if (!at) return;
  const wait = Math.max(0, Date.parse(at) - Date.now()) + 500;
  if (wait < 2 ** 31) waking = setTimeout(() => { arrived.add("woken"); showPill(); countsAreOld(); }, wait);
}

document.addEventListener("htmx:afterSettle", (event) => event.target.id === "views" && wakeInTime());
wakeInTime();
withoutMe(list());
const begun = new URL(location.href).searchParams.get("open");
if (begun && wide.matches && rowOf(begun)) open(rowOf(begun));

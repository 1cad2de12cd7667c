// Live pages: a socket that comes back and goes on where it was, no row twice, and a
// view that stays at the end for who reads there.

const GONE = 4401; // signed out, or the right was taken away
const HTMX_RECONNECTS = [1006, 1011, 1012, 1013];
const LONGEST_WAIT_MS = 3000;
const END_PX = 80;
let refused = 0;
let atEnd = false;

function socketElement(url) {
  const path = new URL(url, location.href).pathname;
  return document.querySelector('[ws-connect="' + CSS.escape(path) + '"]');
}

function lastSeen(element) {
  const cursor = document.getElementById("cursor-" + element.dataset.run);
  const seen = [element, cursor].map((e) => Number(e && e.dataset.after) || 0);
  return Math.max(...seen);
}

function showConnection(element, state) {
  element.dataset.connection = state;
  let note = element.querySelector(".reconnecting");
  if (!note) {
    note = document.createElement("p");
    note.className = "reconnecting";
    note.setAttribute("role", "status");
    element.append(note);
  }
  note.textContent = state === "lost" ? "Reconnecting…" : "";
  note.hidden = state !== "lost";
}

// A refused socket looks like a server that is down; the page itself can tell.
async function leaveIfRefused() {
  try {
    const page = await fetch(location.href, { method: "HEAD", redirect: "manual" });
    if (page.type === "opaqueredirect" || [403, 404].includes(page.status)) location.reload();
  } catch {
    // Down: the next attempt comes by itself.
  }
}

const isNewer = (row, than) => Number(row.dataset.seq) > Number(than.dataset.seq);

htmx.config.wsReconnectDelay = (attempt) =>
  Math.min(LONGEST_WAIT_MS, 200 * 2 ** attempt) * (0.5 + Math.random() / 2);

htmx.createWebSocket = (url) => {
  const element = socketElement(url);
  const address = new URL(url);
  if (element && element.dataset.run) {
    address.searchParams.set("after", lastSeen(element));
  }
  if (element && "queue" in element.dataset) {
    const news = document.getElementById("news").dataset;
    address.search = element.dataset.query;
    address.searchParams.set("after", news.after || element.dataset.after);
  }
  return new WebSocket(address);
};

document.addEventListener("htmx:wsOpen", (event) => {
  refused = 0;
  showConnection(event.target, "open");
});

document.addEventListener("htmx:wsClose", (event) => {
  const code = event.detail.event.code;
  if (code === GONE) return location.reload(); // which leads to the sign-in and back
  showConnection(event.target, "lost");
  refused += 1;
  if (refused > 1) leaveIfRefused();
  if (!HTMX_RECONNECTS.includes(code)) {
    const again = event.detail.socketWrapper.reconnect;
    const delay = htmx.config.wsReconnectDelay(refused);
    setTimeout(() => event.target.isConnected && again(), delay);
  }
});

document.addEventListener("htmx:wsBeforeMessage", () => {
  const view = document.scrollingElement;
  atEnd = view.scrollHeight - view.scrollTop - view.clientHeight < END_PX;
});

document.addEventListener("htmx:wsAfterMessage", (event) => {
  if (atEnd && event.target.dataset.run) {
    const view = document.scrollingElement;
    view.scrollTop = view.scrollHeight;
  }
});

// Rows carry the sequence number of what they show; what is not newer is dropped.
document.addEventListener("htmx:oobBeforeSwap", (event) => {
  const { target, fragment } = event.detail;
  const row = fragment.firstElementChild;
  if (row && row.id && row.id === target.id) {
    event.detail.shouldSwap = !row.dataset.seq || isNewer(row, target);
    return;
  }
  for (const added of [...fragment.children].filter((child) => child.dataset.seq)) {
    const shown = document.getElementById(added.id);
    if (!shown) continue;
    added.remove();
    if (!isNewer(added, shown)) continue;
    shown.replaceWith(added);
    htmx.process(added);
  }
});

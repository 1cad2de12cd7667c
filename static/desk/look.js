// Who looks at a request: the server is told while one is open and in front.

const LOOK_MS = 12000;
let looked = null;

function tell(bar, url, away) {
  const token = bar && bar.querySelector("[name=csrfmiddlewaretoken]");
  const form = new FormData();
  if (token) tell.token = token.value;
  form.set("csrfmiddlewaretoken", tell.token);
  if (away) form.set("away", "on");
  navigator.sendBeacon(url, form);
}

function look(ends) {
  const bar = document.querySelector("[data-look]");
  const seen = bar && ends !== true && document.visibilityState === "visible";
  const url = seen ? bar.dataset.look : null;
  if (looked && looked !== url) tell(null, looked, true);
  looked = url;
  if (url) tell(bar, url);
}

setInterval(look, LOOK_MS);
document.addEventListener("visibilitychange", look);
window.addEventListener("pagehide", () => look(true));
window.addEventListener("pageshow", look);
document.addEventListener("desk:opened", look);

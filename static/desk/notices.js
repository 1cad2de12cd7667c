// Tells of what waits for this person while they look elsewhere: a count in the title,
// and one notification however many came. It holds tool and risk, never arguments.

const EVERY_MS = 30000;
const SETTLE_MS = 1500;
const able = "Notification" in window;
const title = document.title;
let known = null;
let timer = 0;

function badge(count) {
  const shown = count >= 100 ? "99+" : count;
  document.title = count ? "(" + shown + ") " + title : title;
}

function tell(arrived, count) {
  if (!able || Notification.permission !== "granted" || document.hasFocus()) return;
  const many = arrived.length > 1;
  const text = many ? arrived.length + " calls came; " + count + " wait for you" : arrived[0].line;
  const shown = new Notification(many ? "Calls wait for you" : "A call waits for you", { body: text, tag: "placet" });
  shown.onclick = () => {
    window.focus();
    shown.close();
    location.assign(many ? "/" : "/requests/" + arrived[0].id + "/");
  };
}

async function look() {
  clearTimeout(timer);
  timer = setTimeout(look, EVERY_MS);
  try {
    const answer = await fetch("/settings/waiting/", { headers: { accept: "application/json" }, redirect: "error" });
    if (!answer.ok) return;
    const { count, newest } = await answer.json();
    const arrived = known ? newest.filter((one) => !known.has(one.id)) : [];
    known = new Set([...(known || []), ...newest.map((one) => one.id)]);
    badge(count);
    if (arrived.length) tell(arrived, count);
  } catch {
    // Away, or signed out: the page itself says so.
  }
}

function soon() {
  clearTimeout(timer);
  timer = setTimeout(look, SETTLE_MS);
}

document.addEventListener("htmx:wsAfterMessage", soon);
document.addEventListener("htmx:afterRequest", soon);
look();

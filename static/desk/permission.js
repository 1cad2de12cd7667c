// Whether this browser shows notifications, and a button that asks it to.

const able = "Notification" in window;
const ask = document.getElementById("ask-notices");

function showPermission() {
  const said = document.getElementById("notices-state");
  const state = able ? Notification.permission : "unsupported";
  said.textContent = {
    granted: "This browser shows notifications.",
    denied: "This browser blocks them; the title of the page still counts.",
    unsupported: "This browser has none; the title of the page still counts.",
  }[state] || "This browser has not been asked yet.";
  ask.hidden = state !== "default";
}

ask.addEventListener("click", () => Notification.requestPermission().then(showPermission));
showPermission();

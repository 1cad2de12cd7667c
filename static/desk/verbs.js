// The forms inside a card: an opened one takes the focus, and a preset opens its form.

function focusFirst(inside) {
  const wrong = inside.querySelector("[aria-invalid]");
  const first = wrong || inside.querySelector("[data-first]");
  if (first) first.focus();
}

// A toggle does not bubble.
document.addEventListener(
  "toggle",
  (event) => {
    const verb = event.target;
    if (!verb.matches("details.verb") || !verb.open) return;
    for (const other of verb.parentElement.querySelectorAll("details.verb[open]")) {
      other.open = other === verb;
    }
    focusFirst(verb);
  },
  true
);

document.addEventListener("change", (event) => {
  const verb = event.target.closest("details.verb");
  if (event.target.name === "preset" && verb) {
    verb.open ? focusFirst(verb) : (verb.open = true);
  }
});

document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.matches && event.target.matches(".card.edit")) focusFirst(event.target);
});

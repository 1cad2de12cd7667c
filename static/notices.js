// Says what went wrong when the server refused or could not be reached, and keeps
// relative times true while a page stays open.
(function () {
  "use strict";

  function say(text) {
    var place = document.getElementById("notices");
    if (!place) return;
    var line = document.createElement("p");
    line.className = "notice error";
    line.textContent = text;
    place.replaceChildren(line);
  }

  document.addEventListener("htmx:responseError", function (event) {
    var status = event.detail.xhr.status;
    if (status === 403) say("Nothing was done: your account may not do that. Load the page again.");
    else if (status === 404) say("Nothing was done: this is gone, or your account may not see it.");
    else say("The server answered with an error (" + status + "). Load the page again to see how things stand.");
  });
  document.addEventListener("htmx:sendError", function () {
    say("The server cannot be reached. Nothing was sent; try again in a moment.");
  });

  var units = [[86400, "d"], [3600, "h"], [60, "min"]];

  function relative(then, now) {
    var seconds = (now - then) / 1000;
    for (var i = 0; i < units.length; i++) {
      if (Math.abs(seconds) >= units[i][0]) {
        var count = Math.floor(Math.abs(seconds) / units[i][0]) + " " + units[i][1];
        return seconds > 0 ? count + " ago" : "in " + count;
      }
    }
    return seconds >= -5 ? "just now" : "in under a minute";
  }

  setInterval(function () {
    document.querySelectorAll("time[data-ago]").forEach(function (time) {
      var text = relative(Date.parse(time.dateTime), Date.now());
      if (time.textContent !== text) time.textContent = text;
    });
  }, 20000);
})();

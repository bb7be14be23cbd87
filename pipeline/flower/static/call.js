"use strict";
// What cannot be played says so; the page works without this too.
(() => {
  const player = document.getElementById("player");
  player?.addEventListener("error", () => { document.getElementById("unplayable").hidden = false; });
})();

"use strict";
// "Integrators" as it moves: the page is asked for again while nobody is about to act in it. It works without this too.
(() => {
  const box = document.getElementById("integrators");
  const busy = () => document.hidden || box.querySelector("details[open] form") || box.contains(document.activeElement);
  const refresh = async () => {
    if (busy()) return;
    const response = await fetch(box.dataset.url, {credentials: "same-origin", cache: "no-store"});
    if (!response.ok) return;
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("integrators");
    if (!fresh || busy()) return;
    const opened = box.querySelector(".cdr-words")?.open;
    box.replaceChildren(...fresh.childNodes);
    if (opened) box.querySelector(".cdr-words")?.setAttribute("open", "");
  };
  setInterval(() => refresh().catch(() => {}), Number(box.dataset.refresh));
})();

"use strict";
// The pages of "Failed calls" without waiting for the reader: they work without this too.
(() => {
  const number = new Intl.NumberFormat("en");

  const json = async (url) => {
    const response = await fetch(new URL(url, location.origin), {credentials: "same-origin", cache: "no-store"});
    if (!response.ok) throw new Error(response.statusText);
    return response.json();
  };
  const thisPage = async () => {
    const response = await fetch(`${location.origin}${location.pathname}${location.search}`, {credentials: "same-origin", cache: "no-store"});
    return response.ok ? new DOMParser().parseFromString(await response.text(), "text/html") : null;
  };

  const keepList = (box) => {
    const boxes = () => [...box.querySelectorAll("input[name=id]")];
    const countTicked = () => {
      const ticked = boxes().filter((each) => each.checked).length;
      const said = box.querySelector("#ticked");
      if (said) said.textContent = ticked ? `${number.format(ticked)} ticked` : "";
    };
    const tickAll = () => {
      const all = box.querySelector("#tick-all");
      const follow = () => { boxes().forEach((each) => { each.checked = all.checked; }); countTicked(); };
      if (all) all.onchange = follow;
      if (all?.checked) follow(); // it was ticked before this ran
      countTicked();
    };
    box.addEventListener("change", countTicked);
    const busy = () => document.hidden || boxes().some((each) => each.checked) || box.contains(document.activeElement) ||
      box.querySelector("input[name=reason]")?.value;
    const refresh = async () => {
      if (busy()) return;
      const page = await thisPage();
      const fresh = page?.getElementById("failures");
      if (!fresh || busy()) return;
      const opened = box.querySelector("details")?.open;
      box.replaceChildren(...fresh.childNodes);
      if (opened === false) box.querySelector("details")?.removeAttribute("open");
      const total = document.getElementById("total"), now = page.getElementById("total");
      if (total.textContent !== now.textContent) total.replaceChildren(...now.childNodes);
      tickAll();
    };
    tickAll();
    if (!location.pathname.endsWith("/selected")) setInterval(() => refresh().catch(() => {}), Number(box.dataset.refresh));
  };

  // What is on its way is shown when it has come; the page stays where it is.
  const keepFailure = (box) => {
    if (box.dataset.state !== "retrying" && box.dataset.charging !== "yes") return;
    const timer = setInterval(async () => {
      const now = await json(box.dataset.stateUrl).catch(() => null);
      if (!now) return;
      const moved = now.state !== box.dataset.state || String(now.attempts) !== box.dataset.attempts;
      if (!moved && now.charging === (box.dataset.charging === "yes")) return;
      const fresh = (await thisPage().catch(() => null))?.getElementById("failure");
      if (!fresh) return;
      clearInterval(timer);
      box.replaceWith(fresh);
      document.getElementById("said").textContent =
        fresh.querySelector("#coming")?.textContent ?? `It is ${fresh.dataset.state} now.`;
      keepFailure(fresh);
    }, 700);
  };

  const keepBulk = (box) => {
    if (box.dataset.ended === "yes") return;
    const timer = setInterval(async () => {
      const now = await json(box.dataset.stateUrl).catch(() => null);
      if (!now) return;
      document.getElementById("bar").value = now.share;
      document.getElementById("done").textContent = number.format(now.done);
      document.getElementById("looked-at").textContent = number.format(now.looked_at);
      if (now.ended) {
        clearInterval(timer);
        document.getElementById("ended").textContent = "Finished.";
        document.getElementById("goes-on").hidden = true;
        document.getElementById("go-on").hidden = false;
      }
    }, 500);
  };

  for (const [id, keep] of [["failures", keepList], ["failure", keepFailure], ["bulk", keepBulk]]) {
    const box = document.getElementById(id);
    if (box) keep(box);
  }
})();

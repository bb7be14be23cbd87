"use strict";
// The pages of "Failed calls" without waiting for the reader: they work without this too.
(() => {
  const number = new Intl.NumberFormat("en");

  const json = async (url) => {
    const response = await fetch(url, {credentials: "same-origin", cache: "no-store"});
    if (!response.ok) throw new Error(response.statusText);
    return response.json();
  };

  const keepList = (box) => {
    const tickAll = () => {
      const all = box.querySelector("#tick-all");
      if (all) all.onchange = () => box.querySelectorAll("input[name=id]").forEach((each) => { each.checked = all.checked; });
    };
    const busy = () => document.hidden || box.querySelector("input[name=id]:checked") || box.contains(document.activeElement);
    const refresh = async () => {
      if (busy()) return;
      const response = await fetch(location.href, {credentials: "same-origin", cache: "no-store"});
      if (!response.ok) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const fresh = page.getElementById("failures");
      if (!fresh || busy()) return;
      const opened = box.querySelector("details")?.open;
      box.replaceChildren(...fresh.childNodes);
      if (opened === false) box.querySelector("details")?.removeAttribute("open");
      document.getElementById("total").replaceChildren(...page.getElementById("total").childNodes);
      tickAll();
    };
    tickAll();
    setInterval(() => refresh().catch(() => {}), Number(box.dataset.refresh));
  };

  const keepFailure = (box) => {
    if (box.dataset.state !== "retrying") return;
    const timer = setInterval(async () => {
      const now = await json(box.dataset.stateUrl).catch(() => null);
      if (now && (now.state !== box.dataset.state || String(now.attempts) !== box.dataset.attempts)) {
        clearInterval(timer);
        // A moment later the next steps are done as well.
        setTimeout(() => location.replace(location.pathname), 700);
      }
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
      }
    }, 500);
  };

  for (const [id, keep] of [["failures", keepList], ["failure", keepFailure], ["bulk", keepBulk]]) {
    const box = document.getElementById(id);
    if (box) keep(box);
  }
})();

"use strict";
// The figures of "Pipeline", asked for every few seconds while the page is seen. Everything shown is set as text.
(() => {
  const box = document.getElementById("pipeline");
  const number = new Intl.NumberFormat("en", {maximumFractionDigits: 1});
  const waited = [];
  const svg = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const element = (name, text, className) => {
    const made = document.createElement(name);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const age = (seconds) => seconds < 120 ? `${number.format(seconds)} s`
    : seconds < 7200 ? `${number.format(seconds / 60)} min` : `${number.format(seconds / 3600)} h`;

  const bars = (id, values) => {
    const plot = document.getElementById(id);
    const most = Math.max(...values, 1e-9);
    plot.setAttribute("viewBox", `0 0 ${values.length} 1`);
    plot.replaceChildren(...values.map((value, place) =>
      svg("rect", {x: place, y: 1 - value / most, width: 0.85, height: value / most})));
  };
  const line = (id, values) => {
    const plot = document.getElementById(id);
    const most = Math.max(...values, 1);
    plot.setAttribute("viewBox", `0 0 ${Math.max(values.length - 1, 1)} 1.1`);
    plot.replaceChildren(svg("polyline", {points: values.map((value, place) => `${place},${1.05 - value / most}`).join(" ")}));
  };

  const showBatches = (batches) => {
    const section = document.getElementById("standing-batches");
    const sendAgain = document.getElementById("send-again");
    section.hidden = batches.length === 0;
    section.querySelector("tbody").replaceChildren(...batches.map((batch) => {
      const row = document.createElement("tr");
      row.append(element("td", batch.batch_id), element("td", batch.source), element("td", number.format(batch.records), "cdr-number"),
        element("td", batch.step), element("td", `${batch.resends} ×`, "cdr-number"),
        element("td", batch.due_at.slice(0, 19).replace("T", " ")), element("td", ""));
      if (sendAgain) {
        const form = sendAgain.content.cloneNode(true).querySelector("form");
        form.action = form.dataset.action.replace("/0/", `/${batch.batch_id}/`);
        row.lastChild.append(form);
      }
      return row;
    }));
  };

  const showMoving = (figures) => {
    document.getElementById("as-of").textContent = `as of ${figures.as_of.slice(0, 19).replace("T", " ")} UTC`;
    bars("received", figures.received);
    bars("finished", figures.finished);
    const last = (values) => `${number.format(values.slice(-4, -1).reduce((a, b) => a + b, 0) / 3)} a second ` +
      `(at most ${number.format(Math.max(...values))})`;
    document.getElementById("received-now").textContent = last(figures.received);
    document.getElementById("finished-now").textContent = last(figures.finished);
    const waiting = Object.fromEntries(figures.backlog.map((each) => [each.step, each]));
    for (const row of document.querySelectorAll("#backlog tr")) {
      const each = waiting[row.dataset.step] || {records: 0, batches: 0};
      row.cells[1].textContent = number.format(each.records);
      row.cells[2].textContent = number.format(each.batches);
      row.cells[3].textContent = each.records ? age(each.oldest_seconds) : "";
    }
    waited.push(figures.waiting);
    if (waited.length > 200) waited.shift();
    line("waiting", waited);
    const standing = document.getElementById("standing");
    standing.replaceChildren(
      ...figures.stops.map((stop) => element("p",
        `The ingestor of ${stop.source} has stopped claiming: ${stop.reason}. When the list is right after all: ` +
        `pipeline stops release --source ${stop.source}`, "alert alert-danger")),
      ...figures.pauses.map((pause) => element("p",
        `Recordings of ${pause.source} wait until ${pause.until.slice(11, 19)} UTC: ${pause.reason}. They go on by themselves.`,
        "alert alert-warning")));
    showBatches(figures.standing);
    const states = Object.entries(figures.recordings);
    const all = states.reduce((sum, [, count]) => sum + count, 0);
    document.getElementById("recordings").replaceChildren(...states.map(([state, count]) => {
      const row = element("div", "", "cdr-share");
      const bar = document.createElement("progress");
      bar.max = all;
      bar.value = count;
      row.append(element("span", state), bar, element("span", number.format(count), "cdr-number"));
      return row;
    }), ...(states.length ? [] : [element("p", "none yet")]));
  };

  const showBalance = (sheet) => {
    const closes = document.getElementById("closes");
    closes.textContent = sheet.closes ? "It closes: every record is in exactly one place."
      : "It does not close: " + sheet.violations.map((each) => `${each.rule} (${each.count})`).join("; ");
    closes.className = sheet.closes ? "text-success" : "text-danger";
    const rows = ["received", "processed", "duplicate", "quarantined", "failed", "discarded", "pending"]
      .map((place) => [place, `${number.format(sheet[place].records)} records`])
      .concat(Object.entries(sheet.charged).map(([currency, amount]) => ["charged", `${amount} ${currency}`]));
    document.getElementById("balance").replaceChildren(...rows.map(([name, text]) => {
      const row = document.createElement("tr");
      row.append(element("th", name), element("td", text, "cdr-number"));
      return row;
    }));
    document.getElementById("balance-as-of").textContent = `as of ${sheet.as_of.slice(11, 19)} UTC`;
  };

  const say = (sentence) => { document.getElementById("as-of").textContent = sentence; };
  const ask = async (query) => {
    const response = await fetch(box.dataset.figuresUrl + query, {credentials: "same-origin", cache: "no-store"});
    if (!response.ok) throw new Error(response.status === 503 ? "The database does not answer." : response.statusText);
    return response.json();
  };
  const repeat = (seconds, work) => {
    const turn = async () => {
      if (!document.hidden) await work().catch((error) => say(error.message));
      setTimeout(turn, seconds * 1000);
    };
    turn();
  };
  const balance = async () => showBalance(await ask(`?balance=${document.getElementById("window").value}`));
  document.getElementById("window").onchange = () => balance().catch((error) => say(error.message));
  repeat(2, async () => showMoving(await ask("")));
  repeat(10, balance);
})();

"use strict";
// The figures of "Pipeline", asked for every few seconds while the page is seen. Everything shown is set as text, and
// what has not changed is left alone: a reader's place, and what a screen reader would say anew.
(() => {
  const box = document.getElementById("pipeline");
  const at = (id) => document.getElementById(id);
  const chosen = new URLSearchParams(location.search);
  const LATE_SECONDS = 600;
  const number = new Intl.NumberFormat("en", {maximumFractionDigits: 1});
  const zone = box.dataset.timezone;
  const clock = new Intl.DateTimeFormat("en-GB", {timeZone: zone, timeStyle: "medium"});
  const day = new Intl.DateTimeFormat("sv-SE", {timeZone: zone, dateStyle: "short"});
  const time = (instant) => clock.format(new Date(instant));
  const dayAndTime = (instant) => `${day.format(new Date(instant))} ${time(instant)}`;
  const minute = (instant) => time(instant).slice(0, 5);
  const many = (count, one, more) => `${number.format(count)} ${count === 1 ? one : more}`;
  const age = (seconds) => seconds < 120 ? `${number.format(Math.round(seconds))} s`
    : seconds < 7200 ? `${number.format(Math.round(seconds / 60))} min` : `${number.format(seconds / 3600)} h`;

  const element = (name, content, className) => {
    const made = document.createElement(name);
    made.append(...[content].flat());
    if (className) made.className = className;
    return made;
  };
  // A sentence with commands in backticks.
  const prose = (sentence) => sentence.split("`").map((part, place) => place % 2 ? element("code", part) : part);
  const failedCalls = (filter) => {
    const query = new URLSearchParams({...filter, ...(chosen.get("source") ? {source: chosen.get("source")} : {})});
    return `${box.dataset.failedUrl}?${query}`;
  };
  const link = (text, href, label) => {
    const made = element("a", text);
    made.href = href;
    if (label) made.setAttribute("aria-label", label);
    return made;
  };
  const shown = new Map();
  const changed = (name, figures) => {
    const now = JSON.stringify(figures);
    if (shown.get(name) === now) return false;
    shown.set(name, now);
    return true;
  };
  const setText = (target, text) => { if (target.textContent !== text) target.textContent = text; };

  const showSources = (sources) => {
    if (!changed("sources", sources)) return;
    at("source").replaceChildren(...["", ...sources].map((name) => {
      const option = element("option", name || "all");
      option.value = name;
      return option;
    }));
    at("source").value = chosen.get("source") ?? "";
  };

  const alertOf = (title, sentences, kind) => element("div", [element("strong", title), ...sentences.map((each) => element("p", each))],
    `alert alert-${kind} cdr-alert`);
  const QUIET = {reconciler: "what gets lost is not sent again", ingestor: "nothing is taken from its list"};
  const showAlerts = ({stops, pauses, quiet, as_of}) => {
    if (!changed("alerts", {stops, pauses, quiet: quiet.map((each) => [each.name, each.source])})) return;
    at("standing").replaceChildren(
      ...stops.map((stop) => alertOf(`The ingestor of ${stop.source} has stopped claiming: ${stop.reason}`,
        [prose(`Since ${dayAndTime(stop.since)}. ${stop.remedy}`),
          ...(stop.kind === "conflicts" ? [link(`the conflicts of ${stop.source}`, failedCalls({class: "conflict", source: stop.source}))]
            : stop.kind === "fuse" ? [link(`the bad records of ${stop.source}`, failedCalls({class: "data", source: stop.source}))] : [])], "danger")),
      ...quiet.map((each) => alertOf(
        `The ${each.name}${each.source ? ` of ${each.source}` : ""} gives no sign of life: ${QUIET[each.name]}`,
        [prose(`The last was at ${dayAndTime(Date.parse(as_of) - each.seconds * 1000)}, from ${each.who}. ` +
          "See that it runs, with `pipeline doctor` in its environment, unless it was taken down.")], "danger")),
      ...pauses.map((pause) => alertOf(`Recordings of ${pause.source} wait: ${pause.reason}`,
        [prose(`Since ${dayAndTime(pause.since)}. At ${time(pause.until)} one is tried to see whether the cause is gone` +
          `${pause.failed_probes ? `, which it was not ${many(pause.failed_probes, "time", "times")}` : ""}. ` +
          `${pause.remedy} Then \`pipeline recordings resume --source ${pause.source}\` tries all at once.`)],
        pause.kind === "throttled" ? "warning" : "danger")));
  };

  const showBatches = (batches, inAll) => {
    if (!changed("batches", batches)) return;
    const section = at("standing-batches");
    const sendAgain = at("send-again");
    section.hidden = batches.length === 0;
    const items = batches.map((batch) => {
      const item = element("li", element("p", [element("strong", `Batch ${batch.batch_id} of ${batch.source}`),
        `, of ${many(batch.records, "record", "records")}, stands at ${batch.step}. Sent again ` +
        `${many(batch.resends, "time", "times")}, next at ${time(batch.due_at)}.`]));
      item.append(batch.error
        ? element("p", [element("code", batch.error), " ", link(`the task of batch ${batch.batch_id} that failed`, batch.task_url)], "cdr-error")
        : element("p", "Flower has heard of no error of it: see in Workers whether anybody reads its queue.", "cdr-advice"));
      const acts = element("div", element("code", `pipeline batches send ${batch.batch_id}`), "cdr-acts");
      if (sendAgain) {
        const form = sendAgain.content.cloneNode(true).querySelector("form");
        form.action = form.dataset.action.replace("/0/", `/${batch.batch_id}/`);
        form.querySelector("button").setAttribute("aria-label", `Send again now: batch ${batch.batch_id}`);
        acts.prepend(form);
      }
      item.append(acts);
      return item;
    });
    if (inAll > batches.length) items.push(element("li", `and ${number.format(inAll - batches.length)} more`));
    section.querySelector("ol").replaceChildren(...items);
  };

  const showMoving = (figures) => {
    showSources(figures.sources);
    setText(at("as-of"), `As of ${dayAndTime(figures.as_of)}. Times are those of ${zone}.`);
    const end = Date.parse(figures.as_of), span = figures.received.length * figures.bucket_seconds * 1000;
    const times = [end - span, end - span / 2, end].map(minute);
    for (const kind of ["received", "finished"]) {
      const values = figures[kind];
      const now = values.slice(-4, -1).reduce((a, b) => a + b, 0) / 3;
      const says = `${number.format(now)} now, at most ${number.format(Math.max(...values))}`;
      setText(at(`${kind}-now`), says);
      cdrPlots.bars(at(kind), values, times, `Records ${kind} a second from ${times[0]} to ${times[2]}: ${says}`);
    }
    for (const row of document.querySelectorAll("#failures tr")) {
      const name = row.dataset.class, count = figures.failures[name];
      if (!changed(`failures ${name}`, count)) continue;
      row.cells[1].replaceChildren(count
        ? link(number.format(count), failedCalls({class: name}), `${number.format(count)}: show the failed calls of class ${name}`) : "0");
    }
    showAlerts(figures);
    showBatches(figures.standing, figures.standing_in_all);
  };

  const waited = [];
  const showWaiting = (figures) => {
    const steps = Object.fromEntries(figures.steps.map((each) => [each.step, each]));
    setText(at("waiting-now"), many(figures.waiting, "record", "records"));
    for (const row of document.querySelectorAll("#backlog tr")) {
      const each = steps[row.dataset.step] || {records: 0, batches: 0};
      setText(row.cells[1], number.format(each.records));
      setText(row.cells[2], number.format(each.batches));
      const late = each.batches && each.oldest_seconds > LATE_SECONDS;
      setText(row.cells[3], each.batches ? `${late ? "late: " : ""}${age(each.oldest_seconds)}` : "");
      row.cells[3].classList.toggle("cdr-late", Boolean(late));
    }
    if (waited.at(-1)?.as_of !== figures.as_of) waited.push(figures);
    if (waited.length > 300) waited.shift();
    const [from, to] = [time(waited[0].as_of), time(figures.as_of)];
    cdrPlots.line(at("waiting"), waited.map((each) => each.waiting), [from, "", to],
      `Records waiting from ${from} to ${to}: ${number.format(figures.waiting)} now`);
  };

  const showRecordings = (figures) => {
    const source = chosen.get("source");
    const queues = figures.recordings.filter((each) => !source || each.source === source);
    const states = {};
    for (const queue of queues) for (const [state, count] of Object.entries(queue.states)) states[state] = (states[state] ?? 0) + count;
    const all = Object.values(states).reduce((sum, count) => sum + count, 0);
    setText(at("recordings-as-of"), all ? `As of ${time(figures.as_of)}.` : "There are none yet.");
    if (changed("states", states)) at("recordings").replaceChildren(...Object.entries(states).map(([state, count]) => {
      const name = element("th", state);
      name.scope = "row";
      const bar = element("span", "", "cdr-bar");
      bar.style.width = `${100 * count / all}%`;
      const share = element("td", [bar, element("span", `${number.format(100 * count / all)} %`, "visually-hidden")], "cdr-share");
      return element("tr", [name, element("td", number.format(count), "cdr-number"), share]);
    }));
    if (!changed("files", queues.map(({source: of, differing, undeleted, verified}) => [of, differing, undeleted, verified]))) return;
    at("files").replaceChildren(...queues.flatMap((queue) => {
      const run = queue.verified;
      const when = run ? `${run.ended_at ? `last ended ${dayAndTime(run.ended_at)}` : `begun ${dayAndTime(run.began_at)}, not ended`}, by ${run.who}`
        : "never";
      const found = [element("p", [element("strong", queue.source), `: ${when}. `,
        ...(run && !queue.differing ? ["No file is known to differ."] : [])])];
      if (queue.differing) found.push(element("p", prose(`${many(queue.differing, "file differs", "files differ")}: ` +
        "`pipeline recordings list --differs` names them."), "cdr-late"));
      if (queue.undeleted) found.push(element("p", prose(`${many(queue.undeleted, "file", "files")} could not be deleted: ` +
        "`pipeline recordings list --undeleted` says why."), "cdr-late"));
      return found;
    }), ...(queues.length ? [] : [element("p", "There are none yet.")]));
  };

  const SPANS = {hour: 3600, day: 86400, week: 604800};
  const FILTERS = {quarantined: {step: "normalize", state: "open"}, failed: {state: "open"}, discarded: {state: "discarded"}};
  const showBalance = (sheet, window) => {
    const closes = at("closes");
    setText(closes, sheet.closes ? "It closes: every record is in exactly one place."
      : "It does not close: " + sheet.violations.map((each) => `${each.rule} (${number.format(each.count)})`).join("; ") +
        ". The command balance says which.");
    closes.className = sheet.closes ? "cdr-good" : "cdr-late";
    const since = SPANS[window] ? {since: new Date(Date.parse(sheet.as_of) - SPANS[window] * 1000).toISOString().slice(0, 16) + "Z"} : {};
    for (const row of document.querySelectorAll("#balance tr")) {
      const place = row.dataset.place, count = sheet[place].records;
      if (!changed(`balance ${place}`, [window, count])) continue;
      row.cells[1].replaceChildren(count && FILTERS[place]
        ? link(number.format(count), failedCalls({...FILTERS[place], ...since}), `${number.format(count)} ${place}: show the failed calls`)
        : count && place === "pending" ? link(number.format(count), "#waiting-title", `${number.format(count)} pending: what they wait for`)
          : number.format(count));
    }
    const charges = Object.entries(sheet.charged).map(([currency, amount]) => `${amount} ${currency}`);
    setText(at("charged"), charges.length ? `Charged: ${charges.join(", ")}` : "");
    setText(at("balance-as-of"), `As of ${time(sheet.as_of)}.`);
  };

  const showCompleteness = (figures) => {
    if (!changed("completeness", [figures.lines, figures.findings, figures.witnesses, figures.billed])) return;
    const billed = figures.billed.map((each) => element("p",
      `${many(each.calls, "call", "calls")} of the files of ${each.provider} never came.`, "alert alert-danger"));
    at("missing").replaceChildren(...billed, ...figures.findings.map((each) => element("p",
      `${many(each.calls, "call", "calls")} of ${each.campaign} (${each.source}) never came, since ${dayAndTime(each.since)}` +
      `${each.kind === "second consumer" ? ": a second consumer takes from the list" : ""}.`, "alert alert-danger")));
    at("completeness").replaceChildren(...figures.lines.map((line) => {
      const name = element("th", [line.campaign, " ", element("small", `${line.source}, level ${line.level}: ${line.sure}`)]);
      name.scope = "row";
      return element("tr", [name, ...["expected", "received", "late", "missing", "unknown"].map((place) => {
        const cell = element("td", number.format(line[place]), "cdr-number");
        cell.dataset.label = place;
        return cell;
      })]);
    }));
    at("witnesses").replaceChildren(...figures.witnesses.map((each) => element("p",
      `Level ${each.level} of ${each.source}: ${each.state}, ${each.says}.`, "cdr-advice")));
  };

  const weekday = new Intl.DateTimeFormat("en-GB", {timeZone: zone, weekday: "short", hour: "2-digit", minute: "2-digit"});
  const showTraffic = ({hours, attempts, answered, as_of}) => {
    const sum = (counts) => counts.reduce((a, b) => a + b, 0);
    const times = [hours[0], hours[Math.floor(hours.length / 2)], as_of].map((each) => weekday.format(new Date(each)));
    const span = `an hour from ${times[0]} to ${times[2]}`;
    const dialled = `${many(sum(attempts), "call", "calls")}, at most ${number.format(Math.max(...attempts))} an hour`;
    const rate = sum(attempts) ? `${number.format(100 * sum(answered) / sum(attempts))} % of all` : "there were no calls";
    setText(at("dialled-now"), dialled);
    setText(at("answered-now"), rate);
    cdrPlots.bars(at("dialled"), attempts, times, `Calls dialled ${span}: ${dialled}`);
    cdrPlots.line(at("answered"), attempts.map((calls, place) => calls ? 100 * answered[place] / calls : null), times,
      `Per cent of the calls that an agent talked in, ${span}: ${rate}`);
  };

  const say = (sentence) => {
    setText(at("problem"), sentence);
    at("problem").hidden = !sentence;
  };
  const ask = async (query) => {
    const asked = new URLSearchParams({...query, ...(chosen.get("source") ? {source: chosen.get("source")} : {})});
    const before = chosen.toString();
    const response = await fetch(`${location.origin}${box.dataset.figuresUrl}?${asked}`, {credentials: "same-origin", cache: "no-store"});
    if (!response.ok) throw new Error(response.status === 503 ? "The database does not answer. These figures are old; it is asked again."
      : response.status === 404 ? "Nothing is known of this dialler." : `Flower answers ${response.status}. These figures are old.`);
    const answer = await response.json();
    if (before !== chosen.toString()) throw null; // the answer to an older question
    return answer;
  };
  const turns = [];
  const wrong = new Map();
  const repeat = (seconds, work) => {
    const once = async () => {
      try {
        await work();
        wrong.delete(work);
      } catch (error) {
        if (error) wrong.set(work, error.message);
      }
      say([...new Set(wrong.values())].join(" "));
    };
    turns.push(once);
    const turn = async () => {
      if (!document.hidden) await once();
      setTimeout(turn, seconds * 1000);
    };
    turn();
  };

  const choose = (name, value) => {
    chosen.set(name, value);
    if (!value) chosen.delete(name);
    history.replaceState(null, "", chosen.size ? `?${chosen}` : location.pathname);
    waited.length = 0;
    shown.delete("files");
    turns.forEach((once) => once());
  };
  if (SPANS[chosen.get("balance")] || chosen.get("balance") === "all") at("window").value = chosen.get("balance");
  at("window").onchange = () => choose("balance", at("window").value);
  at("source").onchange = () => choose("source", at("source").value);
  repeat(2, async () => showMoving(await ask({})));
  repeat(2, async () => showWaiting(await ask({of: "waiting"})));
  repeat(10, async () => {
    const window = at("window").value;
    showBalance(await ask({balance: window}), window);
  });
  repeat(10, async () => showRecordings(await ask({of: "recordings"})));
  repeat(10, async () => showCompleteness(await ask({of: "completeness"})));
  repeat(30, async () => showTraffic(await ask({of: "traffic"})));
})();

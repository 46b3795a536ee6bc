// Shows what /v1/overview says, every two seconds. Nothing here changes anything; text goes in as text, never as markup.
"use strict";
(() => {
  const EVERY = 2000, PATIENCE = 8000, DAY = 86400;
  const at = (id) => document.getElementById(id);
  const rows = new Map();
  let plot = null, drawn = null, until = 0, last = null, timer = null;

  // Elements are touched only where they differ, so that a screen reader and a selection are left in peace.
  const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const make = (tag, words, kind) => {
    const element = document.createElement(tag);
    if (words !== undefined) element.textContent = words;
    if (kind) element.className = kind;
    return element;
  };

  const seconds = (value) => value === undefined || value === null ? "–"
    : value < 1 ? `${Math.round(value * 1000)} ms` : value < 10 ? `${value.toFixed(1)} s`
    : value < 120 ? `${Math.round(value)} s` : `${Math.round(value / 60)} min`;
  // Day and time as logs have them, whatever the browser's country.
  const date = (time) => new Date(time * 1000).toLocaleString("sv-SE");
  const clock = (time) => date(time).slice(11);
  const ago = (now, time) => {
    const past = Math.max(0, now - time);
    return past < 60 ? `${past} s ago` : past < 3600 ? `${Math.floor(past / 60)} min ago`
      : past < 2 * DAY ? `${Math.floor(past / 3600)} h ago` : `${Math.floor(past / DAY)} days ago`;
  };
  const count = (many, one, more) => `${many} ${many === 1 ? one : more}`;

  function state(master) {
    if (master.standing === "warm") return ["odd", "warm", "being enrolled: gets its canary alone"];
    if (master.standing === "draining") {
      return ["odd", "draining", master.in_flight ? "finishes what it has" : "has nothing more"];
    }
    if (master.seal === "unsealed") return ["bad", "out", "unsealed: whoever reaches it may be any node"];
    if (master.fit === "unfit") return ["bad", "unfit", master.why || ""];
    if (master.fit === "unknown") return ["odd", "unknown", "no health check has come back yet"];
    if (master.seats && master.seats.locked) return ["odd", "locked", "its JRubies are locked, as for a deploy"];
    return ["good", "fit", master.why || ""];
  }

  function seal(master) {
    if (master.kind === "open") return ["", "open", "agents' own TLS ends there"];
    const by = master.isolation === "firewall" ? "by firewall" : "by door CA";
    if (master.seal === "sealed") return ["good", "sealed", by];
    return [master.seal === "unsealed" ? "bad" : "odd", master.seal || "untested", master.seal_why || by];
  }

  function command(master) {
    const name = master.certname;
    if (master.standing === "admitted") return `stagedoor roster drain ${name}`;
    if (master.standing === "draining") {
      return master.in_flight ? `stagedoor roster undrain ${name}` : `stagedoor roster retire ${name}`;
    }
    return `stagedoor-enroller status ${name}`;
  }

  async function copy(words) {
    try {
      await navigator.clipboard.writeText(words);
      say(at("copied"), `Copied: ${words}`);
    } catch (_) {
      say(at("copied"), `This browser does not let the page copy. To type: ${words}`);
    }
  }

  // Shape first, words by `fill`: a row stays the same element for as long as its master is there.
  function row(certname) {
    const cells = {}, tr = make("tr"), head = make("th");
    head.scope = "row";
    head.append(certname, cells.address = make("small"));
    tr.append(head);
    const cell = (key, name, wide) => {
      const td = make("td", undefined, wide ? "wide" : "");
      td.dataset.name = name;
      td.append(cells[key] = make("span"), cells[`${key}_more`] = make("small"));
      tr.append(td);
    };
    cell("state", "State", false); cell("seal", "Seal", false); cell("seats", "JRubies", false);
    cell("in_flight", "In flight", false); cell("catalogs", "Catalogs, 10 min", false); cell("mean", "Mean", false);
    const td = make("td", undefined, "wide");
    td.dataset.name = "To change it";
    cells.command = make("code");
    cells.button = make("button", "Copy");
    cells.button.type = "button";
    cells.button.addEventListener("click", () => copy(cells.command.textContent));
    td.append(cells.command, " ", cells.button);
    tr.append(td);
    return { tr, cells };
  }

  function fill(cells, master) {
    const word = (key, [kind, text, more]) => {
      if (cells[key].className !== kind) cells[key].className = kind;
      say(cells[key], text);
      say(cells[`${key}_more`], more || "");
    };
    say(cells.address, master.address === `${master.certname}:8140` ? "" : master.address);
    word("state", state(master));
    word("seal", seal(master));
    const s = master.seats;
    const more = s ? [s.others ? `others have ${s.others}` : "", s.known === "assumed" ? "assumed" : ""] : [];
    word("seats", ["", s ? `${s.taken} of ${s.ours}` : "–", more.filter(Boolean).join(", ")]);
    word("in_flight", ["", String(master.in_flight), ""]);
    const all = master.catalogs ? master.catalogs.environments : [];
    const sum = (key) => all.reduce((total, one) => total + one[key], 0);
    const compiled = sum("compiled"), failed = sum("failed");
    const busy = all.slice(0, 3).map((one) => one.environment).join(", ");
    word("catalogs", ["", master.catalogs ? String(compiled) : "–",
      [failed ? `${failed} failed` : "", busy].filter(Boolean).join("; ")]);
    const took = all.reduce((total, one) => total + one.mean_ms * one.compiled, 0);
    word("mean", ["", compiled ? seconds(took / compiled / 1000) : "–", ""]);
    const words = command(master);
    say(cells.command, words);
    if (cells.button.getAttribute("aria-label") !== `Copy ${words}`) {
      cells.button.setAttribute("aria-label", `Copy ${words}`);
    }
  }

  function masters(view) {
    const body = at("masters").tBodies[0], seen = new Set();
    for (const master of view.masters) {
      seen.add(master.certname);
      if (!rows.has(master.certname)) rows.set(master.certname, row(master.certname));
      const { tr, cells } = rows.get(master.certname);
      fill(cells, master);
      if (body.rows[seen.size - 1] !== tr) body.insertBefore(tr, body.rows[seen.size - 1] || null);
    }
    for (const [name, { tr }] of rows) {
      if (!seen.has(name)) { tr.remove(); rows.delete(name); }
    }
    at("masters").hidden = view.masters.length === 0;
    at("masters-empty").hidden = view.masters.length !== 0;
    say(at("generation"), `(generation ${view.generation})`);
  }

  function trouble(view) {
    const words = view.ready.ready ? [] : [...view.ready.why];
    const admitted = view.masters.masters.filter((one) => one.standing === "admitted");
    const unsealed = admitted.filter((one) => one.seal === "unsealed");
    const unfit = admitted.filter((one) => one.seal !== "unsealed" && one.fit === "unfit");
    const names = (list) => list.map((one) => one.certname).join(", ");
    if (unsealed.length) words.push(`Unsealed, gets no request: ${names(unsealed)}`);
    if (unfit.length) words.push(`Unfit: ${names(unfit)}`);
    for (const one of view.expiry) {
      const days = Math.floor((one.at - view.now) / DAY);
      if (days < 7) words.push(`${ends(one)} ${days < 0 ? "has ended" : `ends in ${count(days, "day", "days")}`}`);
    }
    return words;
  }

  const ends = (one) => `${one.what.replaceAll("_", " ")} ${one.list ? "revocation list" : "certificate"}`;

  function now(view) {
    const seats = view.masters.masters.filter((one) => one.standing === "admitted" && one.seats).map((one) => one.seats);
    const sum = (key) => seats.reduce((total, one) => total + one[key], 0);
    const { compiled, failed, p50_seconds, p95_seconds } = view.compile.all;
    const rate = view.compile.per_second;
    say(at("ready"), view.ready.ready ? "yes" : "no");
    at("ready").className = view.ready.ready ? "good" : "bad";
    say(at("seats"), `${sum("taken")} of ${sum("ours")}`);
    const waits = view.queue.catalogs + view.queue.small;
    say(at("waiting"), waits ? `${waits}, ${seconds(view.queue.oldest_seconds)} at most` : "nobody");
    say(at("rate"), rate.toFixed(rate < 10 ? 2 : 0));
    say(at("p50"), seconds(p50_seconds));
    say(at("p95"), seconds(p95_seconds));
    say(at("connections"), String(view.connections));
    say(at("plot-words"), compiled + failed === 0 ? "No catalog was compiled within the last ten minutes."
      : `${count(compiled, "catalog", "catalogs")} compiled, ${failed || "none"} failed; half took no longer than ${seconds(p50_seconds)}, 95 of 100 no longer than ${seconds(p95_seconds)}, the wait for a JRuby included.`);
    say(at("about"), `version ${view.version}, started ${ago(view.now, view.started)}, seen ${clock(view.now)}`);
  }

  function list(id, items, none) {
    const words = JSON.stringify(items);
    const ul = at(id);
    if (ul.dataset.words === words) return;
    ul.dataset.words = words;
    ul.replaceChildren(...(items.length ? items.map(item) : [make("li", none, "empty")]));
  }

  function item({ kind, text, more, steps }) {
    const li = make("li");
    li.append(make("span", text, kind || ""));
    if (more) li.append(make("small", more));
    if (steps) {
      const ol = make("ol", undefined, "steps");
      ol.append(...steps.map((step) => make("li", step)));
      li.append(ol);
    }
    return li;
  }

  function enrollment(one, view) {
    const failed = one.steps.find((step) => step.state === "failed");
    const begun = one.steps.find((step) => step.state === "begun");
    const done = one.steps.filter((step) => step.state === "done").length;
    const all = done === one.steps.length;
    const where = failed ? `failed at ${failed.name}` : all ? "done" : `at ${begun ? begun.name : "rest"}`;
    return {
      kind: failed ? "bad" : all ? "good" : "odd",
      text: `${one.procedure} ${one.certname}: ${where}`,
      more: `${done} of ${count(one.steps.length, "step", "steps")}, told ${clock(one.at)} (${ago(view.now - view.now % 60, one.at)})`,
      steps: all ? null : one.steps.map((step) => `${step.name}: ${step.state}${step.why ? ` (${step.why})` : ""}`),
    };
  }

  function lists(view) {
    list("enrollments", view.enrollments.map((one) => enrollment(one, view)), "None was told to this door since it was started.");
    list("events", view.events.slice(0, 15).map((one) => ({
      kind: one.back ? "good" : "bad", text: `${one.master} ${one.back ? "is back" : "is out"}`, more: `${clock(one.at)}: ${one.why}`,
    })), "No master was put out since the door was started.");
    list("refusals", view.refusals.slice(0, 15).map((one) => ({
      text: `${one.reason.replaceAll("_", " ")} (${one.class})`,
      more: `${count(one.count, "time", "times")}, last ${clock(one.at)}`,
    })), "Nothing was refused since the door was started.");
    list("expiry", view.expiry.map((one) => {
      const days = Math.floor((one.at - view.now) / DAY);
      return {
        kind: days < 7 ? "bad" : days < 30 ? "odd" : "good",
        text: `${ends(one)}: ${days < 0 ? "over" : count(days, "day", "days")}`,
        more: date(one.at),
      };
    }), "Nothing that is known of ends.");
    list("roster", view.roster.slice(0, 15).map((one) => ({
      text: one.changes.join("; "), more: `generation ${one.generation}, ${clock(one.at)}`,
    })), "It did not change since the door was started.");
  }

  function draw(view) {
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const { slots, slot_seconds } = view.compile;
    const begin = view.now - (slots.length - 1) * slot_seconds;
    until = view.now;
    const data = [
      slots.map((_, i) => begin + i * slot_seconds),
      slots.map((slot) => slot.p95_seconds ?? null),
      slots.map((slot) => slot.p50_seconds ?? null),
      slots.map((slot) => slot.compiled / slot_seconds),
    ];
    const dark = colour("--back"), width = at("plot").clientWidth;
    if (plot && drawn === dark) {
      plot.setData(data);
      if (plot.width !== width) plot.setSize({ width, height: 240 });
      return;
    }
    if (plot) plot.destroy();
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
    const took = (_, value) => seconds(value);
    plot = new uPlot({
      width, height: 240, cursor: { y: false },
      scales: {
        // Ten minutes, also where the door has not been there for so long.
        x: { range: () => [until - 600, until] },
        y: { range: (_, __, most) => [0, Math.max(1, (most || 0) * 1.1)] },
        rate: { range: (_, __, most) => [0, Math.max(1, (most || 0) * 2)] },
      },
      axes: [
        { ...axis, values: (_, all) => all.map((time) => clock(time).slice(0, 5)), incrs: [60, 120, 300] },
        { ...axis, size: 60, values: (_, all) => all.map((value) => seconds(value)) },
        { ...axis, scale: "rate", side: 1, size: 60, grid: { show: false }, values: (_, all) => all.map((value) => `${value}/s`) },
      ],
      series: [
        { value: (_, time) => time === null ? "–" : clock(time) },
        { label: "95 of 100 within", stroke: colour("--second"), width: 2, spanGaps: true, value: took, points: { size: 5 } },
        { label: "half within", stroke: colour("--first"), width: 2, spanGaps: true, value: took, dash: [6, 3], points: { size: 5 } },
        { label: "catalogs per second", scale: "rate", stroke: colour("--third"), width: 1, fill: `${colour("--third")}22`, points: { show: false }, value: (_, rate) => rate === null ? "–" : rate.toFixed(2) },
      ],
    }, data, at("plot"));
    drawn = dark;
  }

  function show(view) {
    now(view);
    masters(view.masters);
    lists(view);
    draw(view);
    tell(trouble(view));
    document.body.classList.remove("old");
    document.body.dataset.seen = String(view.now);
  }

  function tell(words) {
    const box = at("trouble");
    say(box, words.join(". "));
    box.hidden = words.length === 0;
    document.title = words.length ? `(${words.length}) stagedoor` : "stagedoor";
  }

  async function look() {
    clearTimeout(timer);
    try {
      const answer = await fetch("/v1/overview", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
      if (!answer.ok) throw new Error(`the door answered ${answer.status}`);
      last = await answer.json();
      show(last);
    } catch (error) {
      const since = last ? `; what is shown is from ${clock(last.now)}` : "";
      document.body.classList.add("old");
      tell([`The door does not answer (${error.message})${since}. Asked again every few seconds`]);
    }
    // Nobody looks at a tab that is hidden.
    if (!document.hidden) timer = setTimeout(look, EVERY);
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  window.addEventListener("resize", () => { if (last) draw(last); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (last) draw(last); });
  look();
})();

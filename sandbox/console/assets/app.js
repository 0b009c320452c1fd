// The console's page. It draws what the management API tells (docs/sandbox.md) and holds no state of its own but which rows are open.

const $ = (id) => document.getElementById(id);

// el makes an element: el("p", {class: "x"}, "text", child). Text is never read as HTML.
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

const ms = (n) => (n >= 1000 ? `${(n / 1000).toFixed(2)} s` : n >= 10 ? `${n.toFixed(0)} ms` : `${n.toFixed(1)} ms`);
const clock = (t) => new Date(t).toLocaleTimeString([], { hour12: false });

let saidTimer;
function say(text) {
  $("said").textContent = text;
  clearTimeout(saidTimer);
  saidTimer = setTimeout(() => ($("said").textContent = ""), 6000);
}

async function call(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(text.trim() || `${response.status} ${response.statusText}`);
  return text ? JSON.parse(text) : null;
}

// act does something and says so in a sentence: done when it was done, undone before the reason when not.
async function act(done, undone, method, path, body) {
  let answer = null;
  try {
    answer = await call(method, path, body);
    say(answer && answer.status >= 400 ? `${done}: the answer is ${answer.status}.` : `${done}.`);
  } catch (error) {
    say(`${undone}: ${error.message}`);
    answer = { failed: error.message };
  }
  await drawOverview();
  return answer;
}

// ---- invocations

const rows = new Map(); // id -> {run, button, detail, group}
const groups = new Map(); // deliveries of one message, attempts of one run -> {item, runs}

function outcomeOf(inv) {
  if (inv.outcome === "running") return ["running", ""];
  const bad = ["failed", "refused"].includes(inv.outcome) || inv.status >= 400;
  return [inv.status ? String(inv.status) : inv.outcome, bad ? "bad" : "good"];
}

function groupOf(inv, atTop) {
  const key = inv.group || inv.id;
  let group = groups.get(key);
  if (!group) {
    const title = el("p", { class: "turns", hidden: true });
    group = { item: el("li", { class: "new" }, title), title, size: 0 };
    groups.set(key, group);
    if (!atTop) $("list").append(group.item);
  }
  if (atTop) $("list").prepend(group.item); // its newest run is the newest of all
  return group;
}

function drawInvocation(inv, atTop) {
  let row = rows.get(inv.id);
  if (!row) {
    const detail = el("div", { class: "detail", id: `detail-${inv.id}`, hidden: true });
    const button = el("button", {
      class: "summary", type: "button", "aria-expanded": "false", "aria-controls": detail.id,
      onclick: () => toggle(inv.id),
    });
    const run = el("div", { class: "run" }, button, detail);
    const group = groupOf(inv, atTop);
    row = { run, button, detail, group, open: false };
    rows.set(inv.id, row);
    if (atTop) group.title.after(run);
    else group.item.append(run);
    group.size++;
    group.title.hidden = group.size < 2;
    group.title.textContent = `${inv.function}: ${group.size} ${inv.trigger === "queue" ? "deliveries of one message" : "attempts of one run"}`;
  }
  row.inv = inv;
  const [text, tone] = outcomeOf(inv);
  const request = [inv.turn, inv.request || inv.trigger].filter(Boolean).join(" · ");
  row.button.replaceChildren(...[
    el("span", { "aria-hidden": "true" }, row.open ? "▾" : "▸"),
    el("span", { class: "name", title: inv.function }, inv.function || "no function"),
    el("span", { class: "request", title: request }, request),
    el("span", { class: `outcome ${tone}` }, text),
    el("span", { class: "time" }, `${clock(inv.started)} · ${inv.outcome === "running" ? "…" : inv.outcome === "refused" ? "at once" : ms(inv.duration_ms)}`),
    inv.cause && el("span", { class: "cause" }, inv.cause),
  ].filter(Boolean));
  if (row.open) drawDetail(row);
  filter();
}

// ---- filters

function fits(inv) {
  const [, tone] = outcomeOf(inv);
  const outcome = $("filter-outcome").value;
  const text = $("filter-text").value.trim().toLowerCase();
  return !($("hide-ticks").checked && inv.tick) &&
    (!$("filter-function").value || inv.function === $("filter-function").value) &&
    (!outcome || (outcome === "well" ? tone === "good" : outcome === "wrong" ? tone === "bad" : inv.outcome === outcome)) &&
    [inv.function, inv.request, inv.turn, inv.cause, inv.id, inv.trace_id, inv.outcome, String(inv.status || "")].some((t) => (t || "").toLowerCase().includes(text));
}

function filter() {
  let shown = 0;
  for (const group of groups.values()) group.item.hidden = true;
  for (const row of rows.values()) {
    row.run.hidden = !fits(row.inv);
    if (row.run.hidden) continue;
    shown++;
    row.group.item.hidden = false;
  }
  $("count").textContent = shown === rows.size ? `${shown}` : `${shown} of ${rows.size}`;
  $("empty").hidden = shown > 0;
  $("empty").textContent = rows.size ? "None fits the filters." : nothing;
}

const nothing = $("empty").textContent;
for (const id of ["filter-function", "filter-outcome", "filter-text", "hide-ticks"]) $(id).addEventListener("input", filter);

function toggle(id) {
  const row = rows.get(id);
  row.open = !row.open;
  row.detail.hidden = !row.open;
  row.button.setAttribute("aria-expanded", String(row.open));
  drawInvocation(row.inv);
}

function facts(pairs) {
  const list = el("dl");
  for (const [name, value] of pairs) {
    if (value === undefined || value === null || value === "") continue;
    list.append(el("dt", {}, name), el("dd", {}, value));
  }
  return list;
}

function drawDetail(row) {
  const inv = row.inv;
  const parts = [waterfall(inv)];
  parts.push(el("h3", {}, "Trigger"), facts([
    ["Fired by", inv.request], ["Turn", inv.turn], ["Kind", [inv.trigger, inv.way].filter(Boolean).join(", ")], ["Invocation", el("code", {}, inv.id)],
    ["Trace", inv.trace_id && el("code", {}, inv.trace_id)],
    ["Fault", inv.faults && el("span", { class: "bad" }, inv.faults.join(", "))],
  ]));
  if (inv.outcome === "refused") {
    row.detail.replaceChildren(el("h3", {}, "Refused by the host"), facts([["Asked", inv.request], ["Status", `${inv.status}, without a body, as the real host answers`], ["Reason", inv.cause]]));
    return;
  }
  parts.push(el("h3", {}, "Token"), inv.token && inv.token.unread ? el("p", { class: "soft" }, `Sent, ${inv.token.source}; a real gateway tells nothing of it.`) : inv.token ? tokenFacts(inv.token) : el("p", { class: "soft" }, "No token reached the gateway."));
  inv.calls.forEach((c, n) => parts.push(...gatewayCall(c, n, inv.calls.length)));
  if (!inv.calls.length && inv.outcome !== "running") parts.push(el("h3", {}, "Gateway"), el("p", { class: "soft" }, "Not called."));
  parts.push(el("h3", {}, "Answer"), facts([
    ["Outcome", inv.outcome], ["Status", inv.status ? String(inv.status) : ""], ["Cause", inv.cause], ["Took", inv.outcome === "running" ? "" : ms(inv.duration_ms)],
  ]));
  if (inv.outputs && inv.outputs.length) {
    parts.push(el("h3", {}, "Put out"), facts(inv.outputs.map((o) => [`${o.binding}, ${o.kind} ${o.target}`,
      el("code", {}, o.text + (o.bytes > new TextEncoder().encode(o.text).length ? ` … (${o.bytes} bytes)` : ""))])));
  }
  if (inv.log.length) {
    parts.push(el("h3", {}, "Host's log"), el("table", { class: "log" }, el("tbody", {}, ...inv.log.map((l) =>
      el("tr", {}, el("td", { class: "time" }, clock(l.time)), el("td", { class: l.level === "Error" ? "bad" : "soft" }, l.level), el("td", { class: "mono" }, l.text))))));
  }
  row.detail.replaceChildren(...parts);
}

function tokenFacts(t) {
  const roles = t.roles && t.roles.length ? t.roles.join(", ") : el("span", { class: "bad" }, "none");
  return facts([
    ["From", t.source], ["Identity", [t.name, t.caller].filter(Boolean).join(" · ")], ["Audience", t.aud], ["Issuer", t.iss], ["Version", t.ver],
    ["Roles", roles], ["Scopes", t.scp], ["Valid", t.expires && `${clock(t.issued)} to ${new Date(t.expires).toLocaleString([], { hour12: false })}`],
    ["Hash", el("code", {}, t.hash)],
  ]);
}

function gatewayCall(c, n, of) {
  const parts = [el("h3", {}, of > 1 ? `Gateway, call ${n + 1} of ${of}` : "Gateway"), facts([
    ["Call", el("code", {}, `${c.method} ${c.path}`)], ["Operation", c.operation], ["Key", c.key && el("span", { class: c.key_ok ? "" : "bad" }, c.key)],
    ["Fault", c.fault && el("span", { class: "bad" }, c.fault)],
  ])];
  if (c.rules && c.rules.length) {
    parts.push(el("h3", {}, "Policy, rule by rule"), el("table", { class: "rules" },
      el("thead", {}, el("tr", {}, ...["Result", "Rule", "Where", "Why"].map((h) => el("th", { scope: "col" }, h)))),
      el("tbody", {}, ...c.rules.map((r) => el("tr", { class: r.result.replace(" ", "-") },
        el("td", {}, r.result), el("td", {}, [r.statement, r.check].filter(Boolean).join(": ")),
        el("td", { class: "where mono soft", title: r.file }, r.line ? `${r.file.split(/[\\/]/).pop()}:${r.line}` : "built in"),
        el("td", {}, r.why || "", ...got(r), ...(r.fixes || []).map((f) => el("div", {}, `→ ${f}`))))))));
  }
  if (c.backend) {
    parts.push(el("h3", {}, "Backend"), facts([
      ["Call", el("code", {}, `${c.backend.method} ${c.backend.url}`)], ["Answer", c.backend.status ? String(c.backend.status) : ""], ["Failed", c.backend.error],
      ["Took", ms(c.backend.duration_ms)],
    ]));
  }
  parts.push(facts([["Gateway's answer", c.status ? `${c.status}, ${c.bytes} bytes, after ${ms(c.duration_ms)}` : "none"], ["Says", c.message]]));
  return parts;
}

function got(r) {
  if (!r.want && !r.got) return [];
  return [el("div", { class: "soft" }, [r.want && `want ${r.want}`, r.got && `got ${r.got}`].filter(Boolean).join(", "))];
}

function waterfall(inv) {
  const total = Math.max(inv.duration_ms, ...inv.spans.map((s) => s.start_ms + s.duration_ms), 0.001);
  return el("table", { class: "waterfall" },
    el("caption", {}, "Where the time went"),
    el("tbody", {}, ...inv.spans.map((s) => {
      const bar = el("i", { class: `${s.kind}${s.bad ? " broken" : ""}` });
      bar.style.left = `${Math.min(99, (100 * s.start_ms) / total)}%`;
      bar.style.width = `${Math.min(100, (100 * s.duration_ms) / total)}%`;
      return el("tr", {}, el("th", { scope: "row" }, s.name), el("td", { class: "track", title: s.note }, el("div", { "aria-hidden": "true" }, bar)),
        el("td", { class: `took${s.bad ? " bad" : ""}` }, ms(s.duration_ms)), el("td", { class: "note soft" }, s.note || ""));
    })));
}

let arrived = null; // invocations that came while the list was on its way, which it may not hold

async function drawAll() {
  const since = (arrived = []);
  const list = await call("GET", "/invocations").catch((error) => {
    if (arrived === since) arrived = null;
    throw error;
  });
  if (arrived !== since) return; // a later call draws
  arrived = null;
  rows.clear();
  groups.clear();
  $("list").replaceChildren();
  filter();
  for (const inv of list) drawInvocation(inv, false);
  for (const inv of since) drawInvocation(inv, true);
}

// ---- what can be done

let overview = { functions: [], stand_ins: [], people: [] };
let drawn = "";
let asked = 0;
let shown = 0;

async function drawOverview() {
  const n = ++asked;
  const answer = await call("GET", "/overview");
  if (n < shown) return; // overtaken by a later one, which knows more
  shown = n;
  overview = answer;
  const text = JSON.stringify(overview);
  if (text === drawn) return;
  drawn = text;
  const focus = document.activeElement && document.activeElement.id;
  $("where").textContent = overview.where;
  if (!$("fire").childElementCount) {
    drawFire();
    $("filter-function").append(...overview.functions.map((f) => el("option", {}, f.name)));
  }
  drawOutputs().catch((error) => say(error.message));
  drawFaults();
  drawPeople();
  if (focus && $(focus)) $(focus).focus();
}

function field(label, input) {
  return el("label", { class: "field" }, label, input);
}

function drawFire() {
  $("fire").replaceChildren(...overview.functions.map((f) => {
    const http = f.trigger === "http";
    const method = el("select", { name: "method", "aria-label": `Method for ${f.name}` }, ...(f.methods || []).map((m) => el("option", {}, m)));
    const path = el("input", { type: "text", name: "path", value: f.path || "", "aria-label": `Path for ${f.name}` });
    const header = el("textarea", { name: "header", id: `header-${f.name}`, rows: 2, placeholder: "Content-Type: application/json" });
    const body = el("textarea", { name: "body", id: `body-${f.name}`, rows: 3 });
    const input = el("textarea", { name: "input", rows: 2, "aria-label": `Input for ${f.name}` });
    input.value = f.sample || "";
    const answer = el("div", { class: "answer", id: `answer-${f.name}`, role: "status" });
    const verb = http ? "Send" : f.trigger === "timer" ? "Fire now" : "Send event";
    return el("form", {
      onsubmit: async (event) => {
        event.preventDefault();
        const request = http ? { method: method.value, path: path.value } : { input: input.value };
        if (http && header.value.trim()) {
          request.header = headersOf(header.value);
          if (!request.header) return say("Could not send: a header is not of the form Name: value.");
        }
        if (http && body.value) request.body = body.value;
        answer.replaceChildren();
        drawAnswer(answer, await act(`${f.name} was fired`, `Could not fire ${f.name}`, "POST", `/functions/${encodeURIComponent(f.name)}`, request), http);
      },
    },
      el("div", {}, el("span", { class: "name" }, f.name), " ", el("span", { class: "soft" }, f.detail || f.trigger)),
      el("div", { class: "row" }, http ? method : null, http ? el("span", { class: "grow" }, path) : null, http || f.trigger === "timer" ? null : input,
        el("button", { id: `fire-${f.name}`, "aria-label": `${verb}: ${f.name}` }, verb)),
      http ? el("details", {}, el("summary", {}, "Headers and body", el("span", { class: "unseen" }, ` of ${f.name}`)),
        field("Headers, one a line", header), field("Body", body)) : null,
      answer);
  }));
}

// headersOf reads lines of "Name: value"; null where one is not.
function headersOf(text) {
  const header = {};
  for (const line of text.split("\n").filter((l) => l.trim())) {
    const colon = line.indexOf(":");
    if (colon < 1) return null;
    header[line.slice(0, colon).trim()] = line.slice(colon + 1).trim();
  }
  return header;
}

function drawAnswer(box, answer, http) {
  if (!answer) return;
  if (answer.failed) return box.replaceChildren(el("p", { class: "bad" }, answer.failed));
  if (!http) return box.replaceChildren(el("p", { class: "soft" }, "It runs: the list of invocations shows what comes of it."));
  const header = Object.entries(answer.header || {}).flatMap(([name, values]) => values.map((v) => `${name}: ${v}`)).sort();
  const bytes = new TextEncoder().encode(answer.body || "");
  const kibibyte = new TextDecoder().decode(bytes.slice(0, 1024));
  box.replaceChildren(
    el("p", { class: answer.status >= 400 ? "bad" : "good" }, `Answer: ${answer.status}`),
    el("pre", { class: "mono header", tabindex: "0", role: "group", "aria-label": "Headers of the answer" }, header.join("\n")),
    answer.body ? el("pre", { class: "mono body", tabindex: "0", role: "group", "aria-label": "Body of the answer" }, kibibyte) : el("p", { class: "soft" }, "The body is empty."),
    ...(bytes.length > 1024 ? [el("p", { class: "soft" }, "That was the first KiB.")] : []));
}

// ---- what functions put out

let outputs = 0;

async function drawOutputs() {
  if ((overview.outputs || 0) === outputs) return;
  outputs = overview.outputs || 0;
  const list = outputs ? await call("GET", "/host/outputs") : [];
  $("no-outputs").hidden = list.length > 0;
  $("outputs").replaceChildren(...list.reverse().slice(0, 50).map((m) => el("li", {},
    el("div", {}, el("span", { class: "name" }, m.target), " ", el("span", { class: m.target.endsWith("-poison") ? "bad" : "soft" }, m.target.endsWith("-poison") ? "poison queue" : m.kind)),
    el("div", { class: "soft" }, `${clock(m.time)} · from ${m.function}`),
    el("pre", { class: "mono", tabindex: "0", role: "group", "aria-label": `Message in ${m.target}` }, m.body.slice(0, 1024)))));
}

function drawFaults() {
  const chosen = {}; // what is chosen stays when the buttons are drawn anew
  for (const select of document.querySelectorAll("#faults select")) chosen[select.id] = select.value;
  const choice = (id, label, empty, options) => {
    const select = el("select", { id, "aria-label": label }, el("option", { value: "" }, empty), ...options.map((o) => el("option", {}, o)));
    if (options.includes(chosen[id])) select.value = chosen[id];
    return select;
  };
  $("faults").replaceChildren(...overview.stand_ins.map((s) => el("div", {},
    el("h3", {}, s.name),
    s.places || s.name === "host" ? el("div", { class: "row where" },
      s.places && choice(`place-${s.name}`, `Where the next fault of ${s.name} works`, "where it usually works", s.places),
      s.name === "host" && choice("fault-function", "Function that the next fault of host is for", "every function", overview.functions.map((f) => f.name))) : null,
    el("ul", { class: "faults" }, ...s.faults.map((name) => {
      const on = s.on.find((f) => f.name === name);
      const help = (s.help || {})[name];
      return el("li", {}, el("button", {
        type: "button", id: `fault-${s.name}-${name}`, "aria-pressed": String(Boolean(on)), title: on && describe(on), "aria-label": `${name.replaceAll("-", " ")} of ${s.name}`,
        "aria-describedby": help ? `help-${s.name}-${name}` : null, onclick: () => flip(s.name, name, on),
      }, name.replaceAll("-", " ")), help ? el("span", { class: "soft", id: `help-${s.name}-${name}` }, help) : null);
    })))));
}

function describe(f) {
  return [f.status && `status ${f.status}`, f.delay_ms && `${f.delay_ms} ms`, f.retry_after && `Retry-After ${f.retry_after}`, f.times && `${f.times} times`,
    f.on && `at ${f.on}`, f.function && `for ${f.function}`].filter(Boolean).join(", ");
}

// What each fault takes of the fields; what is not here takes nothing.
const timed = ["latency", "clock-skew", "short-life", "missed-tick"];
const lasting = { gateway: ["stale-metadata", "clock-skew"], host: ["clock-skew"] }; // without "times"
const placeless = ["clock-skew", "missed-tick"]; // of host

function flip(standIn, name, on) {
  if (on) return act(`The fault ${name} of ${standIn} is off`, `The fault ${name} of ${standIn} could not be switched off`, "DELETE", `/faults/${standIn}?name=${encodeURIComponent(name)}`);
  const fault = { name, times: (lasting[standIn] || []).includes(name) ? 0 : Number($("times").value) || 0 };
  if (timed.includes(name)) fault.delay_ms = Number($("delay").value) || 0;
  if (name === "status") Object.assign(fault, { status: Number($("status").value) || 0, retry_after: $("retry").value });
  const place = $(`place-${standIn}`);
  if (place && place.value && !(standIn === "host" && placeless.includes(name))) fault.on = place.value;
  if (standIn === "host" && name !== "clock-skew" && $("fault-function").value) fault.function = $("fault-function").value;
  return act(`The fault ${name} of ${standIn} is on`, `The fault ${name} of ${standIn} could not be switched on`, "POST", `/faults/${standIn}`, fault);
}

function drawPeople() {
  $("people").replaceChildren(el("table", {}, el("tbody", {}, ...overview.people.map((p) => el("tr", {},
    el("td", {}, p.name, el("div", { class: "soft" }, p.unattached ? `${p.kind}, not attached` : p.kind)),
    el("td", {}, el("div", { class: "row" }, ...overview.roles.map((role) => {
      const has = ((p.roles || {}).api || []).includes(role);
      return el("button", {
        type: "button", id: `role-${p.name.replaceAll(" ", "-")}-${role}`, "aria-pressed": String(has), "aria-label": `${role} for ${p.name}`,
        onclick: () => act(`${role} was ${has ? "taken from" : "given to"} ${p.name}; tokens already minted keep what they say`, `${role} of ${p.name} could not be changed`, "POST", "/identity/roles",
          { client_id: p.kind === "developer" ? "developer" : p.client_id, resource: overview.resource, [has ? "revoke" : "grant"]: [role] }),
      }, role);
    }))))))));
  $("actions").replaceChildren(...overview.actions.map((a) => el("button", { type: "button", id: `action-${a.id}`, title: a.help, onclick: () => act(`Done: ${a.label}`, `Could not be done: ${a.label}`, "POST", a.path) }, a.label)));
}

$("reset").addEventListener("click", async () => {
  await act("Invocations, faults and caches are cleared", "Could not clear everything", "POST", "/reset");
  await drawAll();
});

// ---- live

function listen() {
  const source = new EventSource("/events");
  source.addEventListener("invocation", (event) => {
    const inv = JSON.parse(event.data);
    if (arrived) arrived.push(inv);
    drawInvocation(inv, true);
  });
  source.addEventListener("state", () => drawOverview().catch((error) => say(error.message)));
  source.onopen = async () => {
    $("connection").textContent = "live";
    $("connection").className = "live";
    await Promise.all([drawAll(), drawOverview()]).catch((error) => say(error.message));
  };
  source.onerror = () => {
    $("connection").textContent = "lost, trying again";
    $("connection").className = "lost";
  };
}

listen();

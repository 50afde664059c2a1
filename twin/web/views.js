// The views: each builds its nodes once and gives functions that bring them up to date.

import { ask, repeat, stream } from "./api.js";
import { bars, line } from "./chart.js";
import { TYPES, clock, colour, deviceLink, el, fill, number, seconds, sensorLink, short, table } from "./dom.js";
import { Field, Sensors, describe } from "./field.js";

const SPAN_MS = 60_000;

function tile(name) {
  const [value, note] = [el("b", {}, "–"), el("small", {}, " ")];
  const node = el("div", { class: "tile" }, el("h3", {}, name), value, note);
  return { node, set(text, under, kind = "") { value.textContent = text; value.className = kind; note.textContent = under; } };
}

const percent = (ratio) => `${number(ratio * 100, ratio < 0.1 ? 1 : 0)} %`;
const dot = (type) => el("span", { class: "dot", style: null, "data-type": TYPES.indexOf(type) });

/** Gives the dots of types their colours; the page's policy allows no style in markup. */
function paint(node) {
  for (const one of node.querySelectorAll("[data-type]")) one.style.background = colour(`t${one.dataset.type}`);
}

/** As much time as there is something to show of, in round steps. */
function span(points) {
  const length = points.length === 0 ? 0 : points.at(-1)[0] - points[0][0];
  return [10_000, 20_000, 40_000].find((ms) => ms >= length) ?? SPAN_MS;
}

function crossingsTable(crossings) {
  return table(
    ["time", "device", "sensor", "type", "direction", ["smoothed", "n"]],
    crossings.map((one) => [
      clock(one.sent_unix_ms), deviceLink(one.device), sensorLink(one.device, one.sensor), [dot(one.type), one.type],
      el("span", { class: one.direction === "up" ? "bad" : "low" }, one.direction === "up" ? "above" : "below"),
      `${number(one.smoothed, 2)} ${one.unit}`,
    ]),
    "nothing has crossed a threshold",
  );
}

function commandsTable(commands) {
  return table(
    ["time", ["no.", "n"], "device", "actuator", ["asked", "n"], "state", ["holds", "n"], ["took", "n"]],
    commands.map((one) => [
      clock(one.asked_unix_ms), number(one.id), deviceLink(one.device), String(one.sensor), number(one.value, 2),
      el("span", { class: one.state === "acknowledged" ? "good" : one.state === "sent" ? "dim" : "bad" }, one.state.replaceAll("_", " ")),
      number(one.holds, 2), one.took_ms === null ? "–" : seconds(one.took_ms / 1000),
    ]),
    "no command was given from here",
  );
}

/** The plant at a glance. */
export function overview(main) {
  const names = ["Records", "Sensors", "Sessions", "Tick", "Oldest value", "Twin health", "Residual", "Shed and lost"];
  const tiles = names.map(tile);
  const strip = el("canvas", { class: "strip", role: "img", "aria-label": "Records applied a second over the last minute" });
  const types = el("div", {});
  const crossings = el("div", {});
  const history = [];
  fill(main,
    el("div", { class: "tiles" }, tiles.map((one) => one.node)),
    el("div", { class: "grid" },
      el("section", { class: "panel wide" }, el("h2", {}, "Records applied a second"), strip),
      el("section", { class: "panel" }, el("h2", {}, "Sensor types"), types),
      el("section", { class: "panel" }, el("h2", {}, "Latest crossings"), crossings)));
  return {
    glance({ overview: o, aggregates, crossings: latest }) {
      const [records, sensors, sessions, tick, oldest, health, residual, lost] = tiles;
      const applied = o.tiers.reduce((sum, one) => sum + one.applied_hz, 0);
      const sum = (name) => o.tiers.reduce((total, one) => total + one.totals[name], 0);
      records.set(`${short(applied)}/s`, `${short(sum("applied"))} applied`);
      sensors.set(number(o.sensors), `${number(o.devices)} devices, ${number(o.actuators)} actuators`);
      sessions.set(number(o.sessions), `${short(o.datagrams_hz)} packets/s`);
      const slow = o.tick.hz < o.tick.planned_hz * 0.95;
      tick.set(`${number(o.tick.hz)} Hz`, `${number(o.tick.p50_us, 1)} µs p50, ${number(o.tick.overruns)} overruns`, slow ? "warn" : "");
      oldest.set(seconds(o.worst_age_s), `${seconds(o.age_p50_s)} in the middle`, o.worst_age_s > 5 ? "warn" : "");
      health.set(percent(o.odte_ratio), "timely × applied × available", o.odte_ratio < 0.9 ? "warn" : "good");
      residual.set(number(o.residual), "records without an outcome", Math.abs(o.residual) > applied ? "bad" : "");
      lost.set(short(sum("shed") + sum("lost")), `${short(sum("rejected"))} rejected`, sum("shed") > 0 ? "warn" : "");
      if (history.at(-1)?.[1] !== applied || o.at_unix_ms - history.at(-1)[0] > 1000) history.push([o.at_unix_ms, applied]);
      while (history[0][0] < o.at_unix_ms - SPAN_MS * 1.1) history.shift();
      line(strip, { series: [{ points: history, colour: colour("accent"), width: 2 }], now: o.at_unix_ms, span: span(history) });
      fill(types, table(
        ["type", ["sensors", "n"], ["mean", "n"], ["least", "n"], ["greatest", "n"], ["crossings", "n"]],
        aggregates.filter((one) => one.count > 0).map((one) => [
          [dot(one.type), one.type], number(one.count), `${number(one.mean, 2)} ${one.unit}`, number(one.min, 2), number(one.max, 2),
          short(one.crossings_up + one.crossings_down),
        ]), "no sensor has reported yet"));
      fill(crossings, crossingsTable(latest.slice(0, 8)));
      paint(main);
    },
  };
}

/** All sensors at once. */
export function field(main) {
  const sensors = new Sensors();
  const canvas = el("canvas", { id: "field", tabindex: 0, role: "img", "aria-label": "Field of all sensors; use the arrow keys" });
  const tip = el("p", { class: "tip", role: "status" }, "Point at a cell; click to open it. Wheel or + and - zoom.");
  const rate = el("span", { class: "dim" }, "");
  const mode = el("select", { id: "mode", change: () => { drawing.mode = mode.value; drawing.dirty = true; } },
    [["value", "value"], ["level", "state"], ["type", "type"], ["age", "age"]].map(([value, text]) => el("option", { value }, text)));
  fill(main, el("div", { class: "bar" }, el("label", { for: "mode" }, "Coloured by"), mode, rate), canvas, tip);
  const drawing = new Field(canvas, sensors, {
    point: (sensor) => { tip.textContent = sensor === null ? " " : describe(sensors, sensor); },
    async open(sensor) {
      const { items } = await ask(`/sensors?after=${sensor}&limit=1`);
      if (items.length > 0) location.hash = `#/devices/${items[0].device}/${items[0].sensor}`;
    },
  });
  let by = null;
  const close = stream("field", {
    message: (data) => { sensors.apply(data); drawing.dirty = true; if (drawing.cursor !== null) drawing.point(drawing.cursor); },
    state: (state, link) => { by = link; if (state === "lost") rate.textContent = "the stream is lost; trying again"; },
  });
  let frame = requestAnimationFrame(function draw() {
    drawing.draw();
    frame = requestAnimationFrame(draw);
  });
  let [frames, bytes, drawn] = [0, 0, 0];
  const second = setInterval(() => {
    rate.textContent = `${number(sensors.count)} sensors, ${sensors.frames - frames} frames/s, ${drawing.drawn - drawn} drawn/s, ${number((sensors.bytes - bytes) / 1024)} KiB/s by ${by ?? "nothing"}`;
    [frames, bytes, drawn] = [sensors.frames, sensors.bytes, drawing.drawn];
    drawing.dirty = true;
  }, 1000);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const recolour = () => drawing.colours();
  scheme.addEventListener("change", recolour);
  return {
    glance: ({ aggregates }) => drawing.range(aggregates),
    key: (event) => drawing.key(event),
    leave() {
      close();
      clearInterval(second);
      cancelAnimationFrame(frame);
      scheme.removeEventListener("change", recolour);
    },
  };
}

/** The list of devices. */
export function devices(main) {
  const prefix = el("input", { id: "prefix", type: "search", placeholder: "name begins with", input: () => { after = 0; rounds.again(); } });
  const sort = el("select", { id: "sort", change: () => { after = 0; rounds.again(); } },
    [["seen", "as first seen"], ["age", "oldest value first"]].map(([value, text]) => el("option", { value }, text)));
  const list = el("div", { class: "panel" });
  const limit = 50;
  let after = 0;
  const back = el("button", { type: "button", click: () => { after = Math.max(0, after - limit); rounds.again(); } }, "Back");
  const next = el("button", { type: "button", click: () => { after += limit; rounds.again(); } }, "Next");
  const where = el("span", { class: "dim" }, "");
  fill(main, el("div", { class: "bar" }, el("label", { for: "prefix" }, "Devices"), prefix, sort, back, next, where), list);
  async function load(signal) {
    const page = await ask(`/devices?limit=${limit}&after=${after}&sort=${sort.value}&prefix=${encodeURIComponent(prefix.value)}`, { signal }).catch(() => null);
    if (page === null) return;
    back.disabled = after === 0;
    next.disabled = page.next === null;
    where.textContent = page.total === 0 ? "none" : `${number(after + 1)} to ${number(after + page.items.length)} of ${number(page.total)}`;
    fill(list, table(
      ["device", ["sensors", "n"], ["actuators", "n"], ["outside", "n"], ["oldest value", "n"]],
      page.items.map((one) => [
        el("a", { href: `#/devices/${one.device}` }, el("code", {}, one.device)), number(one.sensors), number(one.actuators),
        el("span", { class: one.outside > 0 ? "bad" : "" }, number(one.outside)), seconds(one.worst_age_s),
      ]), "no device has that name"));
  }
  const rounds = repeat(2000, load);
  return { glance() {}, leave: rounds.end };
}

/** One device: its sensors with a chart of one of them, its actuators, and a setpoint. */
export function device(main, id, sensorId) {
  const chart = el("canvas", { class: "chart", role: "img", "aria-label": "Values of the last minute" });
  const title = el("h2", {}, "");
  const now = el("p", { class: "tip" }, " ");
  const sensors = el("div", {});
  const actuators = el("div", {});
  const said = el("p", { role: "status", class: "tip" }, " ");
  const actuator = el("input", { id: "actuator", type: "number", min: 0, max: 65535, value: 100, required: true });
  const value = el("input", { id: "value", type: "number", step: "any", value: 20, required: true });
  const type = el("select", { id: "type", title: "What the actuator sets, if the twin does not know it yet" }, TYPES.map((name) => el("option", { selected: name === "temperature" }, name)));
  const send = el("button", { class: "primary" }, "Send");
  async function submit(event) {
    event.preventDefault();
    send.disabled = true;
    said.textContent = "on its way";
    try {
      const done = await ask(`/devices/${id}/sensors/${actuator.value}/setpoint`, { method: "POST", body: { value: Number(value.value), type: type.value } });
      const took = done.took_ms === null ? "" : ` after ${seconds(done.took_ms / 1000)}`;
      said.textContent = `command ${done.id}: ${done.state.replaceAll("_", " ")}${took}${done.holds === null ? "" : `, holds ${number(done.holds, 2)}`}`;
      said.className = done.state === "acknowledged" ? "tip good" : "tip bad";
    } catch (error) {
      said.textContent = error.message;
      said.className = "tip bad";
    }
    send.disabled = false;
  }
  fill(main, el("div", { class: "bar" }, el("a", { href: "#/devices" }, "Devices"), el("code", {}, id)),
    el("div", { class: "grid" },
      el("section", { class: "panel wide" }, title, now, chart),
      el("section", { class: "panel" }, el("h2", {}, "Sensors"), sensors),
      el("section", { class: "panel" }, el("h2", {}, "Actuators"), actuators,
        el("form", { class: "bar", submit }, el("label", { for: "actuator" }, "Setpoint of actuator"), actuator,
          el("label", { for: "value" }, "to"), value,
          el("label", { for: "type" }, "of type"), type, send), said)));
  const [raw, smoothed] = [[], []];
  let shown = sensorId;
  let limits = [];
  async function load(signal) {
    const whole = await ask(`/devices/${id}`, { signal }).catch((error) => { if (!signal.aborted) title.textContent = error.message; return null; });
    if (whole === null) return;
    shown ??= whole.sensors[0]?.sensor;
    const one = whole.sensors.find((candidate) => String(candidate.sensor) === String(shown));
    if (one) {
      fill(title, `${one.type} ${one.sensor}`);
      fill(now, el("b", { class: one.level === "high" ? "bad" : one.level === "low" ? "low" : "" }, `${number(one.value, 3)} ${one.unit}`),
        ` ${one.level}, smoothed ${number(one.smoothed, 3)}, sent ${clock(one.sent_unix_ms)}, ${seconds(one.age_s)} old`);
      if (one.received_unix_ms !== null && raw.at(-1)?.[0] !== one.received_unix_ms) {
        raw.push([one.received_unix_ms, one.value]);
        smoothed.push([one.received_unix_ms, one.smoothed]);
      }
      // All of it by the twin's clock: those of devices and of this machine may be wrong.
      const at = whole.at_unix_ms;
      while (raw.length > 0 && raw[0][0] < at - SPAN_MS * 1.1) { raw.shift(); smoothed.shift(); }
      const series = [{ points: raw, colour: colour("dim"), width: 1 }, { points: smoothed, colour: colour("accent"), width: 2 }];
      line(chart, { series, now: at, span: span(raw), unit: one.unit, limits: limits[one.type] ?? [] });
    }
    fill(sensors, table(["sensor", "type", ["value", "n"], ["smoothed", "n"], "state", ["age", "n"]], whole.sensors.map((each) => [
      sensorLink(id, each.sensor), [dot(each.type), each.type], `${number(each.value, 2)} ${each.unit}`, number(each.smoothed, 2),
      el("span", { class: each.level === "high" ? "bad" : each.level === "low" ? "low" : "dim" }, each.level), seconds(each.age_s)])));
    fill(actuators, table(["actuator", "type", "state", ["asked", "n"], ["holds", "n"]], whole.actuators.map((each) => [
      String(each.actuator), [dot(each.type), each.type], each.state, number(each.requested, 2), number(each.acknowledged, 2)]), "none was commanded yet"));
    paint(main);
  }
  const rounds = repeat(100, load);
  return {
    glance({ aggregates }) {
      limits = Object.fromEntries(aggregates.map((one) => [one.type, [one.low, one.high].filter((v) => v !== null)]));
    },
    leave: rounds.end,
  };
}

/** What happened: crossings, commands, sessions, and who answered the stop. */
export function events(main) {
  const [crossings, commands, sessions, stop] = Array.from({ length: 4 }, () => el("div", {}));
  fill(main, el("div", { class: "grid" },
    el("section", { class: "panel" }, el("h2", {}, "Stop"), stop),
    el("section", { class: "panel" }, el("h2", {}, "Sessions"), sessions),
    el("section", { class: "panel wide" }, el("h2", {}, "Commands of operators"), commands),
    el("section", { class: "panel wide" }, el("h2", {}, "Crossings of thresholds"), crossings)));
  async function load(signal) {
    const page = await ask("/sessions?limit=12", { signal }).catch(() => null);
    if (page === null) return;
    fill(sessions, table(["remote", "device", "state", ["open for", "n"]], page.items.map((one) => [
      el("code", {}, one.remote), one.device === null ? "–" : el("code", { title: one.device }, one.device.slice(0, 8)), one.closed ?? "open", seconds(one.age_s)])),
      el("p", { class: "dim" }, `${number(page.items.length)} of ${number(page.total)}`));
  }
  const rounds = repeat(2000, load);
  return {
    glance({ overview: o, crossings: latest, commands: given }) {
      const s = o.stop;
      fill(stop,
        el("p", {}, el("b", { class: s.stopped ? "bad" : "good" }, s.stopped ? "The plant is stopped." : s.request === 0 ? "Never asked for." : "Cleared."), s.by === null ? "" : ` Asked for by ${{ operator: "an operator", device: "a device", rule: "a rule" }[s.by]}.`),
        s.request === 0 ? null : table(["sessions", ["number", "n"]], ["concerned", "acknowledged", "refused", "gone", "waiting"].map((name) => [name, number(s[name])])),
        el("p", { class: "dim" }, "A command over a network. It is no safety function."));
      fill(crossings, crossingsTable(latest));
      fill(commands, commandsTable(given));
      paint(main);
    },
    leave: rounds.end,
  };
}

/** How the twin itself is: threads, systems, rings, latencies. */
export function engine(main) {
  const [threads, systems, tiers] = Array.from({ length: 3 }, () => el("div", {}));
  const shown = [["tick_duration", "Work of a tick"], ["tick_jitter", "Lateness of a tick"], ["receive_to_applied_t1", "T1 from socket to world"],
    ["command_rtt", "Commands of rules, there and back"], ["order_to_ack", "Commands of operators"], ["stop_to_ack", "Stop, to each session"]];
  const canvases = shown.map(([name, title]) => ({ name, note: el("p", { class: "dim" }, " "), canvas: el("canvas", { class: "strip", role: "img", "aria-label": title }), title }));
  fill(main, el("div", { class: "grid" },
    el("section", { class: "panel" }, el("h2", {}, "Threads and rings"), threads, tiers),
    el("section", { class: "panel" }, el("h2", {}, "Systems of the tick"), systems)),
  el("div", { class: "grid small" }, canvases.map((one) => el("section", { class: "panel" }, el("h2", {}, one.title), one.canvas, one.note))));
  async function load(signal) {
    const all = await ask("/latencies", { signal }).catch(() => null);
    if (all === null) return;
    for (const { name, note, canvas } of canvases) {
      const one = all.find((latency) => latency.name === name);
      bars(canvas, { buckets: one.buckets, marks: [{ at: one.p50_us, name: "p50" }, { at: one.p99_us, name: "p99" }] });
      note.textContent = one.count === 0 ? "none yet" : `p50 ${seconds(one.p50_us / 1e6)}, p99 ${seconds(one.p99_us / 1e6)}, p99.9 ${seconds(one.p99_9_us / 1e6)}, most ${seconds(one.max_us / 1e6)} of ${short(one.count)}`;
    }
  }
  const rounds = repeat(1000, load);
  const gauge = (ratio) => el("meter", { min: 0, max: 1, high: 0.8, optimum: 0, value: ratio, title: percent(ratio) });
  return {
    glance({ overview: o }) {
      fill(threads, table(["thread", "busy", ["", "n"], ["backpressure", "n"]], o.threads.map((one) => [one.thread, gauge(one.busy_ratio), percent(one.busy_ratio), percent(one.backpressure_ratio)])));
      fill(tiers, table(["ring", "depth", ["slots", "n"], ["applied/s", "n"], ["shed", "n"], ["lost", "n"], ["residual", "n"]], o.tiers.map((one) => [
        one.tier, gauge(one.ring_depth / Math.max(1, one.ring_capacity)), number(one.ring_depth), short(one.applied_hz), short(one.totals.shed), short(one.totals.lost), number(one.totals.residual)])),
        el("p", { class: "dim" }, `${number(o.memory_bytes / 1e6)} MB resident, ${number(o.viewers)} viewer${o.viewers === 1 ? "" : "s"}, version ${o.version} (${o.revision.slice(0, 12)}), up ${seconds(o.uptime_s)}. ${o.host.cpu_model}, ${o.host.cores} cores, load ${number(o.host.load_1m, 2)}`));
      fill(systems, table(["system", "share", ["mean", "n"], ["most", "n"]], o.systems.map((one) => [
        one.system, gauge(one.busy_ratio), seconds(one.mean_us / 1e6), seconds(one.max_us / 1e6)])));
    },
    leave: rounds.end,
  };
}

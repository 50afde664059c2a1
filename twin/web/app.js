// The page: views by the fragment of the address, the plant's health, the stop, and the state of the page's own connection.

import { ask, onToken, stream } from "./api.js";
import { seconds } from "./dom.js";
import * as views from "./views.js";

const QUIET_MS = 2000;
const node = (id) => document.getElementById(id);
const [main, health, link, stop, banner] = ["main", "health", "link", "stop", "banner"].map(node);

let view = null;
let glance = null;
let heardMs = 0;
let state = "lost";
let by = null;

/** Asks a question in a dialogue; gives what was typed, true for yes, or nothing. */
function question({ title, text, yes, secret = false }) {
  const [dialog, input] = [node("ask"), node("ask-input")];
  node("ask-title").textContent = title;
  node("ask-text").textContent = text;
  node("ask-yes").textContent = yes;
  input.hidden = !secret;
  input.value = "";
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes" ? (secret ? input.value : true) : null), { once: true });
  });
}

onToken(() => question({ title: "Token", text: "This twin asks for the token that is in its http.token_file.", yes: "Enter", secret: true }));

function show() {
  const [name = "", device, sensor] = location.hash.replace(/^#\//, "").split("/").map(decodeURIComponent);
  view?.leave?.();
  const known = { field: views.field, devices: views.devices, events: views.events, engine: views.engine };
  view = name === "devices" && device ? views.device(main, device, sensor) : (known[name] ?? views.overview)(main);
  for (const anchor of document.querySelectorAll("nav a")) {
    if (anchor.dataset.view === (known[name] ? name : "overview")) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  if (glance) view.glance(glance);
}

function hear(text) {
  glance = JSON.parse(text);
  heardMs = performance.now();
  const { overview } = glance;
  health.textContent = overview.health;
  health.className = `pill ${{ good: "good", degraded: "warn", stopped: "bad" }[overview.health]}`;
  health.title = overview.reasons.join("; ");
  stop.textContent = overview.stop.stopped ? "Clear stop" : "Stop";
  stop.classList.toggle("clear", overview.stop.stopped);
  stop.disabled = overview.commands_allowed === "none" || (overview.stop.stopped && overview.commands_allowed === "stop");
  view.glance(glance);
  connection();
}

/** What the page knows of its own connection: whether it hears the twin, and by what. */
function connection() {
  const quiet = performance.now() - heardMs;
  const alive = state === "open" && quiet < QUIET_MS;
  link.textContent = alive ? by : "no connection";
  link.className = `pill ${alive ? "quiet" : "bad"}`;
  const { stopped, acknowledged, concerned } = glance?.overview.stop ?? {};
  banner.hidden = alive && !stopped;
  banner.className = alive ? "banner" : "banner warn";
  if (!alive) {
    banner.textContent = heardMs === 0 ? "Waiting for the twin." : `No word from the twin for ${seconds(quiet / 1000)}: what is shown is old.`;
    stop.disabled = false;
  } else if (stopped) {
    banner.textContent = `The plant is stopped: ${acknowledged} of ${concerned} sessions have acknowledged it.`;
  }
}

async function toggleStop() {
  const stopped = glance?.overview.stop.stopped ?? false;
  try {
    if (stopped) {
      // To stop is never asked twice; to let machines start is.
      const text = "Devices will take setpoints again, and rules will command them.";
      if (await question({ title: "Clear the stop?", text, yes: "Clear" })) await ask("/stop/clear", { method: "POST" });
    } else {
      await ask("/stop", { method: "POST" });
    }
  } catch (error) {
    await question({ title: "It was not done", text: error.message, yes: "Understood" });
  }
}

function key(event) {
  if (event.target.closest("input, select, textarea, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
  const anchor = document.querySelectorAll("nav a")[Number(event.key) - 1];
  if (anchor && event.key >= "1") location.hash = anchor.hash;
  else if (event.key === "s") toggleStop();
  else if (event.key === "?") node("help").showModal();
  else if (event.target.id !== "field") view.key?.(event);
}

stop.addEventListener("click", toggleStop);
addEventListener("hashchange", () => {
  show();
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
});
addEventListener("keydown", key);
show();
setInterval(connection, 500);
stream("live", { message: hear, state: (now, link) => { [state, by] = [now, link]; connection(); } });
// A twin that asks for a token says so here, and the stream then takes it along.
ask("/stop").catch(() => {});

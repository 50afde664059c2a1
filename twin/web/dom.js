// Elements and numbers: what every view is made of. Text is always set as text, never as markup.

/** An element; attributes that are functions listen, children may be nested, null ones are left out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

/** A number with so many digits after the point, and thin groups. */
export function number(value, digits = 0) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** A number with a prefix: 12.3 k. */
export function short(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  for (const [scale, prefix] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (Math.abs(value) >= scale) return `${(value / (prefix === "k" ? 1e3 : scale)).toFixed(1)} ${prefix}`;
  }
  return number(value, Math.abs(value) < 10 && value % 1 !== 0 ? 1 : 0);
}

/** A time in seconds, in the unit that suits it. */
export function seconds(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value < 1e-3) return `${(value * 1e6).toFixed(value < 1e-5 ? 1 : 0)} µs`;
  if (value < 1) return `${(value * 1e3).toFixed(value < 0.01 ? 2 : 0)} ms`;
  if (value < 120) return `${value.toFixed(1)} s`;
  if (value < 7200) return `${(value / 60).toFixed(0)} min`;
  return `${(value / 3600).toFixed(1)} h`;
}

/** The time of day of a moment in unix milliseconds. */
export function clock(unixMs) {
  return unixMs === null ? "–" : new Date(unixMs).toLocaleTimeString("en-GB") + "." + String(Math.floor(unixMs % 1000)).padStart(3, "0");
}

/** A colour of the style sheet. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Replaces what a node holds. */
export function fill(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

/** A table: heads as [text, class] or text, rows as lists of cells; a cell is text or a node. */
export function table(heads, rows, none = "nothing yet") {
  const head = heads.map((one) => (Array.isArray(one) ? el("th", { class: one[1], scope: "col" }, one[0]) : el("th", { scope: "col" }, one)));
  const classes = heads.map((one) => (Array.isArray(one) ? one[1] : null));
  const body = rows.map((cells) => el("tr", {}, cells.map((cell, at) => el("td", { class: classes[at] }, cell))));
  if (rows.length === 0) body.push(el("tr", {}, el("td", { colspan: heads.length, class: "dim" }, none)));
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)));
}

/** Sensor types in the order of their bytes. */
export const TYPES = ["generic", "temperature", "humidity", "pressure", "voltage", "current"];

/** A device's name, shortened for the eye; the whole of it is in the title. */
export function deviceLink(device) {
  return el("a", { href: `#/devices/${device}`, title: device }, el("code", {}, device.slice(0, 8)));
}

export function sensorLink(device, sensor) {
  return el("a", { href: `#/devices/${device}/${sensor}` }, String(sensor));
}

// Small charts on a canvas: a line over time, and bars of a histogram.

import { colour, number } from "./dom.js";

/** A canvas that fits its box in device pixels, ready to draw in CSS pixels. */
export function surface(canvas) {
  const ratio = devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "12px system-ui, sans-serif";
  return { pen, width, height };
}

/** Round steps between two values, about so many. */
export function steps(low, high, count) {
  const raw = (high - low || 1) / count;
  const scale = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * scale).find((n) => n >= raw);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(at);
  return { found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

/** Lines over the last `span` milliseconds before `now`; each series is { points: [[t, v]], colour }, limits are drawn dashed. */
export function line(canvas, { series, now, span, unit = "", limits = [] }) {
  const { pen, width, height } = surface(canvas);
  const values = series.flatMap((one) => one.points.filter(([t]) => t >= now - span).map(([, v]) => v));
  if (values.length === 0 || width < 80) return;
  let [low, high] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  const pad = Math.max((high - low) * 0.15, Math.abs(high) * 0.002, 1e-6);
  [low, high] = [low - pad, high + pad];
  const [left, bottom] = [58, height - 20];
  const x = (t) => left + ((t - now + span) / span) * (width - left - 8);
  const y = (v) => bottom - ((v - low) / (high - low)) * (bottom - 8);
  const { found, digits } = steps(low, high, 5);
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const v of found) {
    pen.strokeStyle = colour("line");
    pen.beginPath();
    pen.moveTo(left, y(v));
    pen.lineTo(width - 8, y(v));
    pen.stroke();
    pen.fillStyle = colour("dim");
    pen.fillText(number(v, digits), left - 8, y(v));
  }
  pen.textAlign = "center";
  for (let back = 0; back <= span; back += span / 4) {
    pen.fillText(back === 0 ? "now" : `-${number(back / 1000)} s`, Math.min(x(now - back), width - 20), height - 8);
  }
  pen.textAlign = "left";
  pen.fillText(unit, 4, 8);
  for (const limit of limits.filter((v) => v > low && v < high)) {
    pen.setLineDash([5, 4]);
    pen.strokeStyle = colour("bad");
    pen.beginPath();
    pen.moveTo(left, y(limit));
    pen.lineTo(width - 8, y(limit));
    pen.stroke();
    pen.setLineDash([]);
  }
  pen.save();
  pen.beginPath();
  pen.rect(left, 0, width - left - 8, bottom);
  pen.clip();
  for (const one of series) {
    pen.strokeStyle = one.colour;
    pen.lineWidth = one.width ?? 1.6;
    pen.beginPath();
    one.points.forEach(([t, v], at) => (at === 0 ? pen.moveTo(x(t), y(v)) : pen.lineTo(x(t), y(v))));
    pen.stroke();
  }
  pen.restore();
}

/** Bars of a histogram whose bounds grow by a constant factor: [[upper bound, count]]. */
export function bars(canvas, { buckets, marks = [], unit = "µs" }) {
  const { pen, width, height } = surface(canvas);
  if (buckets.length === 0) return;
  const logs = buckets.map(([bound]) => Math.log2(bound));
  const [first, last] = [logs[0] - 0.25, Math.max(logs[logs.length - 1], logs[0] + 1)];
  const bottom = height - 18;
  const x = (bound) => 4 + ((Math.log2(bound) - first) / (last - first)) * (width - 8);
  // The root shows rare ones beside common ones.
  const tallest = Math.sqrt(Math.max(...buckets.map(([, count]) => count)));
  pen.fillStyle = colour("accent");
  for (const [bound, count] of buckets) {
    const tall = Math.max(1, (Math.sqrt(count) / tallest) * (bottom - 6));
    const from = x(bound / 2 ** 0.25);
    pen.fillRect(from, bottom - tall, Math.max(1, x(bound) - from - 1), tall);
  }
  pen.fillStyle = colour("dim");
  pen.textAlign = "center";
  for (let power = Math.ceil(first / 3.3219); power <= last / 3.3219; power += 1) {
    const bound = 10 ** power;
    const text = bound >= 1e6 ? `${bound / 1e6} s` : bound >= 1e3 ? `${bound / 1e3} ms` : `${bound} ${unit}`;
    pen.fillText(text, Math.min(Math.max(x(bound), 20), width - 20), height - 5);
  }
  for (const { at, name } of marks.filter((mark) => mark.at > 0)) {
    pen.strokeStyle = colour("bad");
    pen.beginPath();
    pen.moveTo(x(at), 12);
    pen.lineTo(x(at), bottom);
    pen.stroke();
    pen.fillText(name, Math.min(Math.max(x(at), 14), width - 14), 10);
  }
}

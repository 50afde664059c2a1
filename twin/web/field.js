// The field: every sensor of the plant as one cell of a canvas, drawn as its frames arrive.
//
// The form of a frame is told in twin/src/http/field.rs.

import { TYPES, colour, number, seconds } from "./dom.js";
import { surface } from "./chart.js";

const NEVER = 0xffffffff;
const WHOLE = 1;
const LIST = 2;
const HEADER_BYTES = 48;

/** All sensors by number, as the frames left them. */
export class Sensors {
  constructor() {
    this.count = 0;
    this.grow(1024);
    this.tick = 0;
    this.atMs = 0;
    this.frames = 0;
    this.bytes = 0;
  }

  grow(room) {
    const wider = (array, kind) => {
      const next = new kind(room);
      if (array) next.set(array);
      return next;
    };
    this.types = wider(this.types, Uint8Array);
    this.levels = wider(this.levels, Uint8Array);
    this.values = wider(this.values, Float32Array);
    this.seenMs = wider(this.seenMs, Float64Array);
  }

  /** Takes a frame in. */
  apply(buffer) {
    const view = new DataView(buffer);
    if (view.getUint32(0, true) !== 0x31465850) throw new Error("not a frame of the field");
    const flags = view.getUint32(4, true);
    this.tick = view.getFloat64(8, true);
    this.atMs = view.getFloat64(16, true);
    const [total, first, named, changed, late] = [28, 32, 36, 40, 44].map((at) => view.getUint32(at, true));
    if (total > this.types.length) this.grow(Math.ceil(total * 1.25));
    this.count = total;
    this.types.set(new Uint8Array(buffer, HEADER_BYTES, named), first);
    let at = HEADER_BYTES + Math.ceil(named / 4) * 4;
    const which = new Uint32Array(buffer, at, flags & LIST ? changed : Math.ceil(total / 32));
    at += which.byteLength;
    const values = new Float32Array(buffer, at, changed);
    const bits = new Uint32Array(buffer, at, changed);
    const put = (sensor, from) => {
      this.values[sensor] = values[from];
      this.levels[sensor] = bits[from] & 3;
      this.seenMs[sensor] = this.atMs;
    };
    if (flags & LIST) {
      which.forEach(put);
    } else {
      let from = 0;
      for (let word = 0; word < which.length; word += 1) {
        for (let left = which[word]; left !== 0; left &= left - 1) {
          put(word * 32 + 31 - Math.clz32(left & -left), from);
          from += 1;
        }
      }
    }
    at += changed * 4;
    const aged = (sensor, age) => { this.seenMs[sensor] = age === NEVER ? 0 : this.atMs - age; };
    if (flags & WHOLE) {
      new Uint32Array(buffer, at, changed).forEach((age, sensor) => aged(sensor, age));
    } else {
      const ages = new Uint32Array(buffer, at + late * 4, late);
      new Uint32Array(buffer, at, late).forEach((sensor, from) => aged(sensor, ages[from]));
    }
    this.frames += 1;
    this.bytes += buffer.byteLength;
  }

  /** Age of a value in seconds; nothing before there was one. */
  age(sensor) {
    return this.seenMs[sensor] === 0 ? null : Math.max(0, this.atMs - this.seenMs[sensor]) / 1000;
  }
}

function rgb(name) {
  const hex = colour(name).replace("#", "");
  const wide = hex.length === 3 ? [...hex].map((digit) => digit + digit).join("") : hex;
  return [0, 2, 4].map((at) => parseInt(wide.slice(at, at + 2), 16));
}

const packed = ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r;
const mixed = (from, to, part) => from.map((v, at) => Math.round(v + (to[at] - v) * part));

/** Draws sensors as cells of a grid that can be zoomed, moved and pointed at. */
export class Field {
  constructor(canvas, sensors, { point, open }) {
    Object.assign(this, { canvas, sensors, point, open, mode: "value", zoom: 1, left: 0, top: 0, cursor: null });
    // Cells lie by type and then by number; both ways are looked up.
    this.order = new Uint32Array(0);
    this.places = new Uint32Array(0);
    this.ranges = TYPES.map(() => [0, 1]);
    this.picture = document.createElement("canvas");
    this.dirty = true;
    this.drawn = 0;
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.grab(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointerleave", () => this.pointAt(null));
    canvas.addEventListener("keydown", (event) => this.key(event));
    this.colours();
  }

  /** Looks the colours of the page up; they change with light and dark. */
  colours() {
    this.types = TYPES.map((_, at) => packed(rgb(`t${at}`)));
    this.faded = TYPES.map((_, at) => packed(mixed(rgb(`t${at}`), rgb("panel"), 0.55)));
    const calm = mixed(rgb("panel"), rgb("good"), 0.45);
    this.levels = [packed(calm), packed(rgb("bad")), packed(rgb("low")), packed(calm)];
    this.silent = packed(rgb("line"));
    const [young, old] = [rgb("good"), rgb("bad")];
    this.ages = Array.from({ length: 65 }, (_, at) => packed(mixed(young, old, at / 64)));
    const ground = rgb("panel");
    this.heat = TYPES.map((_, type) => Array.from({ length: 65 }, (_, at) => packed(mixed(ground, rgb(`t${type}`), 0.12 + (0.88 * at) / 64))));
    this.dirty = true;
  }

  /** What the values of each type lie between, for their colours. */
  range(aggregates) {
    aggregates.forEach((one, type) => {
      if (one.count > 0) this.ranges[type] = [one.min, Math.max(one.max, one.min + 1e-6)];
    });
  }

  /** Puts sensors of one type side by side, once there are new ones. */
  arrange() {
    const { count, types } = this.sensors;
    if (this.order.length === count) return;
    const starts = new Uint32Array(TYPES.length + 1);
    for (let sensor = 0; sensor < count; sensor += 1) starts[types[sensor] + 1] += 1;
    for (let type = 1; type < starts.length; type += 1) starts[type] += starts[type - 1];
    this.order = new Uint32Array(count);
    this.places = new Uint32Array(count);
    for (let sensor = 0; sensor < count; sensor += 1) {
      const place = starts[types[sensor]]++;
      this.order[place] = sensor;
      this.places[sensor] = place;
    }
  }

  /** Columns and rows of the whole grid, in the shape of the canvas. */
  grid() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const count = Math.max(1, this.sensors.count);
    const columns = Math.max(1, Math.ceil(Math.sqrt((count * width) / Math.max(1, height))));
    const rows = Math.ceil(count / columns);
    const fit = Math.min(width / columns, height / rows);
    return { columns, rows, size: fit * this.zoom, width, height };
  }

  shade(sensor) {
    const { sensors } = this;
    if (sensors.seenMs[sensor] === 0) return this.silent;
    switch (this.mode) {
      case "type":
        return sensors.levels[sensor] === 0 ? this.faded[sensors.types[sensor]] : this.types[sensors.types[sensor]];
      case "age":
        // Green to red from 10 ms to 10 s.
        return this.ages[Math.max(0, Math.min(64, Math.round((Math.log10(Math.max(1e-3, sensors.age(sensor))) + 2) * (64 / 3))))];
      case "level":
        return this.levels[sensors.levels[sensor]];
      default: {
        if (sensors.levels[sensor] !== 0) return this.levels[sensors.levels[sensor]];
        const [least, greatest] = this.ranges[sensors.types[sensor]];
        const part = (sensors.values[sensor] - least) / (greatest - least);
        return this.heat[sensors.types[sensor]][Math.max(0, Math.min(64, Math.round(part * 64)))];
      }
    }
  }

  /** Draws, if there is anything new. */
  draw() {
    if (!this.dirty) return;
    this.dirty = false;
    this.drawn += 1;
    this.arrange();
    const { columns, rows, size, width, height } = this.grid();
    this.clamp(columns * size, rows * size, width, height);
    if (this.picture.width !== columns || this.picture.height !== rows || !this.pixels) {
      this.picture.width = columns;
      this.picture.height = rows;
      this.brush = this.picture.getContext("2d");
      this.image = this.brush.createImageData(columns, rows);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    const { count } = this.sensors;
    for (let place = 0; place < count; place += 1) this.pixels[place] = this.shade(this.order[place]);
    this.pixels.fill(0, count);
    this.brush.putImageData(this.image, 0, 0);
    const { pen } = surface(this.canvas);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(this.picture, -this.left, -this.top, columns * size, rows * size);
    if (size >= 6) this.lines(pen, columns, rows, size, width, height);
    if (size >= 44) this.texts(pen, columns, size, width, height);
    if (this.cursor !== null) {
      pen.strokeStyle = colour("ink");
      pen.lineWidth = 2;
      const place = this.places[this.cursor];
      const [x, y] = [(place % columns) * size - this.left, Math.floor(place / columns) * size - this.top];
      pen.strokeRect(x - 1, y - 1, size + 2, size + 2);
    }
  }

  lines(pen, columns, rows, size, width, height) {
    pen.strokeStyle = colour("panel");
    pen.lineWidth = size > 16 ? 2 : 1;
    pen.beginPath();
    for (let x = size - (this.left % size); x < Math.min(width, columns * size - this.left); x += size) {
      pen.moveTo(x, 0);
      pen.lineTo(x, height);
    }
    for (let y = size - (this.top % size); y < Math.min(height, rows * size - this.top); y += size) {
      pen.moveTo(0, y);
      pen.lineTo(width, y);
    }
    pen.stroke();
  }

  texts(pen, columns, size, width, height) {
    pen.fillStyle = colour("ink");
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const [firstRow, firstColumn] = [Math.floor(this.top / size), Math.floor(this.left / size)];
    for (let row = firstRow; row * size - this.top < height; row += 1) {
      for (let column = firstColumn; column < columns && column * size - this.left < width; column += 1) {
        const place = row * columns + column;
        if (place >= this.order.length) break;
        pen.fillText(number(this.sensors.values[this.order[place]], 1), (column + 0.5) * size - this.left, (row + 0.5) * size - this.top);
      }
    }
  }

  clamp(whole, tall, width, height) {
    this.left = Math.max(0, Math.min(this.left, whole - width));
    this.top = Math.max(0, Math.min(this.top, tall - height));
  }

  /** The sensor at a place of the canvas. */
  at(x, y) {
    const { columns, size } = this.grid();
    const [column, row] = [Math.floor((x + this.left) / size), Math.floor((y + this.top) / size)];
    const place = row * columns + column;
    return column >= 0 && column < columns && place >= 0 && place < this.order.length ? this.order[place] : null;
  }

  pointAt(sensor) {
    if (sensor === this.cursor) return;
    this.cursor = sensor;
    this.dirty = true;
    this.point(sensor);
  }

  scale(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const next = Math.max(1, Math.min(200, this.zoom * factor));
    const by = next / this.zoom;
    this.left = (this.left + x) * by - x;
    this.top = (this.top + y) * by - y;
    this.zoom = next;
    this.dirty = true;
  }

  wheel(event) {
    event.preventDefault();
    this.scale(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }

  grab(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.held = { x: event.offsetX, y: event.offsetY, left: this.left, top: this.top, far: false };
  }

  move(event) {
    const { held } = this;
    if (!held) return this.pointAt(this.at(event.offsetX, event.offsetY));
    const [dx, dy] = [event.offsetX - held.x, event.offsetY - held.y];
    held.far ||= Math.hypot(dx, dy) > 4;
    [this.left, this.top] = [held.left - dx, held.top - dy];
    this.dirty = true;
  }

  release(event) {
    const { held } = this;
    this.held = null;
    const sensor = this.at(event.offsetX, event.offsetY);
    if (held && !held.far && sensor !== null) this.open(sensor);
  }

  key(event) {
    const { columns, size, width, height } = this.grid();
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (step !== undefined) {
      const next = this.cursor === null ? 0 : this.places[this.cursor] + step;
      if (next >= 0 && next < this.order.length) {
        this.pointAt(this.order[next]);
        const [x, y] = [(next % columns) * size, Math.floor(next / columns) * size];
        this.left = Math.min(Math.max(this.left, x + size - width), x);
        this.top = Math.min(Math.max(this.top, y + size - height), y);
      }
    } else if (event.key === "+" || event.key === "=") this.scale(1.5);
    else if (event.key === "-") this.scale(1 / 1.5);
    else if (event.key === "0") this.scale(0);
    else if (event.key === "Enter" && this.cursor !== null) this.open(this.cursor);
    else return;
    event.preventDefault();
  }
}

/** What is said of the sensor under the cursor. */
export function describe(sensors, sensor) {
  const level = ["", ", above its threshold", ", below its threshold", ""][sensors.levels[sensor]];
  return `sensor ${number(sensor)}: ${TYPES[sensors.types[sensor]]} ${number(sensors.values[sensor], 2)}${level}, ${seconds(sensors.age(sensor))} old`;
}

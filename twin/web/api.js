// The twin's API and its two streams, over WebTransport or WebSocket. A stream that breaks is opened again, later each time.

const BASE = "/api/v1";
const TOKEN = "pollux.token";
// The twin itself gives a request up after so long.
const ANSWER_MS = 15_000;
let askToken = async () => null;

/** Who asks the operator for the token when the twin wants one. */
export function onToken(ask) {
  askToken = ask;
}

function token() {
  return sessionStorage.getItem(TOKEN);
}

let asking = null;

/** Asks for the token once, whoever needs it. */
function needToken() {
  asking ??= askToken().then((given) => {
    asking = null;
    if (given) sessionStorage.setItem(TOKEN, given);
    return given;
  });
  return asking;
}

/** What the twin says; a problem is thrown as an error with its detail. A signal gives the question up. */
export async function ask(path, { method = "GET", body = null, signal = null } = {}) {
  const headers = {};
  if (body !== null) headers["content-type"] = "application/json";
  if (token()) headers.authorization = `Bearer ${token()}`;
  const response = await fetch(BASE + path, { method, headers, body: body === null ? null : JSON.stringify(body), signal });
  if (response.status === 401 && (await needToken())) return ask(path, { method, body, signal });
  const said = await response.json().catch(() => null);
  if (!response.ok) throw Object.assign(new Error(said?.detail ?? `the twin answered ${response.status}`), { status: response.status });
  return said;
}

/**
 * Loads again and again, `pauseMs` after the last time has ended: a browser has few connections to the twin, and questions that
 * queue for them would stand before an order. `again` loads at once, and gives the time before up as `end` does.
 */
export function repeat(pauseMs, load) {
  let asking = null;
  let timer = null;
  const end = () => {
    clearTimeout(timer);
    asking?.abort();
    asking = null;
  };
  const again = async () => {
    end();
    const mine = new AbortController();
    asking = mine;
    const late = setTimeout(() => mine.abort(), ANSWER_MS);
    try {
      await load(mine.signal);
    } finally {
      clearTimeout(late);
      if (asking === mine) timer = setTimeout(again, pauseMs);
    }
  };
  again();
  return { again, end };
}

/** Opens a stream and keeps it open, by WebTransport where the browser can, else by WebSocket. Gives a function that ends it. */
export function stream(name, { message, state }) {
  let close = () => {};
  let ended = false;
  let pause = 250;
  let timer = null;
  let newer = typeof WebTransport === "function" && window.isSecureContext;
  const heard = (data) => {
    pause = 250;
    message(data);
  };
  const watch = async () => {
    const given = newer ? await ask(`/webtransport?stream=${name}`, { method: "POST" }).catch((error) => error) : null;
    let link = null;
    if (given?.ticket) link = await openTransport(name, given, heard).catch(() => null);
    // A network that lets no UDP through will not change for this page, nor a twin that serves none. One that is away says nothing.
    if (link === null && (given?.ticket || given?.status)) newer = false;
    const { kind, closed, end } = link ?? openSocket(name, heard);
    close = end;
    if (ended) return end();
    kind.then((by) => state("open", by), () => {});
    await closed;
  };
  const open = async () => {
    // What a browser refuses to open is a stream that is lost, like any other.
    await watch().catch((error) => console.error(error));
    if (ended) return;
    state("lost", null);
    timer = setTimeout(open, pause);
    pause = Math.min(pause * 2, 4000);
  };
  open();
  return () => {
    ended = true;
    clearTimeout(timer);
    close();
  };
}

function openSocket(name, heard) {
  // A subprotocol takes fewer characters than a token does.
  const protocols = token() ? ["pollux", `pollux.bearer.${digits(new TextEncoder().encode(token()))}`] : ["pollux"];
  const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}${BASE}/${name}`, protocols);
  socket.binaryType = "arraybuffer";
  socket.onmessage = (event) => heard(event.data);
  const kind = new Promise((resolve) => { socket.onopen = () => resolve("WebSocket"); });
  const closed = new Promise((resolve) => { socket.onclose = resolve; });
  return { kind, closed, end: () => socket.close() };
}

/** The twin's worker itself: what the API has given says where it is, which certificate it shows, and what it wants to see. */
async function openTransport(name, given, heard) {
  const transport = new WebTransport(`https://${location.hostname}:${given.port}/`, {
    serverCertificateHashes: [{ algorithm: "sha-256", value: bytes(given.certificate_sha256) }],
  });
  const closed = transport.closed.catch(() => {});
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error("nobody answers")), PATIENCE_MS));
  const end = () => { try { transport.close(); } catch { /* It is closed already. */ } };
  try {
    await Promise.race([transport.ready, late]);
    const { readable, writable } = await transport.createBidirectionalStream();
    const writer = writable.getWriter();
    await writer.write(bytes(given.ticket));
    const first = new Promise((resolve, reject) => {
      take(readable.getReader(), writer, (data) => { resolve(); heard(name === "live" ? new TextDecoder().decode(data) : data); })
        .then(reject, reject).finally(end);
    });
    await Promise.race([first, late]);
  } catch (error) {
    end();
    throw error;
  }
  return { kind: Promise.resolve("WebTransport"), closed, end };
}

const PATIENCE_MS = 3000;
const bytes = (digits) => Uint8Array.from(digits.match(/../g), (pair) => parseInt(pair, 16));
const digits = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Takes messages off a stream, each behind its length in four bytes, and says of each that it was taken. */
async function take(reader, writer, heard) {
  let [chunks, size] = [[], 0];
  let length = null;
  /** The first `count` bytes of what has come. */
  const cut = (count) => {
    const whole = new Uint8Array(count);
    for (let at = 0; at < count; ) {
      const part = chunks[0].subarray(0, count - at);
      whole.set(part, at);
      at += part.length;
      if (part.length === chunks[0].length) chunks.shift();
      else chunks[0] = chunks[0].subarray(part.length);
    }
    size -= count;
    return whole.buffer;
  };
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    chunks.push(value);
    size += value.length;
    for (;;) {
      if (length === null && size >= 4) length = new DataView(cut(4)).getUint32(0, true);
      if (length === null || size < length) break;
      heard(cut(length));
      length = null;
      writer.write(new Uint8Array(1)).catch(() => {});
    }
  }
}

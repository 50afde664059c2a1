// The twin's API and its two streams. A stream that breaks is opened again, later each time.

const BASE = "/api/v1";
const TOKEN = "pollux.token";
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

/** What the twin says; a problem is thrown as an error with its detail. */
export async function ask(path, { method = "GET", body = null } = {}) {
  const headers = {};
  if (body !== null) headers["content-type"] = "application/json";
  if (token()) headers.authorization = `Bearer ${token()}`;
  const response = await fetch(BASE + path, { method, headers, body: body === null ? null : JSON.stringify(body) });
  if (response.status === 401 && (await needToken())) return ask(path, { method, body });
  const said = await response.json().catch(() => null);
  if (!response.ok) throw new Error(said?.detail ?? `the twin answered ${response.status}`);
  return said;
}

/** Opens a stream and keeps it open. Gives a function that ends it. */
export function stream(path, { message, state }) {
  let socket = null;
  let ended = false;
  let pause = 250;
  let timer = null;
  const open = () => {
    const protocols = token() ? ["pollux", `pollux.bearer.${token()}`] : ["pollux"];
    socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}${BASE}${path}`, protocols);
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => {
      if (pause !== 250) pause = 250;
      message(event.data);
    };
    socket.onopen = () => state("open");
    socket.onclose = () => {
      if (ended) return;
      state("lost");
      timer = setTimeout(open, pause);
      pause = Math.min(pause * 2, 4000);
    };
  };
  open();
  return () => {
    ended = true;
    clearTimeout(timer);
    socket.close();
  };
}

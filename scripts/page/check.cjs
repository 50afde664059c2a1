// Drives the dashboard with Chromium; called by scripts/page-check.sh as: check.cjs BINARY CHROMIUM [SCREENSHOTS].
//
// Every wait is for a condition; the bounds only turn a standstill into a failure.
const assert = require("node:assert/strict");
const { execFileSync, spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { chromium } = require("playwright-core");

const [binary, browserPath, screenshots] = process.argv.slice(2);
const PATIENCE_MS = 30_000;

/** Starts a demo and gives its address once it has said it. */
function demo(devices, http = "127.0.0.1:0") {
  return twin(["demo", "--devices", String(devices), "--http", http], /dashboard on http:\/\/([^/\s]+)\//);
}

/** Starts a twin and gives its address once it has said what this matches. */
function twin(args, said, cwd = ".") {
  const child = spawn(path.resolve(binary), args, { cwd, stdio: ["ignore", "ignore", "pipe"] });
  let heard = "";
  const base = new Promise((resolve, reject) => {
    child.stderr.on("data", (data) => {
      heard += data;
      const found = heard.match(said);
      if (found) resolve(`http://${found[1]}`);
    });
    child.on("exit", (code) => reject(new Error(`the twin ended with ${code}: ${heard}`)));
  });
  const end = () => new Promise((resolve) => { child.removeAllListeners("exit"); child.on("exit", resolve); child.kill("SIGTERM"); });
  return { base, end };
}

async function until(what, look) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const api = async (base, path) => (await fetch(`${base}/api/v1${path}`)).json();
const digits = (text) => Number(text.replace(/[^\d.-]/g, ""));

async function checkPage(browser) {
  const plant = demo(40);
  const base = await plant.base;
  await until("two hundred sensors", async () => (await api(base, "/overview")).sensors === 200);
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  const complaints = [];
  let quiet = false;
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => { if (!quiet && ["error", "warning"].includes(message.type())) complaints.push(message.text()); });
  await page.goto(base);
  await page.waitForFunction(() => document.querySelector("#link").textContent === "WebTransport");
  const bytes = await page.evaluate(() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .filter((entry) => !entry.name.includes("/api/")).reduce((sum, entry) => sum + entry.encodedBodySize, 0));
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null);
  assert.ok(bytes > 10_000 && bytes < 150_000, `${bytes} bytes of page`);
  await until("the page counts what the API counts", async () => {
    const tiles = await page.$$eval(".tile", (nodes) => Object.fromEntries(nodes.map((node) => [node.querySelector("h3").textContent, node.querySelector("b").textContent])));
    const overview = await api(base, "/overview");
    return digits(tiles.Sensors) === overview.sensors && digits(tiles.Sessions) === overview.sessions && digits(tiles.Residual) === 0;
  });

  await page.keyboard.press("2");
  await page.waitForSelector("#field");
  const rate = await until("frames at their rate", async () => {
    const text = await page.textContent(".bar span");
    const frames = Number(text.match(/(\d+) frames\/s/)?.[1] ?? 0);
    return frames >= 20 && text.startsWith("200 sensors") && text.endsWith("by WebTransport") ? frames : null;
  });
  await page.hover("#field");
  await until("the sensor under the cursor", async () => /^sensor \d+: \w+ /.test(await page.textContent(".tip")));
  await page.click("#field");
  await page.waitForFunction(() => location.hash.startsWith("#/devices/"));

  const device = await page.evaluate(() => location.hash.split("/")[2]);
  await page.fill("#value", "31.5");
  await page.click("form button");
  await until("the setpoint is acknowledged", async () => (await page.textContent("form + p")).includes("acknowledged"));
  // The rule of the demo may set the same actuator a moment later; what the device held for this order stays in its entry.
  await until("the device held the setpoint", async () => (await api(base, "/commands")).items
    .some((one) => one.device === device && one.value === 31.5 && one.state === "acknowledged" && one.holds === 31.5));

  await page.click("#stop");
  await until("every session has stopped", async () => { const stop = await api(base, "/stop"); return stop.stopped && stop.taken && stop.waiting === 0 && stop.acknowledged === stop.concerned; });
  await until("the page says so", async () => (await page.textContent("#banner")).includes("40 of 40 sessions"));
  quiet = true; // A refused request is an error of the console; it is what is wanted here.
  await page.click("form button");
  await until("a setpoint is refused meanwhile", async () => (await page.textContent("form + p")).includes("stopped"));
  quiet = false;
  await page.click("#stop");
  await page.click("#ask-yes");
  await until("the stop is over", async () => (await api(base, "/stop")).stopped === false);
  await until("the page says that, too", async () => (await page.textContent("#stop")) === "Stop");

  for (const [key, view] of [["3", "devices"], ["4", "events"], ["5", "engine"], ["1", ""]]) {
    await page.keyboard.press("Escape");
    await page.evaluate(() => document.activeElement?.blur());
    await page.keyboard.press(key);
    await page.waitForFunction((hash) => location.hash === hash, `#/${view}`);
    await until(`${view || "overview"} shows something`, async () => (await page.$$("#main .panel")).length > 0);
  }
  await checkFallback(browser, base);
  await checkDevice(browser, base);
  await checkAges(browser, base);
  await checkToken(browser);
  quiet = true; // A connection that is refused is an error of the console; here it is what is wanted.
  await plant.end();
  await until("the page knows that it hears nothing", async () => (await page.textContent("#link")) === "no connection");
  const again = demo(40, base.replace("http://", ""));
  await again.base;
  await until("the page is back after a restart", async () => /^Web/.test(await page.textContent("#link")));
  await again.end();
  assert.deepEqual(complaints, []);
  await page.close();
  console.log(`page: ${bytes} bytes, first paint after ${paint?.toFixed(0)} ms, ${rate} frames/s, setpoint, stop and restart: ok`);
}

/** A browser that cannot do WebTransport, and one whose network lets no UDP through, watch by WebSocket. */
async function checkFallback(browser, base) {
  const hosts = { without: () => { delete window.WebTransport; }, refused: () => {
    const Real = window.WebTransport;
    // The discard port, where nobody answers.
    window.WebTransport = function (url, options) { return new Real(url.replace(/:\d+\//, ":9/"), options); };
  } };
  for (const [name, script] of Object.entries(hosts)) {
    const page = await browser.newPage();
    await page.addInitScript(script);
    await page.goto(`${base}/#/field`);
    await until(`WebSocket, ${name}`, async () => (await page.textContent("#link")) === "WebSocket");
    await until(`frames by WebSocket, ${name}`, async () => /200 sensors, [23]\d frames.* by WebSocket/.test(await page.textContent(".bar span")));
    await page.close();
  }
}

/**
 * A device is asked for once at a time, however slow the link is, and by nobody who has left its view; and what is drawn of it
 * needs no clock of the machine that the browser runs on.
 */
async function checkDevice(browser, base) {
  const { items } = await api(base, "/devices?limit=1");
  const page = await browser.newPage();
  await page.addInitScript(() => { const real = Date.now; Date.now = () => real() + 70_000; });
  let [asked, waiting, most, stuck] = [0, 0, 0, false];
  await page.route("**/api/v1/devices/*", async (route) => {
    [asked, waiting] = [asked + 1, waiting + 1];
    most = Math.max(most, waiting);
    await new Promise((resolve) => setTimeout(resolve, 300));
    waiting -= 1;
    if (!stuck) await route.continue().catch(() => {});
  });
  await page.goto(`${base}/#/devices/${items[0].device}/0`);
  await until("the device is asked for again and again", () => asked >= 6);
  assert.equal(most, 1, "questions on their way at the same time");
  await until("its chart is drawn", () => page.$eval("canvas.chart", (canvas) =>
    canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value !== 0)));
  stuck = true;
  const before = asked;
  await until("a question that gets no answer", () => asked > before);
  const given = page.waitForEvent("requestfailed", { predicate: (request) => request.url().includes("/devices/"), timeout: 5000 });
  await page.evaluate(() => { location.hash = "#/"; });
  await given;
  await page.close();
}

/** Values of a change are as old as the frame, or as it says of them. */
async function checkAges(browser, base) {
  const page = await browser.newPage();
  await page.goto(base);
  const ages = await page.evaluate(async () => {
    const { Sensors } = await import("/field.js");
    const sensors = new Sensors();
    // A change of three sensors, all named and as a map of bits: 0 is 30 s old, 1 as old as the frame, 2 has no value yet.
    const words = [0x31465850, 0, 0, 0, 0, 0, 1, 3, 0, 3, 3, 2, 0, 0b111, 0, 0, 0, 0, 2, 30_000, 0xffffffff];
    const frame = Uint32Array.from(words).buffer;
    new DataView(frame).setFloat64(16, 1e12, true);
    sensors.apply(frame);
    return [0, 1, 2].map((sensor) => sensors.age(sensor));
  });
  assert.deepEqual(ages, [30, 0, null]);
  await page.close();
}

/** A token may have characters that no subprotocol of a WebSocket may have. */
async function checkToken(browser) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "page-check-"));
  const token = "c2VjcmV0/+==0123";
  execFileSync(path.resolve(binary), ["certs", "init"], { cwd: folder, stdio: "ignore" });
  fs.writeFileSync(path.join(folder, "token"), `${token}\n`);
  const sets = ["net.addr=127.0.0.1:0", "http.addr=127.0.0.1:0", "http.token_file=token"].flatMap((set) => ["--set", set]);
  const plant = twin(["serve", ...sets], /listening http (\S+)\n/, folder);
  const base = await plant.base;
  const page = await browser.newPage();
  await page.addInitScript((known) => { delete window.WebTransport; sessionStorage.setItem("pollux.token", known); }, token);
  await page.goto(base);
  await until("a stream by WebSocket with a token", async () => (await page.textContent("#link")) === "WebSocket");
  await page.close();
  await plant.end();
  fs.rmSync(folder, { recursive: true });
}

async function takePictures(browser, folder) {
  const plant = demo(2000);
  const base = await plant.base;
  await until("ten thousand sensors", async () => (await api(base, "/overview")).sensors === 10_000);
  for (const colorScheme of ["light", "dark"]) {
    const page = await browser.newPage({ viewport: { width: 1280, height: 760 }, colorScheme });
    await page.goto(base);
    await page.waitForTimeout(colorScheme === "light" ? 12_000 : 4000);
    const shot = (name) => page.screenshot({ path: path.join(folder, `${name}-${colorScheme}.png`) });
    await shot("plant");
    const { devices } = { devices: await api(base, "/devices?limit=1") };
    const id = devices.items[0].device;
    for (const [name, hash] of [["field", "#/field"], ["device", `#/devices/${id}/0`], ["events", "#/events"], ["engine", "#/engine"]]) {
      await page.goto(`${base}/${hash}`);
      if (name === "device") await page.click("form button");
      await page.waitForTimeout(name === "device" ? 12_000 : 3000);
      await shot(name);
    }
    await page.close();
  }
  await plant.end();
  console.log(`pictures in ${folder}`);
}

(async () => {
  const browser = await chromium.launch({ executablePath: browserPath, args: ["--no-sandbox"] });
  await checkPage(browser);
  if (screenshots) await takePictures(browser, screenshots);
  await browser.close();
})().catch((error) => {
  console.error(`page-check: ${error.stack ?? error}`);
  process.exit(1);
});

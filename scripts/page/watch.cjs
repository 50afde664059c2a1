// What a browser gets of the field, and how soon the page is there: watch.cjs BASE CHROMIUM.
//
// It takes a step for each line of its standard input, so that whoever measures the twin beside it sets the pace: it loads
// the page and prints "loaded", with every page closed again; it opens the stream and prints "watching" once frames arrive;
// it ends the stream and prints one JSON object of what arrived since. An input that ends before that is a failure.
//
// The frames are taken by the page's own module and not drawn, so that a machine without a graphics card measures the
// transport and not its drawing.
const { chromium } = require("playwright-core");
const readline = require("node:readline");

const [base, executablePath] = process.argv.slice(2);
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const told = async () => {
  if ((await lines.next()).done) throw new Error("the input ended before the measurement");
};

const load = async (browser) => {
  const paints = [];
  let bytes = 0;
  for (let run = 0; run < 5; run += 1) {
    const page = await (await browser.newContext()).newPage();
    await page.goto(base);
    const seen = await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
    paints.push(await seen.jsonValue());
    bytes = await page.evaluate(() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
      .filter((entry) => !entry.name.includes("/api/")).reduce((sum, entry) => sum + entry.transferSize, 0));
    await page.context().close();
  }
  return { first_paint_ms: paints, page_bytes: bytes };
};

// In the page: resolves when frames arrive, and leaves `endWatch` behind.
const watch = () => new Promise((resolve, reject) => {
  import("/api.js").then(({ stream }) => {
    let [by, frames, last, missed, start] = [null, 0, null, 0, null];
    const close = stream("field", {
      message: (data) => {
        const picture = new DataView(data).getUint32(24, true);
        if (last !== null && picture > last + 1) missed += picture - last - 1;
        [last, frames] = [picture, frames + 1];
        if (start === null && frames > 10) {
          [frames, missed, start] = [0, 0, performance.now()];
          resolve();
        }
      },
      state: (_, link) => { by = link ?? by; },
    });
    window.endWatch = () => {
      const watched = { by, frames_hz: frames / ((performance.now() - start) / 1000), pictures_missed: missed };
      close();
      return watched;
    };
  }).catch(reject);
});

(async () => {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  await told();
  const loaded = await load(browser);
  console.log("loaded");
  await told();
  const page = await browser.newPage();
  await page.goto(`${base}/style.css`);
  await page.evaluate(watch);
  console.log("watching");
  await told();
  const watched = await page.evaluate(() => window.endWatch());
  await browser.close();
  console.log(JSON.stringify({ ...watched, ...loaded }));
  process.exit(0);
})().catch((error) => {
  console.error(`watch: ${error.stack ?? error}`);
  process.exit(1);
});

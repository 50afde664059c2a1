// What a browser gets of the field, and how soon the page is there: watch.cjs BASE CHROMIUM SECONDS; prints one JSON object.
//
// The frames are taken by the page's own module and not drawn, so that a machine without a graphics card measures the
// transport and not its drawing.
const { chromium } = require("playwright-core");

const [base, executablePath, seconds] = process.argv.slice(2);

(async () => {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
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
  const page = await browser.newPage();
  await page.goto(`${base}/style.css`);
  const { by, frames, missed } = await page.evaluate(async (ms) => {
    const { stream } = await import("/api.js");
    let [by, frames, last, missed] = [null, 0, null, 0];
    const close = stream("field", {
      message: (data) => {
        const picture = new DataView(data).getUint32(24, true);
        if (last !== null && picture > last + 1) missed += picture - last - 1;
        [last, frames] = [picture, frames + 1];
      },
      state: (_, link) => { by = link ?? by; },
    });
    const until = (ready) => new Promise((resolve) => { const timer = setInterval(() => { if (ready()) { clearInterval(timer); resolve(); } }, 5); });
    await until(() => frames > 10);
    console.log("watching");
    [frames, missed] = [0, 0];
    const start = performance.now();
    await until(() => performance.now() - start >= ms);
    const took = (performance.now() - start) / 1000;
    close();
    return { by, frames: frames / took, missed };
  }, Number(seconds) * 1000);
  await browser.close();
  console.log(JSON.stringify({ by, frames_hz: frames, pictures_missed: missed, first_paint_ms: paints, page_bytes: bytes }));
})().catch((error) => {
  console.error(`watch: ${error.stack ?? error}`);
  process.exit(1);
});

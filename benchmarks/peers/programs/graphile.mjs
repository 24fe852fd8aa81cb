// graphile-worker, measured from inside its own node_modules. Usage: DATABASE_URL WHAT COUNT SIZE -> one line of JSON.
// WHAT: plain (24 concurrent jobs), batched (local queue and batched completion as its own performance page sets them),
// single (32 callers of addJob), batch (addJobs of SIZE).
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const { Logger, makeWorkerUtils, run, runMigrations } = require("graphile-worker");

const [url, what, countText, sizeText] = process.argv.slice(2);
const count = Number(countText);
const size = Number(sizeText);
const payload = { greeting: "Hello from Strait!", number: 12345 };
const quiet = new Logger(() => () => {});
const now = () => Number(process.hrtime.bigint()) / 1e9;

async function fill(utils) {
  const began = now();
  for (let at = 0; at < count; at += size) {
    const batch = Array.from({ length: Math.min(size, count - at) }, () => ({ identifier: "noop", payload }));
    await utils.addJobs(batch);
  }
  return now() - began;
}

async function single(utils) {
  let left = count;
  const began = now();
  const caller = async () => {
    while (left > 0) {
      left -= 1;
      await utils.addJob("noop", payload);
    }
  };
  await Promise.all(Array.from({ length: 32 }, caller));
  return { rate: count / (now() - began) };
}

async function drain(utils, batched) {
  await fill(utils);
  let done = 0;
  let start = null;
  const warm = Math.floor(count / 20);
  let finished;
  const all = new Promise((resolve) => (finished = resolve));
  const options = batched ? { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } : {};
  const runner = await run({
    preset: { worker: { connectionString: url, concurrentJobs: 24, maxPoolSize: 25, ...options } },
    logger: quiet,
    taskList: {
      noop: async () => {
        done += 1;
        if (done === warm) start = { at: now(), cpu: process.cpuUsage() };
        if (done === count) finished();
      },
    },
  });
  await all;
  await runner.stop();
  const secs = now() - start.at;
  const cpu = process.cpuUsage(start.cpu);
  return { rate: (count - warm) / secs, cpu_us: (cpu.user + cpu.system) / (count - warm) };
}

await runMigrations({ connectionString: url, logger: quiet });
const utils = await makeWorkerUtils({ connectionString: url, logger: quiet });
let said;
if (what === "single") said = await single(utils);
else if (what === "batch") said = { rate: count / (await fill(utils)) };
else said = await drain(utils, what === "batched");
await utils.release();
console.log(JSON.stringify(said));
process.exit(0);

// Runs what is given to `claim` and prints for each what the standard harness of Rust prints.

/** Milliseconds that anything may take to come true. */
const PATIENCE = 30_000;

const claims = [];

/** Adds a claim: a function that fails by throwing. */
export function claim(proof) {
  claims.push(proof);
}

/** Waits until `check` answers something true, and answers that. */
export async function eventually(what, check) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > end) throw new Error(`still not true: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Runs the claims that the command line names, all if it names none. */
export async function main() {
  const wanted = process.argv.slice(2);
  let good = true;
  for (const proof of claims) {
    if (wanted.length === 0 || wanted.includes(proof.name)) good = (await run(proof)) && good;
  }
  process.exit(good ? 0 : 1);
}

async function run(proof) {
  const begin = Date.now();
  let why;
  try {
    await proof();
  } catch (error) {
    why = error?.stack ?? String(error);
  }
  const took = ((Date.now() - begin) / 1000).toFixed(2);
  console.log(`test ${proof.name} ... ${why ? "FAILED" : "ok"} <${took}s>`);
  if (why) console.log(why);
  return !why;
}

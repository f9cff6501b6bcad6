// What the page knows: the run as the server tells it, and what was said that the server has not got yet.

export const run = { name: "", classes: [], sources: [], epochs: {}, notices: [], clips: new Map() };

let token = "";
let tag = "";
const unsaved = new Map(); // clip -> rating, until the server has it
const sending = new Set();
let changed = () => {};

/** Calls `listener` when ratings could or could not be kept. */
export const onSaving = (listener) => { changed = listener; };

/** How many ratings only this page has, and why. */
export const saving = { count: () => unsaved.size, fault: "" };

/** Asks the server for the run. Resolves to true if something is new; rejects if nobody answers. */
export async function load() {
  const answer = await fetch("/api/run", { headers: tag ? { "If-None-Match": tag } : {} });
  if (answer.status === 304) return false;
  if (!answer.ok) throw new Error(await reason(answer));
  tag = answer.headers.get("ETag") ?? "";
  const told = await answer.json();
  token = told.token;
  for (const clip of told.clips) Object.assign(clip.rating, unsaved.get(clip.clip));
  Object.assign(run, { ...told, name: told.run, clips: new Map(told.clips.map((clip) => [clip.clip, clip])) });
  return true;
}

/** Sets fields of a clip's rating here at once, and on the server as soon as it can be. */
export function rate(clip, fields) {
  Object.assign(clip.rating, fields);
  unsaved.set(clip.clip, { ...clip.rating });
  return send(clip.clip);
}

/** Tries again to send what the server has not got. */
export const retry = () => Promise.all([...unsaved.keys()].map(send));

async function send(name) {
  if (sending.has(name)) return; // goes on below with what is newest by then
  sending.add(name);
  try {
    for (let rating; (rating = unsaved.get(name));) {
      await post("/api/rate", { clip: name, ...rating });
      if (unsaved.get(name) === rating) unsaved.delete(name);
      saving.fault = "";
    }
  } catch (error) {
    saving.fault = error.message;
  } finally {
    sending.delete(name);
    changed();
  }
}

/** Posts JSON. Rejects with the server's own line, its status in `status`. */
export async function post(path, body) {
  let answer = await ask(path, body);
  if (answer.status === 403) { // the server was started anew and has another token
    tag = "";
    await load();
    answer = await ask(path, body);
  }
  if (!answer.ok) throw Object.assign(new Error(await reason(answer)), { status: answer.status });
  return answer.json();
}

function ask(path, body) {
  const headers = { "Content-Type": "application/json", "X-Samplernn-Token": token };
  return fetch(path, { method: "POST", headers, body: JSON.stringify(body) }).catch(() => {
    throw new Error("the server does not answer: is samplernn audition still running?");
  });
}

async function reason(answer) {
  const text = await answer.text();
  try { return JSON.parse(text).error ?? text; } catch { return text || answer.statusText; }
}

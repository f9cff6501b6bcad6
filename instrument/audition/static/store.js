// What the page knows: the run as the server tells it, and what was said that the server has not got yet.

export const run = { name: "", classes: [], sources: [], epochs: {}, notices: [], clips: new Map() };

let token = "";
let tag = "";
let words = 0; // counts what is said here and what the server got of it
const unsaved = new Map(); // clip and network -> { heard, fields } that were said, until the server has them
const sending = new Set();
const REFUSED = new Set([400, 413, 422]); // sent again, these would be refused again
let changed = () => {};

/** Calls `listener` with a clip's name when what was said of it could or could not be kept. */
export const onSaving = (listener) => { changed = listener; };

/** How many clips' ratings only this page has, and why; and what the server would not have. */
export const saving = { count: () => unsaved.size, fault: "", refused: "" };

const heardAs = ({ clip, checkpoint }) => ({ clip, checkpoint });
const keyOf = ({ clip, checkpoint }) => `${clip} ${checkpoint ?? ""}`;

/** Asks the server for the run. Resolves to true if something is new; rejects if nobody answers. */
export async function load() {
  const before = words;
  const answer = await fetch("/api/run", { headers: tag ? { "If-None-Match": tag } : {} });
  if (answer.status === 304) return false;
  if (!answer.ok) throw new Error(await reason(answer));
  const told = await answer.json();
  token = told.token;
  if (words !== before) return false; // it may have been written before what was said since; the next one was not
  tag = answer.headers.get("ETag") ?? "";
  for (const clip of told.clips) Object.assign(clip.rating, unsaved.get(keyOf(clip))?.fields);
  Object.assign(run, { ...told, name: told.run, clips: new Map(told.clips.map((clip) => [clip.clip, clip])) });
  return true;
}

/** Sets fields of a clip's rating here at once, and on the server as soon as it can be: only these, for others may be at
 * the rest. */
export function rate(clip, fields) {
  words += 1;
  Object.assign(clip.rating, fields);
  const said = unsaved.get(keyOf(clip)) ?? { heard: heardAs(clip), fields: {} };
  Object.assign(said.fields, fields);
  unsaved.set(keyOf(clip), said);
  return send(keyOf(clip));
}

/** Tries again to send what the server has not got. */
export const retry = () => Promise.all([...unsaved.keys()].map(send));

async function send(key) {
  if (sending.has(key)) return; // goes on below with what is newest by then
  sending.add(key);
  const { heard } = unsaved.get(key);
  try {
    for (let said; (said = unsaved.get(key));) {
      const [field, value] = Object.entries(said.fields)[0];
      await keep(said, field, value);
      if (said.fields[field] === value) delete said.fields[field]; // else it was said anew meanwhile
      if (!Object.keys(said.fields).length) unsaved.delete(key);
      words += 1;
    }
    saving.fault = "";
  } catch (error) {
    saving.fault = error.message;
  } finally {
    sending.delete(key);
    changed(heard.clip);
  }
}

/** Has the server keep a field, and shows the rating as it is there. Rejects with what may be better the next time. */
async function keep({ heard, fields }, field, value) {
  try {
    const kept = await post("/api/rate", { ...heard, [field]: value });
    const clip = run.clips.get(heard.clip);
    if (clip?.checkpoint === heard.checkpoint) Object.assign(clip.rating, kept, fields);
    saving.refused = "";
  } catch (error) {
    if (!REFUSED.has(error.status)) throw error;
    saving.refused = `not kept: ${error.message}`;
    tag = ""; // the next answer shows what is
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

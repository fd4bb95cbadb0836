// What the API says: routes as JSON, and the live stream. One stream serves the whole page.

const TOKEN = "edgewise-token";
const listeners = new Map();
let lastId = "", declined = false;

const known = () => sessionStorage.getItem(TOKEN);

function headers(more = {}) {
  return known() ? { ...more, Authorization: `Bearer ${known()}` } : more;
}

/** The JSON of a route. Throws an Error with the API's own words. */
export async function get(path) {
  const used = known();
  const response = await fetch(`/api/${path}`, { headers: headers() });
  if (response.status === 401 && (known() !== used || askForToken())) return get(path);
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.detail || body.title || `HTTP ${response.status}`);
  return body;
}

/** Whether there is a token to try. Who declines once is not asked again by this page. */
function askForToken() {
  const token = declined ? null : window.prompt("This API asks for a token:");
  if (token) sessionStorage.setItem(TOKEN, token.trim());
  declined ||= !token;
  return Boolean(token);
}

/** Call `heard(body)` for every event of these kinds, until the function that this returns is called. */
export function listen(kinds, heard) {
  const entry = { kinds: new Set(kinds), heard };
  listeners.set(entry, entry);
  return () => listeners.delete(entry);
}

function tell(kind, body) {
  for (const { kinds, heard } of [...listeners.values()]) if (kinds.has(kind)) heard(body, kind);
}

/** Read the stream for ever; `state(true | false)` tells whether it is up. EventSource cannot send a token. */
export async function stream(state) {
  for (;;) {
    try {
      const response = await fetch("/api/stream", { headers: headers(lastId ? { "Last-Event-ID": lastId } : {}) });
      if (!response.ok) throw new Error(String(response.status));
      state(true);
      await read(response.body.pipeThrough(new TextDecoderStream()).getReader());
    } catch { /* the next attempt tells */ }
    state(false);
    await new Promise((done) => setTimeout(done, 2000));
  }
}

async function read(reader) {
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    frames.forEach(event);
  }
}

function event(frame) {
  const fields = Object.fromEntries(frame.split("\n").map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trimStart()];
  }));
  if (fields.id) lastId = fields.id;
  if (fields.event) tell(fields.event, JSON.parse(fields.data));
}

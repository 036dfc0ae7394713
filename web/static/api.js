// The server's answers; every problem is an Error whose message is one sentence.

const PATIENCE = 6; // times that a full queue is asked again

async function problem(response) {
  try {
    return (await response.json()).error || `the server answered ${response.status}`;
  } catch {
    return `the server answered ${response.status}`;
  }
}

const pause = (seconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, 1000 * seconds);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(new DOMException("", "AbortError")); });
});

async function ask(path, options = {}) {
  for (let turn = 0; ; turn += 1) {
    let response;
    try {
      response = await fetch(path, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("the server does not answer; is it still running?");
    }
    if (response.ok) return response;
    if (response.status !== 429 || turn === PATIENCE) throw new Error(await problem(response));
    await pause(Number(response.headers.get("Retry-After")) || 1, options.signal);
  }
}

function form(file, fields = {}) {
  const body = new FormData();
  for (const each of Array.isArray(file) ? file : [file]) body.append("file", each, each.name);
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  return body;
}

export const get = async (path) => (await ask(path)).json();
export const getText = async (path) => (await ask(path)).text();

/** Send a crystal; the answer as JSON. */
export async function post(path, file, fields, signal) {
  return (await ask(path, { method: "POST", body: form(file, fields), signal })).json();
}

/** Send a crystal; the answer as a picture. */
export async function postForPicture(path, file, signal) {
  const response = await ask(path, { method: "POST", body: form(file), signal });
  return createImageBitmap(await response.blob());
}

/** Send several files; `onRow(row, total)` for each crystal as its line comes. */
export async function postForLines(path, files, onRow, signal) {
  const response = await ask(path, { method: "POST", body: form(files), signal });
  const total = Number(response.headers.get("X-Crystals"));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return total;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    lines.forEach((line) => onRow(JSON.parse(line), total));
  }
}

/* Talking to the service. Whatever it refuses is one sentence for people. */

const KEY = "compressor-key";

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const useKey = (key) => sessionStorage.setItem(KEY, key);

/* An answer, or `Refused`. A key that is missing or wrong is told to whoever listens for "key-needed". */
export async function ask(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The service does not answer; is it still running?");
  }
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({}));
  if (answer.status === 401 || answer.status === 403) {
    sessionStorage.removeItem(KEY);
    const detail = key && error ? sentence(error) : "";
    document.dispatchEvent(new CustomEvent("key-needed", { detail }));
  }
  const said = error ? sentence(error) : `The service answered ${answer.status}.`;
  throw new Refused(answer.status, said + later(answer));
}

/* A message that begins with a verb speaks of the part of the request that it names. */
export function sentence({ message, param }) {
  const said = param && /^(is|has|names) /.test(message) ? `${param} ${message}` : message;
  return said.charAt(0).toUpperCase() + said.slice(1);
}

function later(answer) {
  const seconds = answer.headers.get("Retry-After");
  return seconds ? `; try again in ${seconds} s` : "";
}

/* The JSON of an answer, with `roundTrip` in milliseconds. */
export async function timed(path, options) {
  const started = performance.now();
  const found = await (await ask(path, options)).json();
  return { ...found, roundTrip: performance.now() - started };
}

export function json(content, signal) {
  return { method: "POST", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) };
}

export function form(fields, signal) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Blob) body.append(name, value, "picture");
    else body.append(name, typeof value === "string" ? value : JSON.stringify(value));
  }
  return { method: "POST", signal, body };
}

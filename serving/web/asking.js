/* A part of the page that asks every model the same, and shows what each of them answers. */

import { Refused } from "./api.js";
import { say } from "./elements.js";
import { known } from "./served.js";

/* A function that asks: a new question ends the one under way. It takes the words to wait with; `choose`, which
   picks from what is served; `one(model, signal)`, which asks; and how to show {model, answer or error}, and all
   of them in a sentence. */
export function asker(place, status) {
  let running = null;
  return async ({ words, choose, one, shown, summary }) => {
    running?.abort();
    running = new AbortController();
    const { signal } = running;
    place.setAttribute("aria-busy", "true");
    say(status, words);
    try {
      const found = await askEach(choose(await known()), signal, one);
      present(place, status, found, shown, summary);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof Refused)) throw error;
      present(place, status, [{ error }], shown, summary);
    }
  };
}

/* In turn: side by side they would slow each other down, and the times shown would say so. */
async function askEach(models, signal, one) {
  const found = [];
  for (const model of models) {
    try {
      found.push({ model, answer: await one(model, signal) });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      found.push({ model, error });
    }
    signal.throwIfAborted();
  }
  return found;
}

/* What all models say is wrong is said once. */
function present(place, status, found, shown, summary) {
  const [reason, ...others] = new Set(found.map(({ error }) => error?.message ?? ""));
  const failed = Boolean(reason) && !others.length;
  place.replaceChildren(...(failed ? [] : found.map(shown)));
  place.setAttribute("aria-busy", "false");
  const answered = found.filter(({ answer }) => answer);
  say(status, failed ? reason : answered.length ? summary(answered) : "No model has an answer.", failed);
}

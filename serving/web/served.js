/* What is served: asked once, and again where that failed. */

import { timed } from "./api.js";

let asked = null;

/* {models, embedders, writers}. Rejects with `Refused`; then the next one who asks tries again. */
export function known() {
  asked ??= learn().catch((error) => {
    asked = null;
    throw error;
  });
  return asked;
}

async function learn() {
  const { models } = await timed("models");
  const embeds = ({ kind }) => kind === "dual_encoder";
  return { models, embedders: models.filter(embeds), writers: models.filter((model) => !embeds(model)) };
}

/* The models that are served, a card each. */

import { timed } from "./api.js";
import { $, column, facts, ms, number, plural, say, size } from "./elements.js";
import { quality } from "./measures.js";

export async function showModels(models) {
  const galleries = await Promise.all(models.map(gallery));
  $("cards").replaceChildren(...models.map((model, k) => card(model, galleries[k])));
  say($("models-status"), "");
}

async function gallery({ kind, name }) {
  if (kind !== "dual_encoder") return null;
  try {
    const { count } = await timed(`gallery?limit=0&model=${encodeURIComponent(name)}`);
    return count ? plural(count, "picture", "pictures") : "empty";
  } catch (error) {
    return error.message;
  }
}

function card(model, pictures) {
  const { parameters = {}, threads, report } = model;
  const measured = report?.points.find(({ served }) => served);
  const ofPrecision = report?.points.find(({ name, served }) => served && name === model.precision) ?? measured;
  const panel = column(
    model,
    facts(
      Object.entries({
        Bundle: model.bundle,
        Hash: model.sha256.slice(0, 12),
        "Runs on": [...model.providers, threads && plural(threads, "thread", "threads")].filter(Boolean).join(", "),
        Parameters: parameters.total && number(parameters.total),
        Size: ofPrecision?.bytes && size(ofPrecision.bytes),
        "Picture size": `${model.image_size} pixels`,
        Dimensions: model.dimensions,
        Quality: measured && quality(measured),
        "Latency p50": ofPrecision?.latency_ms && ms(ofPrecision.latency_ms),
        Licence: model.licence,
        Gallery: pictures,
      }).filter(([, value]) => value),
    ),
  );
  panel.classList.add("card");
  return panel;
}

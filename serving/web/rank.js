/* Ranking texts for a picture by every model. */

import { form, sentence, timed } from "./api.js";
import { asker } from "./asking.js";
import { $, column, make, ms, say, trouble } from "./elements.js";
import { preview } from "./pictures.js";

const askAll = asker($("ranks"), $("rank-status"));
let picture = null;

function rank() {
  const texts = $("texts").value.split("\n").filter((line) => line.trim());
  if (!picture || !texts.length) {
    say($("rank-status"), picture ? "Write at least one text." : "Choose a picture first.");
    $(picture ? "texts" : "rank-file").focus();
    return;
  }
  askAll({
    words: "Ranking…",
    choose: ({ embedders }) => embedders,
    one: (model, signal) => timed("rank", form({ model: model.name, texts, image: picture }, signal)),
    shown: (one) => shown(one, texts),
    summary: (found) => summary(found, texts),
  });
}

function shown({ model, answer, error }, texts) {
  if (error) return column(model, trouble(error));
  const took = make("p", { className: "quiet number" }, `round trip ${ms(answer.roundTrip)}`);
  return column(model, took, make("ol", { className: "bars" }, ...answer.results.map((each) => bar(each, texts))));
}

function bar({ index, probability, cosine, error }, texts) {
  if (error) return make("li", {}, texts[index], trouble(new Error(sentence(error))));
  const percent = `${(probability * 100).toFixed(1)} %`;
  const value = make("span", { className: "number", title: `cosine ${cosine.toFixed(3)}` }, percent);
  const filled = make("div", { className: "bar" });
  filled.style.width = `${probability * 100}%`;
  const track = make("div", { className: "track", ariaHidden: "true" }, filled);
  return make("li", {}, make("p", {}, make("span", {}, texts[index]), value), track);
}

function summary(found, texts) {
  const words = found.map(({ model, answer }) => `by ${model.name}: ${texts[answer.results[0].index]}`);
  return `Most likely ${words.join("; ")}.`;
}

export function rankFor(blob, name) {
  picture = blob;
  preview($("rank-preview"), blob);
  $("rank-name").textContent = name;
  rank();
}

$("rank-form").addEventListener("submit", (event) => {
  event.preventDefault();
  rank();
});

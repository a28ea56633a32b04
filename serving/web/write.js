/* Captions of a picture and answers about it, by the models that write. */

import { form, sentence, timed } from "./api.js";
import { asker } from "./asking.js";
import { $, column, facts, make, ms, say, trouble } from "./elements.js";
import { preview } from "./pictures.js";

const askAll = asker($("written"), $("write-status"));
let picture = null;

function write() {
  if (!picture) {
    say($("write-status"), "Choose a picture first.");
    $("write-file").focus();
    return;
  }
  const questions = $("questions").value.split("\n").filter((line) => line.trim());
  askAll({
    words: "Writing…",
    choose: ({ writers }) => writers.filter(({ kind }) => kind !== "vqa" || questions.length),
    one: (model, signal) => writeOne(model, questions, signal),
    shown,
    summary: () => "Written.",
  });
}

function writeOne(model, questions, signal) {
  const fields = { model: model.name, image: picture };
  return model.kind === "vqa"
    ? timed("answer", form({ ...fields, questions }, signal))
    : timed("caption", form(fields, signal));
}

function shown({ model, answer, error }) {
  if (error) return column(model, trouble(error));
  const took = make("p", { className: "quiet number" }, `round trip ${ms(answer.roundTrip)}`);
  const texts = answer.results.map((result) =>
    result.error ? trouble(new Error(sentence(result.error))) : text(result),
  );
  return column(model, took, ...texts);
}

function text({ caption, question, answer }) {
  return question === undefined ? make("p", { className: "text" }, caption) : facts([[question, answer]]);
}

export function writeOf(blob, name) {
  picture = blob;
  preview($("write-preview"), blob);
  $("write-name").textContent = name;
  write();
}

$("write-form").addEventListener("submit", (event) => {
  event.preventDefault();
  write();
});

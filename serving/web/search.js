/* Searching the gallery of every model, by a text or by a picture. */

import { ask, hasKey, json, timed } from "./api.js";
import { asker } from "./asking.js";
import { $, column, make, ms, plural, say, trouble } from "./elements.js";
import { preview, show } from "./pictures.js";

const askAll = asker($("results"), $("search-status"));
let picture = null; // what is searched by instead of the text: {blob, name}

function search() {
  const text = $("query").value;
  if (!picture && !text.trim()) {
    say($("search-status"), "Type what you look for, or choose a picture.");
    $("query").focus();
    return;
  }
  share(picture ? "" : text);
  askAll({
    words: "Searching…",
    choose: ({ embedders }) => embedders,
    one: (model, signal) => searchOne(model, text, signal),
    shown,
    summary,
  });
}

function searchOne(model, text, signal) {
  const k = Number($("count").value);
  if (!picture) return timed("search", json({ model: model.name, text, k }, signal));
  const headers = { "Content-Type": "application/octet-stream" };
  const path = `search?model=${encodeURIComponent(model.name)}&k=${k}`;
  return timed(path, { method: "POST", signal, headers, body: picture.blob });
}

function shown({ model, answer, error }) {
  if (error) return column(model, trouble(error));
  if (!answer.results.length) return column(model, ...howToFill(model));
  const { encode, index } = answer.took_ms;
  const took = `encode ${ms(encode)}, index ${ms(index)}, round trip ${ms(answer.roundTrip)}`;
  const hits = answer.results.map((hit) => make("li", {}, card(model, hit)));
  return column(model, make("p", { className: "quiet number" }, took), make("ol", { className: "grid" }, ...hits));
}

function howToFill(model) {
  const { href } = new URL(`gallery?model=${encodeURIComponent(model.name)}`, location.href);
  const key = hasKey() ? "-H 'Authorization: Bearer KEY' " : "";
  return [
    make("p", {}, "The gallery of this model is empty. Fill it from a folder, RUN being what is served here:"),
    make("pre", {}, "compressor gallery build RUN --images DIR"),
    make("p", {}, "or send it a picture:"),
    make("pre", {}, `curl ${key}-F images=@cat.jpg -F 'items=[{"id": "cat.jpg"}]' '${href}'`),
  ];
}

function card(model, hit) {
  const path = `gallery/${encodeURIComponent(hit.id)}/image?model=${encodeURIComponent(model.name)}`;
  const image = make("img", { alt: "", loading: "lazy", decoding: "async", width: 256, height: 256 });
  show(image, path);
  const score = hit.score.toFixed(3);
  const told = Object.entries(hit.metadata).map(([key, value]) => `${key}: ${value}`);
  const button = make(
    "button",
    { type: "button", className: "hit", title: [hit.id, ...told].join("\n") },
    image,
    make(
      "span",
      {},
      make("span", { className: "name" }, make("bdi", {}, hit.id)),
      make("span", { className: "number" }, score),
    ),
  );
  button.ariaLabel = `${[hit.id, ...told].join(", ")}; score ${score}; find pictures like it`;
  button.addEventListener("click", async () => {
    try {
      searchBy(await (await ask(path)).blob(), hit.id);
    } catch (error) {
      say($("search-status"), error.message, true);
    }
  });
  return button;
}

function summary(found) {
  const answers = found.map(({ answer }) => answer.results);
  const words = `${plural(answers[0].length, "picture", "pictures")} found`;
  if (answers.length < 2 || !answers[0].length) return `${words}.`;
  const rest = answers.slice(1).map((hits) => new Set(hits.map(({ id }) => id)));
  const same = answers[0].filter(({ id }) => rest.every((ids) => ids.has(id))).length;
  return `${words} by each model, ${same} of them the same.`;
}

/* The address of the page holds the text, so that a link shares the search: /?q=a+red+star */
function share(text) {
  const address = new URL(location.href);
  if (text) address.searchParams.set("q", text);
  else address.searchParams.delete("q");
  history.replaceState(null, "", address);
}

export function searchBy(blob, name) {
  setPicture({ blob, name });
  if ($("results").contains(document.activeElement)) $("query-clear").focus(); // what had it is about to go
  search();
  $("search").scrollIntoView();
}

function setPicture(given) {
  picture = given;
  $("query-picture").hidden = !given;
  if (!given) return;
  $("query").value = "";
  $("query-name").textContent = given.name;
  preview($("query-preview"), given.blob);
}

export function searchByLink() {
  const text = new URLSearchParams(location.search).get("q");
  if (!text) return;
  $("query").value = text;
  search();
}

$("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
$("query").addEventListener("input", () => $("query").value && picture && setPicture(null));
$("query-clear").addEventListener("click", () => {
  setPicture(null);
  $("query").focus();
});
$("count").addEventListener("change", () => (picture || $("query").value.trim()) && search());

"use strict";

const KEY = "compressor-key";
const $ = (id) => document.getElementById(id);
let served = []; // the models of /models that embed
let known = null; // settled when they are known; its value says why they are not
let query = null; // the picture that is searched by: {blob, name}
let ranked = null; // the picture that texts are ranked for
let searching = null; // the AbortController of the search under way
let ranking = null;

/* Talking to the service */

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
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
    askForKey(key && error ? sentence(error) : "");
  }
  throw new Refused(answer.status, error ? sentence(error) : `The service answered ${answer.status}.`);
}

/* A message that begins with a verb speaks of the part of the request that it names. */
function sentence({ message, param }) {
  const said = param && /^(is|has|names) /.test(message) ? `${param} ${message}` : message;
  return said.charAt(0).toUpperCase() + said.slice(1);
}

async function timed(path, options) {
  const started = performance.now();
  const found = await (await ask(path, options)).json();
  return { ...found, roundTrip: performance.now() - started };
}

function json(content, signal) {
  return { method: "POST", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) };
}

function askForKey(why) {
  $("key-error").textContent = why;
  $("key-error").hidden = !why;
  if (!$("key-form").hidden) return;
  $("key-form").hidden = false;
  $("key").focus();
}

/* Making elements */

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null));
  return element;
}

const ms = (value) => `${value < 10 ? value.toFixed(2) : value.toFixed(0)} ms`;

function column(model, ...children) {
  const about = [model.role === model.name ? "" : model.role, model.precision].filter(Boolean).join(", ");
  const head = make("h3", {}, model.name, make("span", { className: "quiet" }, ` ${about}`));
  return make("section", { className: "column", ariaLabel: model.name }, head, ...children);
}

const trouble = (error) => make("p", { className: "error" }, error.message);

function busy(place, status, words) {
  place.setAttribute("aria-busy", words ? "true" : "false");
  if (words) status.textContent = words;
}

/* Searching */

async function search() {
  const text = $("query").value;
  if (!query && !text.trim()) {
    $("search-status").textContent = "Type what you look for, or choose a picture.";
    $("query").focus();
    return;
  }
  searching?.abort();
  searching = new AbortController();
  const { signal } = searching;
  share(query ? "" : text);
  busy($("results"), $("search-status"), "Searching…");
  const found = [];
  const failure = await known;
  try {
    // One after the other: side by side they would slow each other down, and the times shown would say so.
    for (const model of served) found.push(await searchOne(model, text, signal));
  } catch (error) {
    if (error.name === "AbortError") return;
    throw error;
  }
  for (const old of $("results").querySelectorAll("img")) forget(old);
  $("results").replaceChildren(...found.map(shown));
  busy($("results"));
  $("search-status").textContent = failure || summary(found);
}

async function searchOne(model, text, signal) {
  const k = Number($("count").value);
  const name = encodeURIComponent(model.name);
  const octets = { "Content-Type": "application/octet-stream" };
  try {
    const answer = query
      ? await timed(`search?model=${name}&k=${k}`, { method: "POST", signal, headers: octets, body: query.blob })
      : await timed("search", json({ model: model.name, text, k }, signal));
    return { model, answer };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { model, error };
  }
}

function shown({ model, answer, error }) {
  if (error) return column(model, trouble(error));
  if (!answer.results.length) {
    const command = make("code", {}, "compressor gallery build RUN --images DIR");
    return column(model, make("p", {}, "The gallery of this model is empty. Fill it with ", command, "."));
  }
  const { encode, index } = answer.took_ms;
  const took = `encode ${ms(encode)}, index ${ms(index)}, round trip ${ms(answer.roundTrip)}`;
  const hits = answer.results.map((hit) => make("li", {}, card(model, hit)));
  return column(model, make("p", { className: "quiet number" }, took), make("ol", { className: "grid" }, ...hits));
}

function card(model, hit) {
  const path = `gallery/${encodeURIComponent(hit.id)}/image?model=${encodeURIComponent(model.name)}`;
  const image = make("img", { alt: "", loading: "lazy", decoding: "async", width: 256, height: 256 });
  show(image, path);
  const name = make("span", { className: "name" }, hit.id);
  const score = make("span", { className: "number" }, hit.score.toFixed(3));
  const told = Object.entries(hit.metadata).map(([key, value]) => `${key}: ${value}`);
  const button = make(
    "button",
    { type: "button", className: "hit", title: [hit.id, ...told].join("\n") },
    image,
    make("span", {}, name, score),
  );
  button.ariaLabel = `${hit.id}, score ${hit.score.toFixed(3)}; find pictures like it`;
  button.addEventListener("click", async () => {
    try {
      searchBy(await (await ask(path)).blob(), hit.id);
    } catch (error) {
      $("search-status").textContent = error.message;
    }
  });
  return button;
}

/* With a key a picture must be asked for with it, which an element cannot do itself. */
async function show(image, path) {
  if (!sessionStorage.getItem(KEY)) {
    image.src = path;
    return;
  }
  try {
    image.src = URL.createObjectURL(await (await ask(path)).blob());
  } catch (error) {
    image.alt = error.message;
  }
}

function forget(image) {
  if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
}

function summary(found) {
  const answers = found.filter(({ answer }) => answer).map(({ answer }) => answer.results);
  if (!answers.length) return found.length ? "The search failed." : "No model that is served can search.";
  const words = `${answers[0].length} pictures found`;
  if (answers.length < 2 || !answers[0].length) return `${words}.`;
  const rest = answers.slice(1).map((hits) => new Set(hits.map(({ id }) => id)));
  const same = answers[0].filter(({ id }) => rest.every((ids) => ids.has(id))).length;
  return `${words} by each model, ${same} of them the same.`;
}

function share(text) {
  const address = new URL(location.href);
  if (text) address.searchParams.set("q", text);
  else address.searchParams.delete("q");
  history.replaceState(null, "", address);
}

function searchBy(blob, name) {
  setQuery({ blob, name });
  search();
  $("search").scrollIntoView();
}

function setQuery(picture) {
  forget($("query-preview"));
  query = picture;
  $("query-picture").hidden = !picture;
  $("query-file").value = "";
  if (!picture) return $("query-preview").removeAttribute("src");
  $("query").value = "";
  $("query-name").textContent = picture.name;
  $("query-preview").src = URL.createObjectURL(picture.blob);
}

/* Ranking */

async function rank() {
  const texts = $("texts").value.split("\n").filter((line) => line.trim());
  if (!ranked || !texts.length) {
    $("rank-status").textContent = ranked ? "Write at least one text." : "Choose a picture first.";
    (ranked ? $("texts") : $("rank-file")).focus();
    return;
  }
  ranking?.abort();
  ranking = new AbortController();
  const { signal } = ranking;
  busy($("ranks"), $("rank-status"), "Ranking…");
  const failure = await known;
  const columns = [];
  for (const model of served) {
    const body = new FormData();
    body.append("model", model.name);
    body.append("texts", JSON.stringify(texts));
    body.append("image", ranked, "picture");
    try {
      const answer = await timed("rank", { method: "POST", signal, body });
      const took = make("p", { className: "quiet number" }, `round trip ${ms(answer.roundTrip)}`);
      columns.push(column(model, took, bars(answer.results, texts)));
    } catch (error) {
      if (error.name === "AbortError") return;
      columns.push(column(model, trouble(error)));
    }
  }
  $("ranks").replaceChildren(...columns);
  busy($("ranks"));
  $("rank-status").textContent = failure || (columns.length ? "" : "No model that is served can rank.");
}

function bars(results, texts) {
  const items = results.map(({ index, probability, cosine, error }) => {
    if (error) return make("li", {}, texts[index], trouble(new Error(sentence(error))));
    const percent = `${(probability * 100).toFixed(1)} %`;
    const value = make("span", { className: "number", title: `cosine ${cosine.toFixed(3)}` }, percent);
    const bar = make("div", { className: "bar" });
    bar.style.width = `${probability * 100}%`;
    const track = make("div", { className: "track", ariaHidden: "true" }, bar);
    return make("li", {}, make("p", {}, make("span", {}, texts[index]), value), track);
  });
  return make("ol", { className: "bars" }, ...items);
}

function setRanked(blob, name) {
  forget($("rank-preview"));
  ranked = blob;
  $("rank-preview").src = URL.createObjectURL(blob);
  $("rank-preview").hidden = false;
  $("rank-name").textContent = name;
  rank();
}

/* Models */

const number = (value, digits = 1) => value.toLocaleString("en", { maximumFractionDigits: digits });

const FIGURES = { rsum: "RSUM", cider: "CIDEr", bleu_4: "BLEU-4", vqa_accuracy: "VQA accuracy" };

function figures(found, written) {
  const there = Object.entries(FIGURES).filter(([key]) => typeof found?.[key] === "number");
  return there.map(([key, name]) => `${name} ${written(found[key])}`).join(", ");
}

/* What the run's report says of the model; each figure with the precision that it was measured at. */
function facts(model) {
  const { role, results = {}, parameters = {} } = model;
  const [latency, size] = [results.latency ?? {}, results.size?.[role] ?? {}];
  const quality = results.quality?.[role] ?? {};
  const p50 = ["image", "text", "pair", "generation"]
    .filter((of) => latency[of]?.[role])
    .map((of) => `${of} ${ms(latency[of][role].p50_ms)}`);
  const at = ({ precision }) => (precision ? ` (${precision})` : "");
  const scores = figures(quality, (value) => number(value));
  const kept = figures(results.retention, (value) => `${number(value * 100)} %`);
  return Object.entries({
    Bundle: model.bundle,
    Hash: model.sha256.slice(0, 12),
    "Runs on": `${model.providers.join(", ")}${model.threads ? `, threads: ${model.threads}` : ""}`,
    Parameters: parameters.total && number(parameters.total),
    Size: size.bytes && `${number(size.bytes / 1e6)} MB${at(size)}`,
    "Picture size": `${model.image_size} pixels`,
    Dimensions: model.dimensions,
    Quality: scores && scores + at(quality),
    Retention: kept && `${kept} of the teacher's`,
    "Latency p50": p50.length && p50.join(", ") + at(latency),
    "Latency ratio": latency.p50_ratio && `${number(latency.p50_ratio * 100)} % of the teacher's`,
    "Measured on": results.device?.cpu?.model,
    Gallery: model.gallery,
  }).filter(([, value]) => value);
}

function described(model) {
  const list = make("dl");
  for (const [name, value] of facts(model)) list.append(make("dt", {}, name), make("dd", {}, String(value)));
  const goals = (model.results?.goals ?? []).map(({ goal, value, verdict }) => {
    const mark = { met: "✓ ", missed: "✗ " }[verdict] ?? "";
    const found = typeof value === "number" ? ` (${number(value, 3)})` : "";
    return make("li", {}, make("code", {}, goal), make("span", { className: verdict }, mark + verdict + found));
  });
  const panel = column(model, list, goals.length ? make("ul", { className: "goals" }, ...goals) : null);
  panel.classList.add("card");
  return panel;
}

async function gallery(model) {
  try {
    const { count } = await timed(`gallery?limit=0&model=${encodeURIComponent(model.name)}`);
    return count ? `${number(count)} pictures` : "empty: compressor gallery build RUN --images DIR";
  } catch (error) {
    return error.message;
  }
}

async function learn() {
  try {
    const { models } = await timed("models");
    $("key-form").hidden = true;
    served = models.filter(({ dimensions }) => dimensions);
    for (const model of served) model.gallery = await gallery(model);
    $("cards").replaceChildren(...models.map(described));
    $("models-status").textContent = "";
    return "";
  } catch (error) {
    $("models-status").textContent = error.message;
    return error.message;
  }
}

/* A link may hold a search: /?q=a+red+star */
async function load() {
  known = learn();
  const text = new URLSearchParams(location.search).get("q");
  if (text) $("query").value = text;
  if (text && !(await known)) search();
}

/* What people do */

function pictureOf(transfer) {
  return [...(transfer?.files ?? [])][0];
}

function take(file, target) {
  if (!file) return;
  if (target instanceof Element && target.closest("#rank")) setRanked(file, file.name);
  else searchBy(file, file.name || "the picture");
}

$("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
$("query").addEventListener("input", () => $("query").value && query && setQuery(null));
$("query-clear").addEventListener("click", () => {
  setQuery(null);
  $("query").focus();
});
$("count").addEventListener("change", () => (query || $("query").value.trim()) && search());
$("query-file").addEventListener("change", (event) => take(pictureOf(event.target), null));
$("rank-file").addEventListener("change", (event) => take(pictureOf(event.target), event.target));
$("rank-form").addEventListener("submit", (event) => {
  event.preventDefault();
  rank();
});
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key").value.trim());
  $("key").value = "";
  load();
});
document.addEventListener("paste", (event) => {
  const file = pictureOf(event.clipboardData);
  if (!file) return;
  event.preventDefault();
  take(file, event.target);
});
document.addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return; // a text goes where it is dropped
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  document.body.classList.remove("dropping");
  take(pictureOf(event.dataTransfer), event.target);
});

load();

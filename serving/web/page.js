/* The page: what people do, and the parts that answer. */

import { useKey } from "./api.js";
import { $, say } from "./elements.js";
import { showModels } from "./models.js";
import { onPicture } from "./pictures.js";
import { rankFor } from "./rank.js";
import { showReports } from "./report.js";
import { searchBy, searchByLink } from "./search.js";
import { known } from "./served.js";
import { writeOf } from "./write.js";

/* True where the service says what it serves. */
async function load() {
  searchByLink();
  let served;
  try {
    served = await known();
  } catch (error) {
    say($("models-status"), error.message, true);
    return false;
  }
  const { models, embedders, writers } = served;
  showModels(models);
  showReports(models);
  offer("search", embedders.length);
  offer("rank", embedders.length);
  offer("write", writers.length);
  $("asking").hidden = !writers.some(({ kind }) => kind === "vqa");
  if (writers.length) $("write-title").textContent = $("asking").hidden ? "Caption a picture" : "Ask about a picture";
  return true;
}

/* A part of the page, and the link to it, only where a model can do it. */
function offer(part, possible) {
  $(part).hidden = !possible;
  document.querySelector(`nav a[href="#${part}"]`).hidden = !possible;
}

onPicture([$("query-file"), $("rank-file"), $("write-file")], (file, target) => {
  const name = file.name || "the picture";
  const part = target instanceof Element ? target.closest("main > section")?.id : null;
  if (part === "write" || $("search").hidden) writeOf(file, name);
  else if (part === "rank") rankFor(file, name);
  else searchBy(file, name);
});

document.addEventListener("key-needed", ({ detail }) => {
  $("key-error").textContent = detail;
  if (!$("key-form").hidden) return;
  $("key-form").hidden = false;
  $("key").focus();
});

$("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  useKey($("key").value.trim());
  $("key").value = "";
  if (!(await load())) return $("key").focus();
  $("key-form").hidden = true;
  $("key-error").textContent = "";
  $($("search").hidden ? "main" : "query").focus();
});

load();

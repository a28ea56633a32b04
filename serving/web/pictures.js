/* Pictures: those of the gallery, and those that people choose, drop or paste. */

import { ask, hasKey } from "./api.js";

/* With a key a picture must be asked for with it, which an element cannot do itself. */
export async function show(image, path) {
  if (!hasKey()) {
    image.src = path;
    return;
  }
  try {
    preview(image, await (await ask(path)).blob());
  } catch (error) {
    image.alt = error.message;
  }
}

/* What is wrong with a picture that cannot be shown the service says. */
export function preview(image, blob) {
  const settled = (hidden) => () => {
    image.hidden = hidden;
    URL.revokeObjectURL(image.src);
  };
  image.onload = settled(false);
  image.onerror = settled(true);
  image.src = URL.createObjectURL(blob);
}

/* Calls `take(file, element)` for a file chosen in one of `inputs`, pasted, or dropped on the page. */
export function onPicture(inputs, take) {
  const given = (event, transfer) => {
    const [file] = transfer?.files ?? [];
    if (!file) return;
    event.preventDefault();
    take(file, event.target);
  };
  for (const input of inputs) {
    input.addEventListener("change", (event) => {
      given(event, input);
      input.value = ""; // the same file may be chosen again
    });
  }
  const holdsFiles = (event) => event.dataTransfer.types.includes("Files"); // a text goes where it is dropped
  const mark = (dropping) => document.body.classList.toggle("dropping", dropping);
  document.addEventListener("paste", (event) => given(event, event.clipboardData));
  document.addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || mark(false));
  document.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault(); // or the browser leaves the page for the file
    mark(false);
    given(event, event.dataTransfer);
  });
}

/* Making elements, and figures as people read them. */

export const $ = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/* What one model has to say, under its name. */
export function column(model, ...children) {
  const about = [model.role === model.name ? "" : model.role, model.precision].filter(Boolean).join(", ");
  const head = make("h3", {}, model.name, make("span", { className: "quiet" }, ` ${about}`));
  return make("section", { className: "column", ariaLabel: model.name }, head, ...children);
}

export const trouble = (error) => make("p", { className: "error" }, error.message);

/* A sentence where it is read aloud. */
export function say(status, words, failed = false) {
  status.textContent = words;
  status.classList.toggle("error", failed);
}

export function facts(pairs) {
  const list = make("dl");
  for (const [name, value] of pairs) list.append(make("dt", {}, name), make("dd", {}, String(value)));
  return list;
}

export const plural = (count, one, many) => `${number(count)} ${count === 1 ? one : many}`;

const minus = (text) => text.replace("-", "−");

/* With at most, or exactly, so many decimals. */
export const number = (value, digits = 1) => minus(value.toLocaleString("en", { maximumFractionDigits: digits }));
export const fixed = (value, digits = 1) =>
  minus(value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));

/* Three figures: 0.456, 45.0, 2,345 */
export function figure(value) {
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value) || 1)));
  return fixed(value, Math.min(digits, 6));
}

export const ms = (value) => `${figure(value)}\u00a0ms`;
export const percent = (share) => `${fixed(share * 100)}\u00a0%`;
export const size = (bytes) => (bytes < 1e6 ? `${number(bytes / 1e3, 0)}\u00a0kB` : `${figure(bytes / 1e6)}\u00a0MB`);

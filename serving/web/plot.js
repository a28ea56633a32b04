/* Quality against latency as SVG, drawn as wide as its place is. */

import { make, ms, number, size } from "./elements.js";
import { labels } from "./labels.js";
import { nameOf, note, quality } from "./measures.js";
import { scale } from "./scale.js";

const HEIGHT = 330;
const [LEFT, RIGHT, TOP, BOTTOM] = [58, 10, 10, 48];
const [LARGEST, SMALLEST] = [26, 5]; // radii
const CROWD = 4; // more points are half as large, and where there is no room the beaten ones have no name
const ROOM = 480;

function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/* A place that draws the points, and draws them again where its width changes. */
export function chart(title, points) {
  const place = make("div", { className: "chart" });
  let drawn = 0;
  new ResizeObserver(() => {
    const width = Math.floor(place.clientWidth);
    if (width < 1 || width === drawn) return;
    drawn = width;
    place.replaceChildren(plot(title, points, width));
  }).observe(place);
  return place;
}

function plot(title, points, width) {
  const timed = points.filter(({ latency_ms }) => latency_ms !== null);
  const heights = points.flatMap((point) => [point.quality, ...edges(point.quality_interval)]);
  const times = timed.flatMap((point) => [point.latency_ms, ...edges(point.latency_interval)]);
  const crowded = points.length > CROWD;
  const widest = crowded ? LARGEST / 2 : LARGEST;
  const x = scale(times.length ? times : [1], LEFT, width - RIGHT, LARGEST + 8, true);
  const y = scale(heights, HEIGHT - BOTTOM, TOP, LARGEST);
  const largest = Math.max(...timed.map(({ bytes }) => bytes ?? 0), 1);
  const marks = timed.map((point) => ({
    point,
    x: x(point.latency_ms),
    y: y(point.quality),
    radius: Math.max(SMALLEST, widest * Math.sqrt((point.bytes ?? 0) / largest)),
    whisker: edges(point.quality_interval).map(y),
    text: point.name,
  }));
  marks.sort((one, other) => other.radius - one.radius); // the small ones on top
  const named = marks.filter(({ point }) => !crowded || width > ROOM || point.pareto || point.served);
  const levels = points.filter(({ latency_ms }) => latency_ms === null);
  return draw(
    "svg",
    { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": told(title, points) },
    ...axes(x, y, width, nameOf(points[0].measure)),
    ...levels.map((point) => level(point, y, width)),
    ...marks.map((mark) => bubble(mark, x, y)),
    ...labels(named, marks, { left: LEFT, right: width - RIGHT, top: TOP, bottom: HEIGHT - BOTTOM }).map(label),
  );
}

const edges = (interval) => (interval ? [interval.low, interval.high] : []);

function told(title, points) {
  const one = (point) => {
    const cost = [point.latency_ms !== null && ms(point.latency_ms), point.bytes !== null && size(point.bytes)];
    return [point.name, quality(point), ...cost, note(point)].filter(Boolean).join(", ");
  };
  return `${title}. ${points.map(one).join("; ")}.`;
}

function axes(x, y, width, name) {
  const [bottom, right] = [HEIGHT - BOTTOM, width - RIGHT];
  const middle = (LEFT + right) / 2;
  const up = y.ticks.flatMap((tick) => [
    draw("line", { class: "grid", x1: LEFT, x2: right, y1: y(tick), y2: y(tick) }),
    draw("text", { x: LEFT - 8, y: y(tick) + 4, "text-anchor": "end" }, number(tick, 6)),
  ]);
  const across = x.ticks.flatMap((tick) => [
    draw("line", { class: "axis", x1: x(tick), x2: x(tick), y1: bottom, y2: bottom + 5 }),
    draw("text", { x: x(tick), y: bottom + 19, "text-anchor": "middle" }, number(tick, 6)),
  ]);
  const [words, turned] = [`p50, ms${x.log ? ", log scale" : ""}`, `translate(13 ${(TOP + bottom) / 2}) rotate(-90)`];
  return [
    ...up,
    ...across,
    draw("line", { class: "axis", x1: LEFT, x2: right, y1: bottom, y2: bottom }),
    draw("text", { x: middle, y: HEIGHT - 8, "text-anchor": "middle" }, words),
    draw("text", { transform: turned, "text-anchor": "middle" }, name),
  ];
}

/* A model that could not be run stands at a height, at no time. */
function level(point, y, width) {
  const at = y(point.quality);
  return draw(
    "g",
    { class: point.role },
    draw("line", { class: "level", x1: LEFT, x2: width - RIGHT, y1: at, y2: at }),
    draw("text", { x: width - RIGHT - 4, y: at - 6, "text-anchor": "end" }, `${point.name}, not timed`),
  );
}

function bubble({ point, x: across, y: up, radius }, x, y) {
  const state = `${point.role}${point.pareto ? "" : " beaten"}${point.served ? " served" : ""}`;
  const whisker = (x1, y1, x2, y2) => draw("line", { class: "whisker", x1, y1, x2, y2 });
  const parts = [draw("circle", { class: "bubble", cx: across, cy: up, r: radius })];
  if (point.served) parts.push(draw("circle", { class: "ring", cx: across, cy: up, r: radius + 4 }));
  const [high, wide] = [point.quality_interval, point.latency_interval];
  if (high) parts.push(whisker(across, y(high.low), across, y(high.high)));
  if (wide) parts.push(whisker(x(wide.low), up, x(wide.high), up));
  parts.push(draw("circle", { class: "centre", cx: across, cy: up, r: 2.5 }));
  return draw("g", { class: state }, draw("title", {}, told(point.name, [point])), ...parts);
}

function label({ mark, x, y, leader }) {
  const state = mark.point.served ? "label served" : "label";
  const text = draw("text", { class: state, x, y: y + 4, "text-anchor": "middle" }, mark.text);
  const line = leader ? [draw("line", { class: "leader", ...leader })] : [];
  return draw("g", {}, ...line, text);
}

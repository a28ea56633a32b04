/* What the runs of the served bundles measured: goals, quality against latency, the same figures as a table. */

import { $, figure, make, ms, percent, plural, size } from "./elements.js";
import { comparesPrecisions, nameOf, note, span, writtenAs } from "./measures.js";
import { chart } from "./plot.js";

const LEGEND =
  "Up and to the left is better. Areas are sizes on disk, whiskers 95 % intervals. What is served has a ring. " +
  "What is hollow is beaten: another is no worse in quality, time and size.";

export function showReports(models) {
  const reports = ofEachRun(models.filter(({ report }) => report).map(({ report }) => report));
  const none = "The bundles served here hold no figures of a run: there are no goals to show and no plot.";
  $("reports").replaceChildren(...(reports.length ? reports.map(shown) : [make("p", {}, none)]));
}

/* Teacher and student of one run bring the same report, but for what of it is served. */
function ofEachRun(reports) {
  const runs = new Map();
  for (const report of reports) {
    const points = report.points.map((point) => ({ ...point, served: false }));
    const key = JSON.stringify({ ...report, points });
    if (!runs.has(key)) runs.set(key, { ...report, points });
    report.points.forEach(({ served }, k) => (runs.get(key).points[k].served ||= served));
  }
  return [...runs.values()];
}

function shown(report) {
  const { run, split, device, threads, points } = report;
  const where = [`${split} split`, device, threads && plural(threads, "thread", "threads")].filter(Boolean).join(", ");
  const measures = [...new Set(points.map(({ measure }) => measure))];
  const charts = measures.map((measure) => figureOf(measure, points.filter((point) => point.measure === measure)));
  return make(
    "article",
    { className: "run" },
    make("h3", {}, run, make("span", { className: "quiet" }, ` ${where}`)),
    make("p", {}, summary(report)),
    report.goals.length ? make("ul", { className: "goals", ariaLabel: "Goals" }, ...report.goals.map(goal)) : null,
    points.length ? make("p", { className: "quiet" }, LEGEND) : null,
    make("div", { className: "columns" }, ...charts),
  );
}

function summary({ rehearsal, retention, goals }) {
  if (rehearsal) return "A rehearsal with random weights: its quality says nothing.";
  const met = goals.filter(({ verdict }) => verdict === "met").length;
  const said = [];
  if (retention) {
    const { measure, value, interval } = retention;
    const range = interval ? ` (95 % interval: ${percent(interval.low)} to ${percent(interval.high)})` : "";
    said.push(`The student keeps ${percent(value)} of the teacher’s ${nameOf(measure)}${range}.`);
  }
  said.push(goals.length ? `Goals met: ${met} of ${goals.length}.` : "The run had no goals.");
  return said.join(" ");
}

function goal({ goal: asked, value, verdict, margin, reason }) {
  const mark = { met: "✓ met", missed: "✗ missed" }[verdict] ?? verdict;
  const room = margin === null ? "" : `, ${figure(Math.abs(margin))} ${margin < 0 ? "short" : "to spare"}`;
  const found = value === null ? reason && `: ${reason}` : `: ${figure(value)}${room}`;
  return make("li", {}, make("code", {}, asked), make("span", { className: verdict }, mark + found));
}

function figureOf(measure, points) {
  const title = comparesPrecisions(measure) ? "Precisions of the student" : "Models";
  const remark = comparesPrecisions(measure)
    ? "On the validation split, against the student in PyTorch."
    : `Median latency of ${measure === "rsum" ? "one picture and one text" : "one text written"}.`;
  return make(
    "figure",
    {},
    make("h4", {}, title, make("span", { className: "quiet" }, ` ${nameOf(measure)} against latency`)),
    chart(title, points),
    make("figcaption", {}, remark),
    make("details", {}, make("summary", {}, "These figures as a table"), table(title, points)),
  );
}

function table(title, points) {
  const heads = ["Name", "Note", "Quality", "95 % interval", "p50", "Size"];
  const cells = (point) => [
    point.name === point.precision ? point.name : `${point.name}, ${point.precision}`,
    note(point),
    writtenAs(point.measure, point.quality),
    span(point.measure, point.quality_interval).replace(/[()]/g, "").trim() || "–",
    point.latency_ms === null ? "–" : ms(point.latency_ms) + between(point.latency_interval),
    point.bytes === null ? "–" : size(point.bytes),
  ];
  const row = (point) => {
    const [name, ...rest] = cells(point);
    return make("tr", {}, make("th", { scope: "row" }, name), ...rest.map((cell) => make("td", {}, cell)));
  };
  const head = make("tr", {}, ...heads.map((name) => make("th", { scope: "col" }, name)));
  const whole = make("table", {}, make("thead", {}, head), make("tbody", {}, ...points.map(row)));
  return make("div", { className: "wide", tabIndex: 0, role: "region", ariaLabel: `Table: ${title}` }, whole);
}

const between = (interval) => (interval ? ` (${figure(interval.low)} to ${figure(interval.high)})` : "");

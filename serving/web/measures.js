/* What the quality of a point is called, and how it is written. */

import { fixed, number, percent } from "./elements.js";

const MEASURES = {
  rsum: { name: "RSUM", written: fixed },
  cider: { name: "CIDEr", written: fixed },
  bleu_4: { name: "BLEU-4", written: fixed },
  rouge_l: { name: "ROUGE-L", written: fixed },
  vqa_accuracy: { name: "VQA accuracy", written: (value) => `${fixed(value)} %` },
  recall_delta: { name: "Recall change in points", written: (value) => (value > 0 ? "+" : "") + fixed(value, 2) },
  equal_beams: { name: "Texts as in PyTorch", written: percent },
};

export const nameOf = (measure) => MEASURES[measure]?.name ?? measure;
export const writtenAs = (measure, value) => (MEASURES[measure]?.written ?? number)(value);

/* RSUM 500.8 (492.3 to 508.8) */
export function quality({ measure, quality: value, quality_interval: interval }) {
  return `${nameOf(measure)} ${writtenAs(measure, value)}${span(measure, interval)}`;
}

export function span(measure, interval) {
  return interval ? ` (${writtenAs(measure, interval.low)} to ${writtenAs(measure, interval.high)})` : "";
}

/* True for what compares precisions of one student, false for what compares models. */
export const comparesPrecisions = (measure) => ["recall_delta", "equal_beams"].includes(measure);

/* What the plot shows by a ring and by a hollow bubble. */
export function note({ served, pareto, latency_ms }) {
  return [served && "served", latency_ms !== null && !pareto && "beaten"].filter(Boolean).join(", ");
}

/* A range of figures on a stretch of pixels, and round figures inside it. */

const TICK_GAP = 56; // pixels between two ticks, at least about

/* A function from a figure to its pixel between `start` and `end`, with `ticks`. All values lie `margin` pixels
   inside. Logarithmic where they spread over more than a factor of three, if `mayBeLog`. */
export function scale(values, start, end, margin, mayBeLog = false) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const log = mayBeLog && least > 0 && most / least > 3;
  const [at, back] = log ? [Math.log10, (x) => 10 ** x] : [(x) => x, (x) => x];
  const length = Math.abs(end - start);
  const middle = (at(least) + at(most)) / 2;
  const spread = at(most) - at(least) || Math.abs(middle) * 0.2 || 1;
  const range = spread / (1 - (2 * margin) / length);
  const low = middle - range / 2;
  const place = (value) => start + ((at(value) - low) / range) * (end - start);
  const [from, to, wanted] = [back(low), back(low + range), length / TICK_GAP];
  return Object.assign(place, { log, ticks: log ? logTicks(from, to, wanted) : ticks(from, to, wanted) });
}

/* Multiples of 1, 2 or 5 times a power of ten within [low, high], at most about `wanted`. */
function ticks(low, high, wanted) {
  const rough = (high - low) / Math.max(wanted, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

/* 1, 2 and 5 of every decade; what is even where these are too few. */
function logTicks(low, high, wanted) {
  const found = [];
  for (let k = Math.floor(Math.log10(low)); 10 ** k <= high; k++) {
    found.push(...[1, 2, 5].map((factor) => Number((factor * 10 ** k).toPrecision(12))));
  }
  const inside = found.filter((tick) => tick >= low && tick <= high);
  const even = ticks(low, high, wanted / 2);
  return inside.length > 2 || inside.length >= even.length ? inside : even;
}

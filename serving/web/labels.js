/* Names beside bubbles, each where it covers the least. */

const [LETTER, LINE] = [7.6, 16]; // pixels of a letter and of a line, about
const GAPS = [0, 12, 24, 40, 60];
const DIRECTIONS = 16;

/* For each of `named` marks {x, y, radius, whisker, text}, inside `frame`: the middle of its name, and a line to
   it from afar. `marks` are all that may be covered. */
export function labels(named, marks, frame) {
  const covered = marks.flatMap((mark) => [
    { box: around(mark.x, mark.y, mark.radius * 2, mark.radius * 2), weight: 1 },
    { box: around(mark.x, mark.y, 12, 12), weight: 20 },
    ...between(mark).map((box) => ({ box, weight: 6 })),
  ]);
  return [...named]
    .sort((one, other) => one.x - other.x)
    .map((mark) => {
      const place = cheapest(places(mark, frame), covered);
      covered.push({ box: place.box, weight: 40 });
      return { mark, x: place.x, y: place.y, leader: place.gap > 12 ? leader(mark, place) : null };
    });
}

function places(mark, frame) {
  const width = LETTER * mark.text.length;
  const found = [];
  for (const gap of GAPS) {
    for (let k = 0; k < DIRECTIONS; k++) {
      const angle = (2 * Math.PI * k) / DIRECTIONS;
      const far = mark.radius + 9 + gap;
      const x = mark.x + Math.cos(angle) * (far + width / 2);
      const y = mark.y - Math.sin(angle) * (far + LINE / 2);
      const box = around(x, y, width, LINE);
      found.push({ x, y, box, gap, outside: beyond(box, frame) });
    }
  }
  return found;
}

function between({ x, whisker }) {
  if (!whisker.length) return [];
  const [bottom, top] = whisker;
  return [{ left: x - 3, right: x + 3, top, bottom }];
}

/* Pixels by which a box leaves the frame. */
function beyond(box, frame) {
  const sides = [frame.left - box.left, box.right - frame.right, frame.top - box.top, box.bottom - frame.bottom];
  return Math.max(0, ...sides);
}

function cheapest(found, covered) {
  const cost = ({ box, gap, outside }) =>
    4 * gap + 1e4 * outside + covered.reduce((sum, other) => sum + other.weight * overlap(box, other.box), 0);
  const costs = found.map(cost);
  return found[costs.indexOf(Math.min(...costs))];
}

function around(x, y, width, height) {
  return { left: x - width / 2, right: x + width / 2, top: y - height / 2, bottom: y + height / 2 };
}

function overlap(one, other) {
  const across = Math.min(one.right, other.right) - Math.max(one.left, other.left);
  const down = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
  return Math.max(0, across) * Math.max(0, down);
}

function leader(mark, { box, y }) {
  const x2 = Math.min(Math.max(mark.x, box.left), box.right);
  return { x1: mark.x, y1: mark.y, x2, y2: y > mark.y ? box.top : box.bottom };
}

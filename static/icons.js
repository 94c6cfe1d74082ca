import { svg } from './dom.js';

// Drawn on a 24 grid with a stroke in the text colour. All are decoration: the words beside them say the same.
const PATHS = {
  link: ['M10 8H7.5a4 4 0 0 0 0 8H10', 'M14 8h2.5a4 4 0 0 1 0 8H14', 'M8.5 12h7'],
  unlink: ['M10 8H7.5a4 4 0 0 0 0 8H10', 'M14 8h2.5a4 4 0 0 1 0 8H14', 'M12 3v2.5', 'M12 18.5V21'],
  check: ['M5 12.5l4.5 4.5L19 7.5'],
  clock: ['M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z', 'M12 7.5V12l3 2'],
  alert: ['M12 4.5 21 19.5H3z', 'M12 10.5v4', 'M12 17v.01'],
  info: ['M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z', 'M12 11v5', 'M12 8v.01'],
  lock: ['M6.5 11h11v8.5h-11z', 'M8.5 11V8a3.5 3.5 0 0 1 7 0v3'],
  phone: ['M8 3.5h8a1 1 0 0 1 1 1v15a1 1 0 0 1-1 1H8a1 1 0 0 1-1-1v-15a1 1 0 0 1 1-1z', 'M11 17.5h2'],
  refresh: ['M19.5 12a7.5 7.5 0 1 1-2.2-5.3', 'M19.5 4v4h-4'],
  copy: ['M9 9h10v10H9z', 'M15 9V5H5v10h4'],
};

export function icon(name) {
  return svg(
    'svg',
    { viewBox: '0 0 24 24', class: 'icon', 'aria-hidden': 'true', focusable: 'false' },
    ...PATHS[name].map((d) => svg('path', { d })),
  );
}

/** The code to come, as a sketch: the three finder squares of every QR and a field of dots. */
export function codeSketch() {
  const finder = (x, y) => [
    svg('rect', { x: x + 0.5, y: y + 0.5, width: 6, height: 6, rx: 1.4, fill: 'none', stroke: 'currentColor' }),
    svg('rect', { x: x + 2, y: y + 2, width: 3, height: 3, rx: 0.8 }),
  ];
  const dots = [];
  for (let y = 0; y < 25; y += 1) {
    for (let x = 0; x < 25; x += 1) {
      const nearFinder = (x < 8 && y < 8) || (x > 16 && y < 8) || (x < 8 && y > 16);
      if (!nearFinder && (x * 7 + y * 13 + x * y) % 5 < 2) dots.push(`M${x + 0.5} ${y + 0.5}h.01`);
    }
  }
  return svg(
    'svg',
    { viewBox: '0 0 25 25', class: 'sketch', 'aria-hidden': 'true', focusable: 'false' },
    ...finder(0, 0),
    ...finder(18, 0),
    ...finder(0, 18),
    svg('path', { d: dots.join(''), stroke: 'currentColor', 'stroke-linecap': 'round', 'stroke-width': 0.62 }),
  );
}

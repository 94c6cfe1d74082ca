import { h } from './dom.js';
import { codeSketch, icon } from './icons.js';
import { pairCode } from './pair.js';
import { say } from './texts.js';
import { quiet, spinner, steps } from './parts.js';

/**
 * Everything between the press of the button and the finished link happens in this one view: the sketch, the code,
 * the code's end and the finish all take the same box, so nothing on the page moves when one follows the other.
 */
export function scanView(model, acts) {
  const { t } = model;
  const image = h('img', { id: 'qr', part: 'qr', width: 262, height: 262, draggable: 'false', hidden: true, load: sharpen });
  const veil = h('div', { class: 'veil', hidden: true });
  const sketch = h('div', { class: 'sketch-box' }, codeSketch());
  const meter = h('span', { class: 'meter-fill' });
  const countdown = h('span', { id: 'countdown', part: 'countdown' });
  const title = h('h3', { class: 'title', tabindex: -1 });
  const text = h('p', { class: 'text' });
  const pair = pairCode(t);
  const cancel = quiet('cancel', null, t.scan.cancel, acts.cancel);
  const clock = h('div', { class: 'clock' }, h('span', { class: 'meter', 'aria-hidden': 'true' }, meter), countdown);

  const node = h(
    'div',
    { class: 'split scan' },
    h('div', { class: 'code-side' }, h('div', { class: 'code-box', part: 'code-box' }, sketch, image, veil), clock),
    h('div', { class: 'words' }, title, text, steps(t), pair.node, h('div', { class: 'actions' }, cancel)),
  );

  let mode = null;
  let current = model;

  function update(next) {
    current = next;
    const { qr, pending } = next;
    if (qr && image.getAttribute('src') !== qr.qrCode) image.setAttribute('src', qr.qrCode);
    cancel.disabled = Boolean(pending);
    pair.update(next.pair);
    mode = null;
    tick();
  }

  function tick() {
    const now = modeOf(current);
    if (now !== mode) enter((mode = now));
    pair.tick();
    if (!current.qr) return;
    const { deadline } = current.qr;
    const words = say(t.scan.expiresIn, { n: deadline.seconds });
    if (countdown.textContent !== words) countdown.textContent = words;
    // Through the object model: a style attribute would need 'unsafe-inline'.
    meter.style.setProperty('transform', `scaleX(${deadline.share})`);
    clock.classList.toggle('soon', deadline.seconds <= 10);
  }

  function enter() {
    const words = wordsOf(current, mode);
    const code = mode === 'code' || mode === 'expired' || mode === 'checking';
    node.dataset.mode = mode;
    image.hidden = !code;
    image.alt = mode === 'code' ? t.scan.alt : t.scan.altExpired;
    sketch.hidden = code || mode === 'finishing';
    veil.hidden = mode === 'code' || mode === 'preparing';
    veil.replaceChildren(...veilOf(t, mode));
    clock.classList.toggle('off', mode !== 'code');
    cancel.hidden = current.status.reason === 'scanned';
    title.textContent = words.title;
    text.textContent = words.text;
  }

  return { node, update, tick };
}

function modeOf({ status, qr }) {
  if (status.reason === 'scanned' || status.reason === 'passkey-required') return 'finishing';
  if (status.status !== 'qr_pending' || !qr) return 'preparing';
  if (qr.deadline.over) return 'expired';
  // Nobody may stand behind a stale code any more; it comes back if somebody does.
  return status.stale ? 'checking' : 'code';
}

function wordsOf({ t, status, qr }, mode) {
  if (mode === 'finishing') return t.reasons[status.reason];
  if (mode === 'preparing') return { title: t.scan.preparing, text: t.scan.preparingText };
  // The line under the title stays one line from the sketch to the code, so the steps do not move.
  return { title: t.scan.title, text: qr.maxAttempts > 0 ? say(t.scan.attempt, { n: qr.attempt, max: qr.maxAttempts }) : t.scan.waiting };
}

function veilOf(t, mode) {
  if (mode === 'expired') return [icon('refresh'), h('p', {}, t.scan.expired)];
  if (mode === 'checking') return [spinner(), h('p', {}, t.scan.checking)];
  if (mode === 'finishing') return [h('span', { class: 'finish' }, spinner(), icon('phone'))];
  return [];
}

// A picture smaller than its box is enlarged with hard edges, a larger one is scaled down softly: either way the
// modules stay even, which cameras care about.
function sharpen(event) {
  event.target.classList.toggle('coarse', event.target.naturalWidth < event.target.width);
}

import { say } from './model.js';
import { button, draw, h, icon, show, steps } from './views.js';

/** The names of the states that this one view shows. */
export const SCANNING = ['starting', 'qr_pending', 'expired', 'checking', 'scanned', 'passkey-required'];

// The three corners of every code; the style adds a field of dots.
const CORNERS = 'M1 1h6v6H1zm3 3h.01M18 1h6v6h-6zm3 3h.01M1 18h6v6H1zm3 3h.01';

/**
 * Everything between the press of the button and the finished link: the sketch, the code, its end and the finish take
 * the same box, so nothing on the page moves when one follows the other.
 */
export function scanView({ t }, acts) {
  const image = h('img#qr');
  const veil = h('p.veil');
  const ring = draw('ring', '0 0 24 24', ['track', 'M12 2a10 10 0 1 1-.01 0z'], ['rest', 'M12 2a10 10 0 1 1-.01 0z']);
  const seconds = h('span#countdown', { role: 'timer' });
  const clock = h('div.clock', ring, seconds);
  const title = h('h3.title', { tabindex: -1 });
  const text = h('p.text');
  const pair = pairCode(t.pair);
  const cancel = button('.command#cancel', t.cancel, acts.cancel);
  const node = h(
    'div.split.scan',
    h('div', h('div.box', draw('sketch', '0 0 25 25', ['corners', CORNERS]), image, veil), h('div.under', clock, cancel)),
    h('div', title, text, steps(t.steps), pair),
  );

  node.update = (model) => {
    const { name, 'qr-code': qr } = model;
    const [head, line] = model.of(t.states);
    if (qr && image.src !== qr.qrCode) image.src = qr.qrCode;
    // Also where no code is: the place is kept for its seconds.
    const left = name === 'qr_pending' ? qr.left() / 1000 : 60;
    show(seconds, say(t.expiresIn, Math.ceil(left)));
    // Through the object model: a style attribute would need 'unsafe-inline'.
    ring.style.setProperty('--rest', left / qr?.expiresIn);
    show(title, head);
    show(text, line || say(t.attempt, qr.attempt, qr.maxAttempts));
    pair.update(model['pair-code']);
    if (node.classList.contains(name)) return;
    node.className = `split scan ${name}`;
    image.alt = name === 'qr_pending' ? t.alt : '';
    const glyph = { expired: 'refresh', checking: 'refresh', scanned: 'phone', 'passkey-required': 'key' }[name];
    veil.replaceChildren(...(glyph ? [icon(glyph)] : []));
  };
  return node;
}

/** The code that is typed on the phone instead of a scan. */
function pairCode(t) {
  const [code, where] = [h('code#pair-code'), h('p.text')];
  const node = h('section.pair', h('h4', t.title), where, code);
  node.update = (pair) => {
    const over = pair?.left() <= 0;
    node.hidden = !pair;
    code.hidden = over;
    show(where, over ? t.expired : t.where);
    show(code, pair?.code ?? '');
  };
  return node;
}

import { fill, formatPhone } from './model.js';
import { button, draw, h, icon, pairOffer, refusals, show, steps } from './views.js';

/** The names that this view shows, each with the glyph over the code. */
export const SCANNING = {
  starting: '',
  qr_pending: '',
  expired: 'refresh',
  checking: 'refresh',
  scanned: 'phone',
  'passkey-required': 'key',
  compare: '',
};

// The three corners that every QR code has; the style sheet adds dots.
const CORNERS = 'M1 1h6v6H1zm3 3h.01M18 1h6v6h-6zm3 3h.01M1 18h6v6H1zm3 3h.01';

/**
 * The view from the press of "connect" to the linked account. Sketch, QR code, expired code, passkey and the end use the
 * same box, so that nothing on the page moves between them.
 */
export function scanView(first, acts) {
  const { t } = first;
  const sketch = draw('sketch', '0 0 25 25', ['corners', CORNERS]);
  const image = h('img#qr');
  const veil = h('p.veil');
  const ring = draw('ring', '0 0 24 24', ['track', 'M12 2a10 10 0 1 1-.01 0z'], ['rest', 'M12 2a10 10 0 1 1-.01 0z']);
  const seconds = h('span#countdown', { role: 'timer' });
  const clock = h('div.clock', ring, seconds);
  const title = h('h3.title', { tabindex: -1 });
  const text = h('p.text');
  const same = button('.primary.command#same', t.states.compare[2], acts.confirm);
  const pair = pairing(first, acts);
  const cancel = button('.command#cancel', t.cancel, acts.disconnect);
  const howTo = steps(t.steps);
  const why = refusals(t.refused);
  const node = h(
    'div.split.scan',
    h('div', h('div.box', sketch, image, veil), h('div.under', clock, cancel)),
    h('div', title, text, same, why, howTo, pair),
  );

  let known;
  node.update = (model) => {
    const { name, qr, passkey } = model;
    const [head, line] = model.of(t.states);
    if (qr && image.src !== qr.qrCode) image.src = qr.qrCode;
    // The clock keeps its room also if nothing expires.
    const running = passkey ?? (name === 'qr_pending' && qr);
    clock.classList.toggle('idle', !running);
    const left = running ? Math.max(0, running.left() / 1000) : 60;
    show(seconds, fill(t.expiresIn, Math.ceil(left)));
    // Set by script: a style attribute would need 'unsafe-inline' in the Content-Security-Policy.
    ring.style.setProperty('--rest', left / running?.expiresIn);
    show(title, head);
    show(text, line || fill(t.attempt, qr.attempt, qr.maxAttempts));
    pair.update(model);
    if (node.classList.contains(name) && known === passkey) return;
    known = passkey;
    node.className = `split scan ${name}`;
    image.hidden = !qr;
    sketch.toggleAttribute('hidden', name !== 'starting');
    why.hidden = !model.unscanned;
    howTo.hidden = !qr && name !== 'starting';
    same.hidden = name !== 'compare';
    image.alt = name === 'qr_pending' ? t.alt : '';
    veil.replaceChildren(SCANNING[name] ? icon(SCANNING[name]) : h('code', passkey?.code));
  };
  return node;
}

/** Pairing by number: the form, the code to type on the phone, or why there is none. */
function pairing(first, acts) {
  const t = first.t.pair;
  const title = h('h4', t.title);
  const text = h('p.text');
  const code = h('code#pair-code', { tabindex: -1 });
  // If the host page forbids copying, one click on the code still selects all of it.
  const copied = () => show(copy, t.copied);
  const copy = button('#copy', t.copy, () => navigator.clipboard.writeText(code.textContent).then(copied, () => {}));
  // Browsers allow copying only on https.
  const typed = h('div.under', code, navigator.clipboard && copy);
  const offer = pairOffer(first, acts);
  // Last, so that it moves nothing else.
  const why = h('p.help', { role: 'status' });
  const node = h('section.pair', title, text, typed, offer, why);
  let known;
  node.update = (model) => {
    const { pair, qr } = model;
    const lives = pair?.code && pair.left() > 0;
    node.hidden = !qr;
    title.hidden = text.hidden = !pair?.code;
    typed.hidden = !lives;
    offer.hidden = lives || pair?.retryable === false;
    show(text, lives ? t.where : t.expired);
    if (pair === known) return;
    known = pair;
    show(code, pair?.code ?? '');
    show(copy, t.copy);
    offer.open = !!pair?.reason;
    why.hidden = !offer.open;
    show(why, t.refused[pair?.reason] ?? t.refused.unanswered);
    if (pair) offer.querySelector('input').value ||= formatPhone(pair.phoneNumber);
    if (!lives || !model.typing) return;
    model.typing = null;
    // Focus the code if this page asked for it.
    code.focus();
  };
  return node;
}

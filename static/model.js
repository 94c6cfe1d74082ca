// The page's state, and the name of the view that it selects.

/**
 * Returns a function that answers the milliseconds left of a lifetime. The lifetime begins when the event arrives, so
 * the server's clock does not matter. Both clocks are read, and the one that is further ahead counts: `performance.now()`
 * may stand still while the machine sleeps, and `Date` can be set back. A code that is greyed out too early is harmless;
 * an expired code that looks valid is not.
 */
export function countdown(seconds) {
  const [steady, wall] = [performance.now(), Date.now()];
  return () => seconds * 1000 - Math.max(performance.now() - steady, Date.now() - wall);
}

/** Applies an event to the model. Unknown fields change nothing; an unknown status throws. */
export function applyEvent(model, name, data) {
  if (name === 'connection-status') applyStatus(model, data);
  // `qr`, `pair` or `passkey`: `pair-code` and `pair-code-refused` replace each other.
  else model[name.split('-')[0]] = { ...data, left: countdown(data.expiresIn) };
  model.fault = null;
}

function applyStatus(model, next) {
  const { status, reason, pairing } = next;
  if (!/^((dis)?connected|connecting|qr_pending)$/.test(status)) throw new TypeError(status);
  // Drops codes of an earlier window, also if this page missed the events in between.
  if (status !== 'qr_pending' || next.pairing !== model.status?.pairing) model.qr = model.pair = model.passkey = null;
  // "Just connected" is shown after a scan on this page, not when a page opens on an existing link.
  model.justNow = status === 'connected' && (model.joining || model.justNow);
  // The server never learns why a phone refuses a code. A window without a scan may mean that; the page then lists what
  // helps.
  if (status === 'connected' || /^(scanned|passkey-required)$/.test(reason) || (status === 'disconnected' && reason !== 'qr-expired')) {
    model.window = model.unscanned = null;
  }
  model.unscanned ||= reason === 'qr-expired' || (pairing && model.window && pairing !== model.window);
  model.window = pairing ?? model.window;
  model.joining = status === 'qr_pending' || (status === 'connecting' && (model.joining || reason === 'scanned'));
  if (model.status?.reason !== reason) model.problem = null;
  model.status = next;
}

/** Replaces each `{}` of a sentence with the next value. */
export function fill(sentence, ...values) {
  return sentence.replace(/{}/g, () => values.shift());
}

/**
 * Sets `model.state` (the status word) and `model.name` (the most specific view). For a reason that this page does not
 * know, `model.of(table)` falls back to the status word.
 */
export function deriveState(model) {
  const { status, stream, fault, qr, passkey } = model;
  const off = stream === 'signed-out' ? stream : fault ? 'broken' : status ? '' : 'loading';
  model.state = off || status.status;
  model.name = (off === stream && model.why) || off || (passkey?.code && 'compare') || status.reason || (model.justNow ? 'just-now' : model.state);
  model.of = (table) => table[model.name] ?? table[model.state];
  if (model.name !== 'qr_pending') return;
  // A stale code may have no live owner: it is hidden until the status is fresh again.
  model.name = !qr ? 'starting' : qr.left() <= 0 ? 'expired' : status.stale ? 'checking' : model.name;
}

/** The message about the stream to this service (not about the link to WhatsApp). */
export function streamMessage({ t, lost, why }) {
  return lost ? (t.problems[why] ?? t.lost) : '';
}

/** `6281234567890` → `+62 812-3456-7890`; of other countries only the sign is added. */
export function formatPhone(digits) {
  return '+' + digits.replace(/^62(...)(.{3,4}?)(.{3,4})$/, '62 $1-$2-$3');
}

/**
 * What a person types → digits for WhatsApp; null if it cannot be a number. Digits without a country code are
 * another person's number in another country: `212 555…` of New York begins with Morocco's code. So `+` or `00` is
 * required. Only a page in Indonesian also accepts `0812…` and `62812…`, as numbers of Indonesia.
 */
export function parsePhone(typed, indonesian) {
  // Arabic and Hindi have digits of their own.
  let digits = typed.replace(/[٠-٩]/g, (digit) => digit.charCodeAt(0) & 15).replace(/[०-९]/g, (digit) => (digit.charCodeAt(0) + 10) & 15);
  digits = digits.replace(/[^+\d]/g, '').replace(/^00/, '+');
  if (indonesian) digits = digits.replace(/^(0|62)/, '+62');
  return /^\+[1-9]\d{7,14}$/.test(digits) ? digits.slice(1) : null;
}

// What the page knows of the link, and what it calls it.

/**
 * Milliseconds left of something with a lifetime. It counts from the arrival and never reads the server's clock. Two
 * clocks, since `performance.now()` may stand still while the machine sleeps and `Date` can be set back: too early costs
 * a greyed code for a moment, too late would show a dead code as good.
 */
export function countdown(seconds) {
  const [steady, wall] = [performance.now(), Date.now()];
  return () => seconds * 1000 - Math.max(performance.now() - steady, Date.now() - wall);
}

/** Takes an event in. Unknown fields change nothing; an unknown status throws. */
export function take(model, name, data) {
  if (name === 'connection-status') takeStatus(model, data);
  // `qr`, `pair` or `passkey`: a code and the refusal of one take the same place.
  else model[name.split('-')[0]] = { ...data, left: countdown(data.expiresIn) };
  model.fault = null;
}

function takeStatus(model, next) {
  const { status, reason, pairing } = next;
  if (!/^((dis)?connected|connecting|qr_pending)$/.test(status)) throw new TypeError(status);
  // Codes die with the window they came in, also where this page missed what lay between two of them.
  if (status !== 'qr_pending' || next.pairing !== model.status?.pairing) model.qr = model.pair = model.passkey = null;
  // Congratulated is who has just scanned, not who comes back to a link that stands.
  model.justNow = status === 'connected' && (model.joining || model.justNow);
  // The phone tells its user why it takes no code, and tells nobody else. A window of codes that passes without a scan may
  // mean that, so that the page then names what can help.
  if (status === 'connected' || /^(scanned|passkey-required)$/.test(reason) || (status === 'disconnected' && reason !== 'qr-expired')) {
    model.window = model.unscanned = null;
  }
  model.unscanned ||= reason === 'qr-expired' || (pairing && model.window && pairing !== model.window);
  model.window = pairing ?? model.window;
  model.joining = status === 'qr_pending' || (status === 'connecting' && (model.joining || reason === 'scanned'));
  if (model.status?.reason !== reason) model.problem = null;
  model.status = next;
}

/** Puts values into the `{}` of a sentence, one after the other. */
export function say(sentence, ...values) {
  return sentence.replace(/{}/g, () => values.shift());
}

/** Names the state, finely and at large; of a reason that is newer than this page a table tells the general. */
export function settle(model) {
  const { status, stream, fault, qr, passkey } = model;
  const off = stream === 'signed-out' ? stream : fault ? 'broken' : status ? '' : 'loading';
  model.state = off || status.status;
  model.name = off || (passkey?.code && 'compare') || status.reason || (model.justNow ? 'just-now' : model.state);
  model.of = (table) => table[model.name] ?? table[model.state];
  if (model.name !== 'qr_pending') return;
  // Nobody may stand behind a stale code any more; it comes back if somebody does.
  model.name = !qr ? 'starting' : qr.left() <= 0 ? 'expired' : status.stale ? 'checking' : model.name;
}

/** The trouble of our own stream, told apart from WhatsApp's. */
export function notice({ t, lost, why }) {
  return lost ? (t.problems[why] ?? t.lost) : '';
}

/** `6281234567890` → `+62 812-3456-7890`; of other countries only the sign is added. */
export function formatPhone(digits) {
  return '+' + digits.replace(/^62(...)(.{3,4}?)(.{3,4})$/, '62 $1-$2-$3');
}

/**
 * What a person types → digits for WhatsApp; null if it cannot be a number. Digits without a country code are some
 * stranger's number in another country (`0812…` of Indonesia, `212 555…` of New York, which is Morocco's code), so that a
 * `+` or `00` is needed. Only a page in Indonesian takes `0812…` and `62812…` for what they are there.
 */
export function parsePhone(typed, indonesian) {
  // Arabic and Hindi have digits of their own.
  let digits = typed.replace(/[٠-٩]/g, (digit) => digit.charCodeAt(0) & 15).replace(/[०-९]/g, (digit) => (digit.charCodeAt(0) + 10) & 15);
  digits = digits.replace(/[^+\d]/g, '').replace(/^00/, '+');
  if (indonesian) digits = digits.replace(/^(0|62)/, '+62');
  return /^\+[1-9]\d{7,14}$/.test(digits) ? digits.slice(1) : null;
}

import { fill, formatPhone, parsePhone } from './model.js';

// SVG paths in a square of 24, in the colour of the text. Screen readers skip them: the text beside a glyph says the same.
const GLYPHS = {
  alert: 'M12 4 21 19H3zM12 10v4m0 2.5v.01',
  ban: 'M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16zM6 18 18 6',
  check: 'M5 12.5 9.5 17 19 7.5',
  clock: 'M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16zm0-12v4l3 2',
  cloud: 'M7.5 18a4 4 0 0 1 0-8 5 5 0 0 1 9.5 1 3.5 3.5 0 0 1 0 7zM4 4l16 17',
  cross: 'M7 7l10 10m0-10L7 17',
  key: 'M8 20a4 4 0 1 0 0-8 4 4 0 0 0 0 8zm3-7 8-8m-4 4 3 3',
  link: 'M10 8H7.5a4 4 0 0 0 0 8H10m4-8h2.5a4 4 0 0 1 0 8H14m-5.5-4h7',
  lock: 'M6 11h12v9H6zm2 0V8a4 4 0 0 1 8 0v3',
  move: 'M4 9h15l-4-4m5 10H5l4 4',
  phone: 'M8 3.5h8v17H8zm3 14h2',
  refresh: 'M19.5 12a7.5 7.5 0 1 1-2.2-5.3M19.5 4v4h-4',
  unlink: 'M10 8H7.5a4 4 0 0 0 0 8H10m4-8h2.5a4 4 0 0 1 0 8H14M12 3v3m0 12v3',
  update: 'M12 19V5m-6 6 6-6 6 6',
};

/** Glyph and tone of each view. */
const PICTURES = {
  loading: 'link calm',
  qr_pending: 'phone busy',
  connecting: 'refresh busy',
  moving: 'move busy',
  'whatsapp-unreachable': 'cloud busy',
  connected: 'check good',
  disconnected: 'alert warn',
  'never-linked': 'link calm',
  'qr-expired': 'clock calm',
  cancelled: 'cross calm',
  'unlinked-by-user': 'unlink calm',
  'unlinked-by-phone': 'unlink warn',
  'other-account': 'phone warn',
  replaced: 'move warn',
  banned: 'ban bad',
  'account-locked': 'lock bad',
  'client-outdated': 'update bad',
  'credentials-unreadable': 'lock bad',
  'passkey-timeout': 'key calm',
  'proxy-failed': 'cloud warn',
  broken: 'alert warn',
  'signed-out': 'lock calm',
};

/** Names for WhatsApp's words for the phone. An unknown word is shown as it is. */
const PLATFORMS = {
  android: 'Android',
  iphone: 'iPhone',
  smba: 'Android, WhatsApp Business',
  smbi: 'iPhone, WhatsApp Business',
};

/**
 * Makes an element `tag.class#id`; each class and the id are also its `part`. Plain objects among the children are its
 * attributes and listeners. It never parses HTML text, so that no text from outside becomes markup.
 */
export function h(name, ...children) {
  const [, tag, classes, id] = /(\w+)([^#]*)#?(.*)/.exec(name);
  const node = document.createElementNS(`http://www.w3.org/${/svg|path/.test(tag) ? '2000/svg' : '1999/xhtml'}`, tag);
  const names = classes.replaceAll('.', ' ');
  node.setAttribute('class', names);
  node.setAttribute('part', names + ' ' + id);
  if (id) node.id = id;
  for (const child of children) {
    if (child?.constructor === Object) {
      for (const [key, value] of Object.entries(child)) {
        node[typeof value === 'function' ? 'addEventListener' : 'setAttribute'](key, value);
      }
    } else if (child) node.append(child);
  }
  return node;
}

export function draw(name, box, ...paths) {
  return h(`svg.${name}`, { viewBox: box, 'aria-hidden': true }, ...paths.map(([part, d]) => h(`path.${part}`, { d })));
}

export function icon(glyph) {
  return draw('icon', '0 0 24 24', ['line', GLYPHS[glyph]]);
}

export function look(model) {
  return model.of(PICTURES).split(' ');
}

/** A phone, a dashboard, the wire between them, and the glyph of the state. */
function picture(model) {
  return draw(
    'picture',
    '0 0 140 76',
    ['thing', 'M13 4h20a6 6 0 0 1 6 6v56a6 6 0 0 1-6 6H13a6 6 0 0 1-6-6V10a6 6 0 0 1 6-6zm82 10h32a6 6 0 0 1 6 6v28a6 6 0 0 1-6 6H95a6 6 0 0 1-6-6V20a6 6 0 0 1 6-6zm16 40v11m-11 0h22'],
    ['said', 'M15 17h11m-6 9h11m-16 9h8m74-11h12m-12 9h24m-24 9h16'],
    ['wire', 'M39 38h50'],
    ['spot', 'M64 38h.01'],
    ['glyph', GLYPHS[look(model)[0]]],
  );
}

export function button(name, label, click, glyph) {
  return h(`button.button${name}`, { type: 'button', click }, glyph && icon(glyph), label);
}

export function steps([title, ...list]) {
  return h('section.steps', h('h4', title), h('ol', ...list.map((step) => h('li', h('span', step)))));
}

/** A list: what the user can do if the phone refuses the code. */
export function refusals([title, ...list]) {
  return h('section.help', h('h4', title), ...list.map((line) => h('p.text', line)));
}

/** The view of every state that `scanView` does not show. */
export function stateView(model, acts) {
  const { t, name, state } = model;
  const [title, text, label] = model.of(t.states);
  const more = { connected: linked, connecting: linked, disconnected, broken: again, 'signed-out': again }[state];
  const rest = more?.(model, acts, label) ?? [];
  const node = h('div.state', picture(model), h('h3.title', { tabindex: -1 }, title), h('p.text', text), ...rest);
  return name === 'never-linked' ? h('div.split', node, steps(t.steps)) : node;
}

function again({ t, state, loginUrl }, acts, label) {
  const href = state === 'signed-out' && loginUrl;
  const login = href && h('a.button.primary#login', { href, target: '_top' }, t.states[state][0]);
  return [h('div.actions', login, button(login ? '#retry' : '.primary#retry', label, acts.retry, 'refresh'))];
}

// "Disconnect" always asks first. A modal dialog keeps the focus inside, closes on Escape and gives the focus back. Its
// first button has the focus, so that Enter by mistake keeps the account.
function linked(model, acts) {
  const { t, state, status } = model;
  // A pairing that waits for WhatsApp: no account is linked yet.
  if (state === 'connecting' && !status.phoneNumber) return [button('.command#cancel', t.cancel, acts.disconnect)];
  const [title, text, yes, no] = t.question;
  const fact = (id, value) => value && h('div', h('dt', t[id]), h(`dd#${id}`, value));
  const close = () => dialog.close();
  const dialog = h(
    'dialog.dialog',
    { 'aria-labelledby': 'question', 'aria-describedby': 'outcome' },
    h('h3#question', title),
    h('p.text#outcome', text),
    h('div.actions', button('#keep', no, close), button('.danger#confirm', yes, () => [close(), acts.disconnect()])),
  );
  return [
    h(
      'dl.facts',
      fact('phone', status.phoneNumber && h('bdi', { dir: 'ltr' }, formatPhone(status.phoneNumber))),
      fact('name', status.name && h('bdi', status.name)),
      fact('platform', PLATFORMS[status.platform] ?? status.platform),
      fact('since', state === 'connected' && moment(model, status.since)),
    ),
    button('.command#disconnect', t.disconnect, () => dialog.showModal(), 'unlink'),
    dialog,
  ];
}

// If `connect` cannot help, show only a secondary button: the page cannot see when the cause is gone. Hide it until a ban
// ends. Unreadable credentials offer "disconnect": a new link needs them erased.
function disconnected(model, acts, label) {
  const { t, name, status } = model;
  const { retryable, remote, until } = status;
  const help = [remote === false && t.unlinkNotSent, until && fill(t.until, moment(model, until)), !retryable && model.of(t.help)];
  const sentences = help.filter(Boolean).join(' ');
  const press = () => acts.connect();
  return [
    sentences && h('p.help', sentences),
    name === 'qr-expired' && refusals(t.refused),
    ...(retryable
      ? [button('.primary.command#connect', label, press), pairOffer(model, acts)]
      : name === 'credentials-unreadable'
        ? linked(model, acts)
        : [!(Date.parse(until) > Date.now()) && button('.command#connect', t.states['never-linked'][2], press)]),
  ];
}

// Pairing by number, for users whose only screen is the phone with WhatsApp.
export function pairOffer(model, acts) {
  const t = model.t.pair;
  const hint = h('p.text#hint', { role: 'status' }, t.hint);
  const input = h('input#number', { type: 'tel', autocomplete: 'tel', 'aria-label': t.label, 'aria-describedby': 'hint' });
  const submit = (event) => {
    event.preventDefault();
    const number = parsePhone(input.value, model.indonesian);
    show(hint, number ? t.hint : t.invalid);
    input.setAttribute('aria-invalid', !number);
    if (number) acts.connect(number);
    else input.focus();
  };
  return h('details', h('summary', t.offer), h('form', { submit }, input, h('button.button.command#pair', t.submit)), hint);
}

function moment({ lang }, text) {
  return new Date(text).toLocaleString(lang, { dateStyle: 'medium', timeStyle: 'short' });
}

export function show(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

import { h } from './dom.js';
import { confirmDialog } from './confirm.js';
import { emblem, heading, primary, quiet, spinner, steps } from './parts.js';
import { pairOffer } from './pair.js';
import { formatPhone } from './phone.js';
import { scanView } from './scan.js';
import { say } from './texts.js';
import { reasonWords } from './words.js';

// A view is built once for its key and then updated, so that a button keeps its focus and a form its text.

const SCANNING = ['starting', 'scanned', 'passkey-required'];

/** Which view shows this model, and what in the model calls for a new one. */
export function choose(model) {
  const { status, stream, fault, lang } = model;
  if (stream === 'signed-out') return { build: signedOutView, key: ['signed-out', lang, model.loginUrl] };
  if (fault) return { build: brokenView, key: ['broken', lang] };
  if (!status) return { build: loadingView, key: ['loading', lang] };
  if (status.status === 'connected') {
    return { build: connectedView, key: ['connected', lang, status.phoneNumber, status.name, status.since, model.justNow] };
  }
  if (status.status === 'qr_pending' || (status.status === 'connecting' && SCANNING.includes(status.reason))) {
    return { build: scanView, key: ['scan', lang] };
  }
  const key = [status.status, lang, status.reason, status.retryable, status.until, status.remote, status.phoneNumber];
  return { build: status.status === 'connecting' ? connectingView : disconnectedView, key };
}

function still(node) {
  return { node, update() {} };
}

function loadingView({ t }) {
  return still(
    h('div', { class: 'centre' }, spinner(), h('h3', { class: 'title faint', tabindex: -1 }, t.loading)),
  );
}

function brokenView({ t }, acts) {
  return still(
    h(
      'div',
      { class: 'centre' },
      emblem('alert', 'warn'),
      ...heading(t.broken.title, t.broken.text),
      h('div', { class: 'actions' }, quiet('reload', 'refresh', t.broken.retry, acts.reload)),
    ),
  );
}

function signedOutView({ t, loginUrl }, acts) {
  const link = loginUrl
    ? h('a', { class: 'button primary', id: 'login', part: 'button login', href: loginUrl, target: '_top' }, t.signedOut.action)
    : null;
  return still(
    h(
      'div',
      { class: 'centre' },
      emblem('lock', 'calm'),
      ...heading(t.signedOut.title, t.signedOut.text),
      h('div', { class: 'actions' }, link, quiet('reload', 'refresh', t.signedOut.retry, acts.reload)),
    ),
  );
}

function connectingView(model, acts) {
  const { t, status } = model;
  const words = reasonWords(model);
  // Behind any of these reasons there may be a linked account, so ending it always takes a question.
  const dialog = confirmDialog(t, acts.disconnect);
  const button = quiet('disconnect', null, t.connected.disconnect, () => dialog.showModal());
  const node = h(
    'div',
    { class: 'centre' },
    spinner(),
    ...heading(words.title, words.text),
    status.phoneNumber ? h('p', { id: 'phone', part: 'phone', class: 'number' }, formatPhone(status.phoneNumber)) : null,
    h('div', { class: 'actions' }, button),
    dialog,
  );
  return { node, update: ({ pending }) => void (button.disabled = Boolean(pending)) };
}

function connectedView(model, acts) {
  const { t, status, justNow } = model;
  const dialog = confirmDialog(t, acts.disconnect);
  const button = quiet('disconnect', 'unlink', t.connected.disconnect, () => dialog.showModal());
  const title = justNow ? t.connected.justNow : t.connected.title;
  const facts = [
    [t.connected.number, status.phoneNumber && h('dd', { id: 'phone', part: 'phone' }, formatPhone(status.phoneNumber))],
    [t.connected.name, status.name && h('dd', { id: 'name' }, status.name)],
    [t.connected.since, status.since && h('dd', {}, h('time', { datetime: status.since }, moment(model, status.since)))],
  ].filter(([, value]) => value);
  const node = h(
    'div',
    { class: justNow ? 'connected just' : 'connected' },
    h('div', { class: 'lead' }, emblem('check', 'good'), h('div', {}, ...heading(title, t.connected.text))),
    facts.length ? h('dl', { class: 'facts' }, ...facts.map(([name, value]) => h('div', {}, h('dt', {}, name), value))) : null,
    h('div', { class: 'actions' }, button),
    dialog,
  );
  return { node, update: ({ pending }) => void (button.disabled = Boolean(pending)) };
}

function disconnectedView(model, acts) {
  const { t, status } = model;
  const words = reasonWords(model);
  const first = status.reason === 'never-linked';
  const terminal = !status.retryable && Boolean(words.help);
  const waits = terminal && Date.parse(status.until) > Date.now();
  const label = words.action ?? t.otherReason.disconnected.action;

  // Nothing sensible to press before a restriction ends. In the other terminal states the cause lies outside and this
  // page cannot see it go, so a quiet way to try stays; it must not look like the cure.
  const button = terminal
    ? quiet('connect', null, t.tryAnyway, () => acts.connect())
    : primary('connect', first ? 'link' : 'refresh', label, () => acts.connect());
  const offer = terminal ? null : pairOffer(t, acts.connect);
  const node = h(
    'div',
    { class: first ? 'split first' : 'ended' },
    h(
      'div',
      { class: 'words' },
      h('div', { class: 'lead' }, first ? null : emblem(...emblemOf(status, terminal)), h('div', {}, ...heading(words.title, words.text))),
      status.remote === false ? h('p', { class: 'help', part: 'help' }, t.notTold) : null,
      terminal ? h('p', { class: 'help', part: 'help' }, helpOf(model, words)) : null,
      waits ? null : h('div', { class: 'actions' }, button),
      offer?.node,
    ),
    first ? steps(t) : null,
  );
  const text = button.querySelector('.label');

  function update({ pending, cooldown }) {
    const cooling = Boolean(cooldown && !cooldown.over);
    for (const each of [button, offer?.button]) if (each) each.disabled = Boolean(pending) || cooling;
    button.classList.toggle('busy', pending === 'connect');
    text.textContent = cooling ? `${terminal ? t.tryAnyway : label} (${cooldown.seconds})` : terminal ? t.tryAnyway : label;
  }

  return { node, update };
}

function helpOf(model, words) {
  const { t, status } = model;
  return status.until ? `${say(t.bannedUntil, { time: moment(model, status.until) })} ${words.help}` : words.help;
}

function emblemOf({ reason }, terminal) {
  if (reason === 'qr-expired' || reason === 'passkey-timeout') return ['clock', 'calm'];
  if (reason === 'cancelled' || reason === 'unlinked-by-user') return ['unlink', 'calm'];
  return terminal ? ['lock', 'bad'] : ['alert', 'warn'];
}

function moment({ lang }, text) {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return text;
  return date.toLocaleString(lang === 'id' ? 'id-ID' : 'en-GB', { dateStyle: 'long', timeStyle: 'short' });
}

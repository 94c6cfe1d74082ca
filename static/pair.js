import { h } from './dom.js';
import { icon } from './icons.js';
import { parsePhone } from './phone.js';

/** The code that is typed on the phone instead of a scan. */
export function pairCode(t) {
  const code = h('code', { id: 'pair-code', part: 'pair-code' });
  const label = h('span', {}, t.pair.copy);
  const copy = h('button', { type: 'button', class: 'button small', id: 'copy', click: () => write(code.textContent) }, icon('copy'), label);
  const over = h('p', { class: 'text', hidden: true }, t.pair.expired);
  const row = h('div', { class: 'pair-row' }, code, copy);
  const node = h(
    'section',
    { class: 'pair', hidden: true },
    h('h4', {}, t.pair.title),
    h('p', { class: 'text' }, t.pair.where),
    row,
    over,
  );
  let current = null;

  async function write(text) {
    try {
      await navigator.clipboard.writeText(text);
      label.textContent = t.pair.copied;
    } catch {
      // No clipboard here (plain http, or not allowed): select the code, so that one keystroke copies it.
      getSelection().selectAllChildren(code);
    }
  }

  function update(pair) {
    if (pair?.code !== current?.code) label.textContent = t.pair.copy;
    current = pair;
    node.hidden = !pair;
    code.textContent = pair?.code ?? '';
    tick();
  }

  function tick() {
    const gone = Boolean(current?.deadline.over);
    row.hidden = gone;
    over.hidden = !gone;
  }

  return { node, update, tick };
}

/** Asks for a number, for whom a scan is not possible: who reads this page on the phone that has WhatsApp. */
export function pairOffer(t, connect) {
  const wrong = h('p', { class: 'wrong', id: 'phone-wrong', role: 'alert' });
  const input = h('input', {
    id: 'phone-input',
    type: 'tel',
    inputmode: 'tel',
    autocomplete: 'tel',
    'aria-describedby': 'phone-hint phone-wrong',
  });
  const button = h('button', { type: 'submit', class: 'button', id: 'pair' }, t.pair.submit);

  function submit(event) {
    event.preventDefault();
    const number = parsePhone(input.value);
    wrong.textContent = number ? '' : t.pair.invalid;
    input.setAttribute('aria-invalid', String(!number));
    if (number) connect(number);
    else input.focus();
  }

  const node = h(
    'details',
    { class: 'offer' },
    h('summary', {}, t.pair.offer),
    h(
      'form',
      { submit, novalidate: true },
      h('label', { for: 'phone-input' }, t.pair.label),
      h('div', { class: 'field' }, input, button),
      h('p', { class: 'hint', id: 'phone-hint' }, t.pair.hint),
      wrong,
    ),
  );
  return { node, button };
}

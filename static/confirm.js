import { h } from './dom.js';
import { quiet } from './parts.js';

/** The question before an account is unlinked. A modal dialog brings the focus trap, Escape and the way back. */
export function confirmDialog(t, yes) {
  const close = () => dialog.close();
  const dialog = h(
    'dialog',
    { class: 'dialog', part: 'dialog', 'aria-labelledby': 'confirm-title', 'aria-describedby': 'confirm-text' },
    h('h3', { id: 'confirm-title', class: 'title' }, t.confirm.title),
    h('p', { id: 'confirm-text', class: 'text' }, t.confirm.text),
    h(
      'div',
      { class: 'actions' },
      // First in order, so it has the focus: Enter by mistake keeps the account.
      quiet('keep', null, t.confirm.no, close),
      h('button', { type: 'button', class: 'button danger', id: 'confirm', part: 'button confirm', click: () => { close(); yes(); } }, t.confirm.yes),
    ),
  );
  return dialog;
}

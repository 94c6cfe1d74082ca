import { say } from './texts.js';

// What the frame of the card says about a model; the words of its views stand with the views.

/** The sentence of the status; a reason that is newer than this page gets a general one. */
export function reasonWords({ t, status }) {
  return t.reasons[status.reason] ?? t.otherReason[status.status];
}

export function statusWord({ t, status, stream, fault }) {
  if (stream === 'signed-out') return t.status.signedOut;
  if (fault) return t.status.error;
  if (!status) return t.status.loading;
  if (status.stale) return t.status.checking;
  return status.reason === 'never-linked' ? t.status.neverLinked : t.status[status.status];
}

/** Our own stream's trouble, told apart from WhatsApp's; empty when there is none. */
export function noticeWords({ t, status, stream, why }) {
  if (stream === 'lost') return why === 'too-many-streams' ? t.notices.tooManyStreams : t.notices.lost;
  if (stream === 'live' && status?.stale) return t.notices.stale;
  return '';
}

export function problemWords({ t, problem }) {
  if (!problem) return '';
  if (problem.status === 429) return say(t.problems['rate-limited'], { n: problem.retryAfter });
  return t.problems[problem.code] ?? t.problems.other;
}

/** For a screen reader: the state, never the seconds. */
export function spokenWords(model) {
  const { t, status, stream, fault, qr, justNow } = model;
  if (stream === 'signed-out') return t.signedOut.text;
  const notice = noticeWords(model);
  if (notice) return notice;
  if (fault) return t.broken.title;
  if (!status) return '';
  if (status.status === 'connected') return justNow ? t.connected.justNow : t.connected.title;
  if (status.status === 'qr_pending') return qr?.deadline.over ? t.scan.expired : `${t.scan.waiting}. ${t.scan.title}`;
  const words = reasonWords(model);
  return `${words.title}. ${words.text}`;
}

import { Deadline } from './deadline.js';

// What the page knows. The element changes it through these functions only, and draws whatever it says.

export const STATUSES = ['disconnected', 'connecting', 'qr_pending', 'connected'];
const PAIRING = ['scanned', 'passkey-required'];

export function emptyModel() {
  return {
    status: null,
    qr: null,
    pair: null,
    stream: 'opening',
    why: null,
    fault: null,
    pending: null,
    problem: null,
    cooldown: null,
    pairing: false,
    justNow: false,
  };
}

/** Takes one event in. An event or a field that we do not know changes nothing; a status that we do not know throws. */
export function take(model, name, data) {
  if (data === null || typeof data !== 'object') throw new TypeError(`${name} without an object`);
  if (name === 'connection-status') takeStatus(model, data);
  else if (name === 'qr-code') takeCode(model, data);
  else if (name === 'pair-code') takePair(model, data);
  else if (name === 'passkey-required') takeStatus(model, { ...model.status, status: 'connecting', reason: 'passkey-required' });
  model.fault = null;
}

function takeStatus(model, status) {
  if (!STATUSES.includes(status.status)) throw new TypeError('a status this page does not know');
  const before = model.status;
  if (status.status === 'qr_pending' || PAIRING.includes(status.reason)) model.pairing = true;
  if (status.status !== 'qr_pending') {
    model.qr = null;
    model.pair = null;
  }
  if (status.status === 'connected') {
    model.justNow = model.pairing || (before?.status === 'connected' && model.justNow);
    model.pairing = false;
  } else {
    model.justNow = false;
    if (status.status === 'disconnected') model.pairing = false;
  }
  if (before?.status !== status.status || before?.reason !== status.reason) model.problem = null;
  model.status = status;
}

function takeCode(model, data) {
  // Only a picture that carries itself: an address from elsewhere would make the browser fetch it.
  if (typeof data.qrCode !== 'string' || !data.qrCode.startsWith('data:image/')) throw new TypeError('a QR code without a picture');
  model.qr = { ...data, deadline: new Deadline(Number(data.expiresIn) || 0) };
}

function takePair(model, data) {
  if (typeof data.code !== 'string') throw new TypeError('a pair code without a code');
  model.pair = { ...data, deadline: new Deadline(Number(data.expiresIn) || 0) };
}

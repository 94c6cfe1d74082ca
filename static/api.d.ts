// Types of every event and body of the API (docs/api.md). Fields, reasons and codes are only ever added: ignore those
// that you do not know.

/** `connection-status`, and the answer of `status`, `connect`, `disconnect` and `passkey`. */
export interface ConnectionStatus {
  status: 'disconnected' | 'connecting' | 'qr_pending' | 'connected';
  /** Digits, beginning with the country code. */
  phoneNumber: string | null;
  name: string | null;
  /** The phone's platform in WhatsApp's word. Left out if WhatsApp has not sent it. */
  platform?: string;
  reason: EndReason | ConnectingReason | null;
  /** Whether another `connect` can help. */
  retryable: boolean;
  /** When a ban ends. Left out if WhatsApp has not sent it. */
  until: string | null;
  /** When `status` got its present value. */
  since: string | null;
  /** The status may be out of date. */
  stale: boolean;
  /** The window of codes that the status belongs to. */
  pairing: string | null;
  /** The public name of the tenant. Left out of webhooks. */
  tenantRef?: string;
  /** `false` if WhatsApp did not receive an unlink. */
  remote?: boolean;
}

/** Why a session ended. */
export type EndReason =
  | 'never-linked'
  | 'qr-expired'
  | 'cancelled'
  | 'unlinked-by-user'
  | 'unlinked-by-phone'
  | 'other-account'
  | 'replaced'
  | 'banned'
  | 'account-locked'
  | 'client-outdated'
  | 'pairing-failed'
  | 'credentials-unreadable'
  | 'store-lost'
  | 'passkey-timeout'
  | 'proxy-failed'
  | 'internal';

/** Why the session is not connected yet. */
export type ConnectingReason =
  | 'starting'
  | 'resuming'
  | 'scanned'
  | 'passkey-required'
  | 'reconnecting'
  | 'moving'
  | 'whatsapp-unreachable';

/** `qr-code`, and the answer of `qr` as JSON. */
export interface QrCode {
  /** The picture, as a `data:` URL. */
  qrCode: string;
  qrText: string;
  /** Whole seconds from the moment at which the event was written. */
  expiresIn: number;
  expiresAt: string;
  attempt: number;
  maxAttempts: number;
  pairing: string;
}

/** `pair-code` */
export interface PairCode {
  code: string;
  phoneNumber: string;
  expiresIn: number;
  expiresAt: string;
  pairing: string;
}

/** `pair-code-refused` */
export interface PairCodeRefused {
  phoneNumber: string;
  reason: 'rate-limited' | 'not-available' | 'number-refused' | 'tries-used-up' | 'unanswered';
  retryable: boolean;
}

/** `passkey-required` */
export interface PasskeyRequired {
  step: 'assert' | 'compare';
  /** With the step `assert`: for `navigator.credentials.get` on a page of WhatsApp's own origin. */
  options?: Record<string, unknown>;
  /** With the step `compare`: to be compared with the phone's. */
  code?: string;
  expiresIn: number;
  expiresAt: string;
  pairing: string;
}

/** `heartbeat` */
export interface Heartbeat {
  /** The longest time to the next one, in seconds. */
  every: number;
}

/** `token-expired`: the stream ends. */
export type TokenExpired = Record<string, unknown>;

/** Every event of the stream: its name and its data. */
export interface Events {
  'connection-status': ConnectionStatus;
  'qr-code': QrCode;
  'pair-code': PairCode;
  'pair-code-refused': PairCodeRefused;
  'passkey-required': PasskeyRequired;
  heartbeat: Heartbeat;
  'token-expired': TokenExpired;
}

/** An error answer (RFC 9457). */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: ProblemCode;
}

export type ProblemCode =
  | 'bad-request'
  | 'bad-host'
  | 'bad-json'
  | 'bad-phone-number'
  | 'bad-passkey'
  | 'missing-token'
  | 'malformed-token'
  | 'expired-token'
  | 'token-not-yet-valid'
  | 'wrong-signature'
  | 'wrong-algorithm'
  | 'unknown-key'
  | 'token-without-expiry'
  | 'bad-tenant'
  | 'bad-proxy'
  | 'wrong-issuer'
  | 'wrong-audience'
  | 'token-revoked'
  | 'ambiguous-token'
  | 'scope-missing'
  | 'origin-missing'
  | 'origin-not-allowed'
  | 'sign-in-refused'
  | 'not-found'
  | 'no-qr'
  | 'method-not-allowed'
  | 'not-acceptable'
  | 'tenant-changed'
  | 'other-account-linked'
  | 'passkey-not-asked'
  | 'request-timeout'
  | 'body-too-large'
  | 'unsupported-media-type'
  | 'headers-too-large'
  | 'too-many-streams'
  | 'too-many-commands'
  | 'too-many-reads'
  | 'too-many-pair-codes'
  | 'too-many-dials'
  | 'internal'
  | 'store-unavailable'
  | 'session-busy'
  | 'no-capacity'
  | 'keys-unavailable';

/** The body of `connect`. */
export type Connect = {
  /** Asks for a pairing code for this number beside the QR code. */
  phoneNumber?: string | null;
  /** Refuses every other account; `null` allows any again. */
  expectedPhoneNumber?: string | null;
} | null;

/** The body of `disconnect`. */
export type Disconnect = Record<string, unknown> | null;

/** The body of `passkey`. */
export type PasskeyAnswer = { pairing?: string | null } & ({ assertion: Assertion } | { confirmed: true });

/** What `navigator.credentials.get` returned, as JSON: each field in base64url without padding. */
export interface Assertion {
  rawId: string;
  response: {
    clientDataJSON: string;
    authenticatorData: string;
    signature: string;
    userHandle?: string | null;
  };
}

/** The body of a webhook (docs/webhooks.md). */
export interface Webhook {
  type: 'connection-status';
  /** When the status changed. */
  timestamp: string;
  /** The tenant as its token names it. */
  tenant: string;
  /** The event's id on the stream. */
  id: string;
  /** `stale` is always false, and there is no `tenantRef`. */
  data: ConnectionStatus;
}

/** The answer of `/readyz`. */
export interface Ready {
  store: 'ok' | 'away' | 'not-delivering' | 'read-only';
  /** Present only while the instance drains. */
  draining?: true;
}

/** The body of `/admin/status`, `/admin/streams/end`, `/admin/disconnect` and `/admin/erase` (docs/admin.md). */
export interface AdminTenant {
  tenant: string;
}

/** The body of `/admin/linked`. */
export type AdminLinked = {
  /** `next` of the page before. */
  after?: string | null;
  /** 100 if it is left out. */
  limit?: number | null;
} | null;

/** The answer of `/admin/streams/end`. */
export interface StreamsEnded {
  /** Tokens that were issued in this second or before are refused. */
  notBefore: string;
}

/** The answer of `/admin/erase`. */
export interface Erased {
  outcome: 'erased' | 'still-listed' | 'unknown';
}

/** The answer of `/admin/linked`. */
export interface LinkedTenants {
  tenants: LinkedTenant[];
  /** `after` of the next page; `null`: there is none. */
  next: string | null;
}

/** A linked tenant, with its status. */
export interface LinkedTenant extends ConnectionStatus {
  tenant: string;
}

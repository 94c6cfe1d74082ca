// Compiles only if the types that users import are those that the documents describe.
import type { components, webhooks } from './openapi';
import type { Described } from './events';
import type * as api from './api';

type Schemas = components['schemas'];
type Equal<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
type Holds<T extends true> = T;

export type Checks = [
  Holds<Equal<Schemas['ConnectionStatus'], api.ConnectionStatus>>,
  Holds<Equal<Schemas['QrCode'], api.QrCode>>,
  Holds<Equal<Schemas['PairCode'], api.PairCode>>,
  Holds<Equal<Schemas['PairCodeRefused'], api.PairCodeRefused>>,
  Holds<Equal<Schemas['PasskeyRequired'], api.PasskeyRequired>>,
  Holds<Equal<Schemas['Heartbeat'], api.Heartbeat>>,
  Holds<Equal<Schemas['TokenExpired'], api.TokenExpired>>,
  Holds<Equal<Schemas['Problem'], api.Problem>>,
  Holds<Equal<Schemas['Connect'], api.Connect>>,
  Holds<Equal<Schemas['Disconnect'], api.Disconnect>>,
  Holds<Equal<Schemas['PasskeyAnswer'], api.PasskeyAnswer>>,
  Holds<Equal<Schemas['Assertion'], api.Assertion>>,
  Holds<Equal<Schemas['Webhook'], api.Webhook>>,
  Holds<Equal<Schemas['Ready'], api.Ready>>,
  Holds<Equal<Schemas['AdminTenant'], api.AdminTenant>>,
  Holds<Equal<Schemas['AdminLinked'], api.AdminLinked>>,
  Holds<Equal<Schemas['StreamsEnded'], api.StreamsEnded>>,
  Holds<Equal<Schemas['Erased'], api.Erased>>,
  Holds<Equal<Schemas['LinkedTenants'], api.LinkedTenants>>,
  Holds<Equal<Schemas['LinkedTenant'], api.LinkedTenant>>,
  // Every event of the stream has its name and its data.
  Holds<Equal<Described, api.Events>>,
  Holds<
    Equal<webhooks['connection-status']['post']['requestBody']['content']['application/json'], api.Webhook>
  >,
  // Every schema stands above.
  Holds<
    Equal<
      keyof Schemas,
      | 'ConnectionStatus'
      | 'QrCode'
      | 'PairCode'
      | 'PairCodeRefused'
      | 'PasskeyRequired'
      | 'Heartbeat'
      | 'TokenExpired'
      | 'Problem'
      | 'Connect'
      | 'Disconnect'
      | 'PasskeyAnswer'
      | 'Assertion'
      | 'Webhook'
      | 'Ready'
      | 'AdminTenant'
      | 'AdminLinked'
      | 'StreamsEnded'
      | 'Erased'
      | 'LinkedTenants'
      | 'LinkedTenant'
    >
  >,
];

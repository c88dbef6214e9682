import { createRequire } from 'node:module';
import type * as Undici from 'undici';

const require = createRequire(import.meta.url);

/** The parts of undici are what its own types say of the whole. */
function part<Part>(path: string): Part {
  return require(`undici/lib/${path}.js`) as Part;
}

/**
 * The parts of undici that make requests, and no others: as a whole it also has fetch, caches, WebSockets and mocks, and for those loads what
 * Node keeps of the same again. A server that does nothing would keep some 6 MB of it. That these parts are there under these names is
 * held by every test that calls a provider, for the one version that the package asks for.
 */
const dispatcher = part<{ readonly prototype: object }>('dispatcher/dispatcher');
// `request` and its like, as the whole does it.
Object.assign(dispatcher.prototype, part<object>('api/index'));

export const UndiciAgent = part<typeof Undici.Agent>('dispatcher/agent');
export const Pool = part<typeof Undici.Pool>('dispatcher/pool');
export const buildConnector = part<typeof Undici.buildConnector>('core/connect');

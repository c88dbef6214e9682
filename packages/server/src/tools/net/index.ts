/** The door of the network: where requests of tools may go, and what of a page is worth reading. */
export { isPublicAddress } from './addresses.ts';
export { type BoundedBody, decodeText, readBounded, redirectStatuses, reservedHeaders } from './answers.ts';
export { type EdgeSecret, type EdgeSecrets, isThisMachine, noEdgeSecrets } from './edge-secrets.ts';
export {
  createEgressAgent,
  type EgressObserver,
  type EgressOptions,
  hostInUrl,
  hostnameOf,
  portOf,
  type ResolvedAddress,
  requireAllowedUrl,
} from './egress.ts';
export { htmlToMarkdown } from './html-text.ts';
export { createOwnListeners, type OwnListeners } from './own-listeners.ts';
export { prettyJson } from './pretty-json.ts';
export { type EgressGrant, type EgressRecord, openEgressProxy, type ProxyDefence, type ProxyLimits, proxyDefences } from './proxy/index.ts';
export { createNameResolver } from './resolver.ts';

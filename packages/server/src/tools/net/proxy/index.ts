export { openEgressProxy } from './proxy.ts';
export { type EgressGrant, type EgressRecord, type ProxyDefence, type ProxyLimits, proxyDefences } from './types.ts';

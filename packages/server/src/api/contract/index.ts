/** What the rooms of the API agree on: what a route is, and what the API is given. */
export { localOperator, visitor } from './operator.ts';
export {
  type AdminQuestion,
  bodySizes,
  type Call,
  pageQuery,
  pageRequest,
  type Route,
  type RouteAnswer,
  type RouteResponse,
  route,
  wholePage,
} from './route.ts';
export type { Api, ApiConfig, ApiDependencies, ApiLogger, ApiMetrics, ApiServices, Bound, StreamOutcome } from './types.ts';

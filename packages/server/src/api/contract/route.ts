import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AdminAction, IdKind, KeyScope, Page, SystemPart } from '@nexus-agent/protocol';
import { dictionary } from '@nexus-agent/protocol';
import { z } from 'zod';
import type { Principal } from '#identity';
import type { ApiServices } from './types.ts';

/** What a handler is given: everything is parsed and the principal holds the route's scope. */
export interface Call<Body, Query> {
  readonly principal: Principal;
  readonly params: Readonly<Record<string, string>>;
  readonly body: Body;
  readonly query: Query;
  /** Whether the address has a query at all, also where the route takes none. */
  readonly hasQuery: boolean;
  readonly headers: IncomingMessage['headers'];
  readonly requestId: string;
  readonly idempotencyKey: string | null;
  readonly traceparent: string | null;
  /** Aborts when the client goes away before it was answered. */
  signal(): AbortSignal;
  readonly services: ApiServices;
}

export type RouteAnswer =
  /** `text` is sent as it is, `body` as JSON. */
  | { readonly status: number; readonly body: unknown; readonly replayed?: boolean }
  | { readonly status: number; readonly text: string; readonly contentType: string; readonly headers?: Readonly<Record<string, string>> }
  | { readonly status: 204; readonly headers?: Readonly<Record<string, string>> }
  /** The route writes to the response itself; it resolves when the response has ended. */
  | { readonly stream: (response: ServerResponse) => Promise<void> };

export interface RouteResponse {
  readonly description: string;
  readonly schema?: z.ZodType;
  readonly contentType?: string;
  /** What each event is, when the answer is a stream of server-sent events, or can be one by `Accept`. */
  readonly events?: z.ZodType;
}

/** What an administrative route asks policy before it does anything. */
export interface AdminQuestion<Body> {
  readonly action: AdminAction;
  readonly part: SystemPart;
  /** What policies may read of it; by default what the path names and the body says. */
  arguments?(body: Body): Readonly<Record<string, unknown>>;
}

/** Whoever administers needs the scope, and is asked for: no administrative route can be written that asks nothing. */
type Admission<Body> =
  | { readonly scope: Exclude<KeyScope, 'admin'> | 'public' | 'any'; readonly asks?: never }
  | { readonly scope: 'admin'; readonly asks: AdminQuestion<Body> };

/**
 * One endpoint: the table of these is both what the server registers and what the OpenAPI document is made from.
 * `scope` `public` needs no authentication; `any` needs it but no particular scope.
 */
export type Route<Body = unknown, Query = unknown> = Admission<Body> & RouteParts<Body, Query>;

/**
 * How large a body may be, in bytes and in values (items, members, lists and objects), by what it carries. What takes time is not text but
 * values: each is parsed, checked and perhaps explained. No endpoint takes more bytes than `limits.bodyBytes`.
 */
export const bodySizes = dictionary({
  /** Names, numbers, policies in their short form. */
  small: { bytes: 256 * 1024, values: 5_000 },
  /** An agent, with its instructions and the schema of its answers. */
  definition: { bytes: 1024 * 1024, values: 20_000 },
  /** Any JSON that a tool takes. */
  arguments: { bytes: 4 * 1024 * 1024, values: 100_000 },
  /** Text and images: few values, however large. */
  input: { bytes: Number.POSITIVE_INFINITY, values: 5_000 },
});
type BodySize = keyof typeof bodySizes;

interface RouteParts<Body, Query> {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** With `{name}` for parameters. */
  readonly path: string;
  readonly operationId: string;
  readonly summary: string;
  readonly tag: string;
  /** Parameters that are ids: a text that is not one is `not_found` before anything is asked. */
  readonly params?: Readonly<Record<string, IdKind | 'name'>>;
  readonly body?: z.ZodType<Body>;
  /** How large it may be; default `small`. */
  readonly bodySize?: BodySize;
  /** An absent body counts as `{}`. */
  readonly bodyOptional?: boolean;
  readonly query?: z.ZodType<Query>;
  /** Takes an `Idempotency-Key` header. */
  readonly idempotent?: boolean;
  /** What a program on this machine may send without a key or token; absent: nothing. A route without a body says `z.undefined()`. */
  readonly visitors?: z.ZodType;
  /** Without a key it starts something by GET, which a link or an image of any page could send: only for what is no browser. */
  readonly startsByGet?: boolean;
  /** A page of another site may send a browser here, as an authorization server does: by a navigation, and nothing else. */
  readonly fromSites?: boolean;
  readonly stream?: boolean;
  readonly responses: Readonly<Record<number, RouteResponse>>;
  handle(call: Call<Body, Query>): Promise<RouteAnswer>;
}

/** Keeps the types of body and query together while the route is written, then forgets them for the table. */
export function route<Body = undefined, Query = undefined>(definition: Route<Body, Query>): Route {
  return definition as unknown as Route; // the server parses body and query by the schemas of this same definition
}

/** A cursor holds what its list is sorted by: of files a path, whose 2,048 bytes may be twice as many in JSON, in base64. */
const maxCursorChars = 6_000;

/** `?limit=` and `?cursor=` of every list. */
export const pageQuery = z.strictObject({
  limit: z.coerce.number({ error: 'expected a whole number from 1 to 200' }).int().min(1).max(200).default(50),
  cursor: z.string().min(1).max(maxCursorChars).optional(),
});

/** What a service is asked for: the paging part of a query, without keys that are absent. */
export function pageRequest(query: z.infer<typeof pageQuery>): { limit: number; cursor?: string } {
  return { limit: query.limit, ...(query.cursor === undefined ? {} : { cursor: query.cursor }) };
}

/** A list that always fits one page. */
export function wholePage<T>(items: readonly T[]): Page<T> {
  return { data: [...items], nextCursor: null };
}

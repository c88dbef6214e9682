import { createHash, timingSafeEqual } from 'node:crypto';
import { type Metadata, ResponderBuilder, ServerInterceptingCall, type ServerInterceptor, ServerListenerBuilder } from '@grpc/grpc-js';
import { NexusError } from '#core';
import { loadDefinition } from './definition.ts';
import { statusOf } from './status.ts';

export interface GateOptions {
  /** What callers must present; nobody is asked when left out. */
  readonly token?: string | undefined;
  /** Most executions under way. */
  readonly maxCalls: number;
  /** Why no call begins any more, if so. */
  readonly refusal: () => NexusError | undefined;
  /** How many executions have not ended, also those whose stream has. */
  readonly running: () => number;
}

export interface CallGate {
  readonly interceptor: ServerInterceptor;
  /** Streams of executions that are open. */
  readonly open: () => number;
}

type Kind = 'execution' | 'health' | 'other';

/** Whoever checks whether a process is well has no token. */
const healthService = '/grpc.health.v1.Health/';

/** Most requests under way of each other kind: each may hold a message of the largest size. */
const maxOthers = 500;

/** Decides on the head of a request, before any of its message is read: what is refused here cost next to nothing and did nothing. */
export function createGate({ token, maxCalls, refusal, running }: GateOptions): CallGate {
  const executePath = loadDefinition().service.Execute.path;
  const isKnown = token === undefined ? () => true : tokenCheck(token);
  const under = new Map<Kind, number>();
  const countOf = (kind: Kind) => under.get(kind) ?? 0;
  const kindOf = (path: string): Kind => (path === executePath ? 'execution' : path.startsWith(healthService) ? 'health' : 'other');

  function check(kind: Kind, metadata: Metadata): NexusError | undefined {
    if (kind !== 'health' && !isKnown(metadata))
      return new NexusError('unauthenticated', 'the agent core wants its token: authorization: Bearer <token>');
    if (kind !== 'execution') return countOf(kind) < maxOthers ? undefined : overloaded('requests', maxOthers, countOf(kind));
    const refused = refusal();
    if (refused !== undefined) return refused;
    const calls = Math.max(countOf(kind), running());
    return calls < maxCalls ? undefined : overloaded('calls', maxCalls, calls);
  }

  const interceptor: ServerInterceptor = (method, call) => {
    const kind = kindOf(method.path);
    let counted = false;
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((metadata, next) => {
        const refused = check(kind, metadata);
        if (refused !== undefined) return call.sendStatus(statusOf(refused));
        counted = true;
        under.set(kind, countOf(kind) + 1);
        next(metadata);
      })
      // Every call ends with it, whatever its end.
      .withOnCancel(() => {
        if (!counted) return;
        counted = false;
        under.set(kind, countOf(kind) - 1);
      })
      .build();
    return new ServerInterceptingCall(call, new ResponderBuilder().withStart((next) => next(listener)).build());
  };
  return { interceptor, open: () => countOf('execution') };
}

function overloaded(what: string, limit: number, running: number): NexusError {
  return new NexusError('rate_limited', `the agent core has ${running} ${what} under way, and may have ${limit}; try again in a moment`, {
    details: { what, limit, running },
  });
}

/** Compares digests, so that the time it takes says nothing of the token. */
function tokenCheck(token: string): (metadata: Metadata) => boolean {
  const expected = digest(`bearer ${token}`);
  return (metadata) => {
    const [presented] = metadata.get('authorization');
    if (typeof presented !== 'string' || presented.length > 10_000) return false;
    return timingSafeEqual(digest(presented.replace(/^bearer /i, 'bearer ')), expected);
  };
}

const digest = (text: string) => createHash('sha256').update(text).digest();

import { NexusError } from './errors.ts';

/** Who wants a place: tenants share fairly, and within a tenant its sessions do. */
export interface Holder {
  readonly tenantId: string;
  readonly sessionId: string;
}

export interface SharesOptions {
  /** What is shared, in the plural: for refusals. */
  readonly what: string;
  /** Places that one tenant may have all of while nobody else wants one. */
  readonly places: number;
  /**
   * Further places for whoever has none: all of them for a tenant that has none, all but one for a session that has none, of
   * which a tenant has one at a time. So nobody waits behind what another does for long.
   */
  readonly spare: number;
  /** Most that may wait for a place, of one tenant. */
  readonly maxWaiting: number;
  /** Most that may wait, of all tenants together. `maxWaiting` of four tenants when left out. */
  readonly maxWaitingOfAll?: number;
  /** The setting that says how many may wait. */
  readonly setting: string;
  readonly retryAfterMs?: number;
}

export interface Shares {
  /**
   * A place, once it is the turn of the holder; what comes back gives it up, and may be called again. Throws `rate_limited` when too many
   * wait already, and the reason of the signal when that fires first.
   */
  enter(holder: Holder, signal?: AbortSignal): Promise<() => void>;
  /** A place if there is one at once; undefined if not. Nobody waits. */
  tryEnter(holder: Holder): (() => void) | undefined;
  readonly inUse: number;
  readonly waiting: number;
  /** Ends all waiting with this error; nobody gets a place any more. */
  close(error: Error): void;
}

interface Waiting {
  readonly enter: () => void;
  readonly fail: (error: unknown) => void;
}

interface Tenant {
  running: number;
  /** Places by session. */
  readonly sessions: Map<string, number>;
  /** Who waits, in order of their coming, by session in order of their turns. */
  readonly waiting: Map<string, Waiting[]>;
  waitingCount: number;
}

/** Places of something that all tenants share, given out in turns. */
export function createShares(options: SharesOptions): Shares {
  const { places, spare } = options;
  /** In the order of their turns: whoever has had one goes to the end. */
  const tenants = new Map<string, Tenant>();
  let inUse = 0;
  let waiting = 0;
  let closed: Error | undefined;

  function tenantOf(id: string): Tenant {
    const known = tenants.get(id);
    if (known !== undefined) return known;
    const made: Tenant = { running: 0, sessions: new Map(), waiting: new Map(), waitingCount: 0 };
    tenants.set(id, made);
    return made;
  }

  function isFree(tenant: Tenant, sessionId: string): boolean {
    if (inUse < places) return true;
    if (tenant.running === 0) return inUse < places + spare;
    return !tenant.sessions.has(sessionId) && tenant.running <= places && inUse < places + spare - 1;
  }

  function take(tenantId: string, tenant: Tenant, sessionId: string): () => void {
    inUse += 1;
    tenant.running += 1;
    tenant.sessions.set(sessionId, (tenant.sessions.get(sessionId) ?? 0) + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      inUse -= 1;
      tenant.running -= 1;
      const left = (tenant.sessions.get(sessionId) ?? 1) - 1;
      if (left > 0) tenant.sessions.set(sessionId, left);
      else tenant.sessions.delete(sessionId);
      forget(tenantId, tenant);
      next();
    };
  }

  function forget(tenantId: string, tenant: Tenant): void {
    if (tenant.running === 0 && tenant.waitingCount === 0 && tenants.get(tenantId) === tenant) tenants.delete(tenantId);
  }

  /** Whoever has the fewest places goes first; of several, the one whose last turn is longest ago. */
  function next(): void {
    while (waiting > 0) {
      const turn = nextTurn();
      if (turn === undefined) return;
      const { tenantId, tenant, sessionId } = turn;
      const queue = tenant.waiting.get(sessionId) ?? [];
      const first = queue.shift();
      tenant.waiting.delete(sessionId);
      if (queue.length > 0) tenant.waiting.set(sessionId, queue);
      tenant.waitingCount -= 1;
      waiting -= 1;
      tenants.delete(tenantId);
      tenants.set(tenantId, tenant);
      first?.enter();
    }
  }

  function nextTurn(): { tenantId: string; tenant: Tenant; sessionId: string } | undefined {
    let best: { tenantId: string; tenant: Tenant; sessionId: string; held: number } | undefined;
    for (const [tenantId, tenant] of tenants) {
      for (const sessionId of tenant.waiting.keys()) {
        const held = tenant.sessions.get(sessionId) ?? 0;
        const isBefore = best === undefined || tenant.running < best.tenant.running || (tenant === best.tenant && held < best.held);
        if (isBefore && isFree(tenant, sessionId)) best = { tenantId, tenant, sessionId, held };
      }
    }
    return best;
  }

  return {
    get inUse() {
      return inUse;
    },
    get waiting() {
      return waiting;
    },
    tryEnter({ tenantId, sessionId }) {
      const tenant = tenantOf(tenantId);
      if (closed === undefined && tenant.waitingCount === 0 && isFree(tenant, sessionId)) return take(tenantId, tenant, sessionId);
      forget(tenantId, tenant);
      return undefined;
    },
    async enter({ tenantId, sessionId }, signal) {
      if (closed !== undefined) throw closed;
      signal?.throwIfAborted();
      const tenant = tenantOf(tenantId);
      const queue = tenant.waiting.get(sessionId) ?? [];
      if (queue.length === 0 && isFree(tenant, sessionId)) return take(tenantId, tenant, sessionId);
      const refusal = refusalOf(options, { tenant, waiting, inUse });
      if (refusal !== undefined) {
        forget(tenantId, tenant);
        throw refusal;
      }
      return new Promise<() => void>((resolve, reject) => {
        const leaveQueue = () => {
          const at = queue.indexOf(place);
          if (at < 0) return;
          queue.splice(at, 1);
          if (queue.length === 0) tenant.waiting.delete(sessionId);
          tenant.waitingCount -= 1;
          waiting -= 1;
          forget(tenantId, tenant);
        };
        const onAbort = () => {
          leaveQueue();
          reject(signal?.reason);
        };
        const place: Waiting = {
          enter() {
            signal?.removeEventListener('abort', onAbort);
            resolve(take(tenantId, tenant, sessionId));
          },
          fail(error) {
            signal?.removeEventListener('abort', onAbort);
            leaveQueue();
            reject(error);
          },
        };
        queue.push(place);
        tenant.waiting.set(sessionId, queue);
        tenant.waitingCount += 1;
        waiting += 1;
        signal?.addEventListener('abort', onAbort, { once: true });
      });
    },
    close(error) {
      closed = error;
      for (const tenant of [...tenants.values()])
        for (const queue of [...tenant.waiting.values()]) for (const place of [...queue]) place.fail(error);
    },
  };
}

/** Why nobody else may wait; undefined while somebody may. */
function refusalOf(
  { what, maxWaiting, maxWaitingOfAll = 4 * maxWaiting, setting, retryAfterMs = 1_000 }: SharesOptions,
  { tenant, waiting, inUse }: { readonly tenant: Tenant; readonly waiting: number; readonly inUse: number },
): NexusError | undefined {
  if (tenant.waitingCount >= maxWaiting)
    return new NexusError(
      'rate_limited',
      `${tenant.waitingCount} ${what} of this tenant wait for their turn already, and no more may (${setting}); try again when some of them have ended`,
      { details: { what, limit: maxWaiting, used: tenant.waitingCount, running: tenant.running }, retryAfterMs },
    );
  if (waiting < maxWaitingOfAll) return undefined;
  return new NexusError(
    'rate_limited',
    `${waiting} ${what} of all tenants wait for their turn already, and no more may (${setting}); try again later`,
    { details: { what, limit: maxWaitingOfAll, used: waiting, running: inUse }, retryAfterMs },
  );
}

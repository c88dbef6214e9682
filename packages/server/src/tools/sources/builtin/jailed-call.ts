import { type Clock, createShares, cutText, NexusError, type Timers, type WaitObserver } from '#core';
import type { ToolContext } from '#tools/contract';
import type { Jail, JailEnd, JailLimits, JailRequest } from '#tools/sandbox';
import { coveredFiles, lookAtFiles, requireWritten } from './jail-files.ts';
import { createJailNetworks, type JailNetwork, type JailNetworkOptions, type NetworkUse, type WantedHost } from './jail-network.ts';

export interface JailedToolsOptions {
  /** Owned by the caller, who closes it. */
  readonly jail: Jail;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Timers;
  readonly limits: JailLimits;
  /** Programs at a time, see {@link createShares}. */
  readonly maxJails?: number;
  readonly spareJails?: number;
  /** Nothing waits longer for its turn. */
  readonly maxWaitMs?: number;
  readonly maxQueued?: number;
  /** Hears of the queue. */
  readonly observer?: WaitObserver;
  /** How programs reach hosts that policy allows them. */
  readonly network: JailNetworkOptions;
}

export interface JailedRequest extends Pick<JailRequest, 'argv' | 'cwd' | 'stdin'> {
  /** Hosts that it asks for, see {@link createJailNetworks}. */
  readonly network?: readonly WantedHost[];
}

export type JailedEnd = Extract<JailEnd, { type: 'exited' }> & { readonly network?: NetworkUse };

export interface JailedCalls {
  /**
   * Runs a program in the folder of the call, once it is its turn. Throws `NexusError` with the limit that was reached, or what else ended it;
   * also when a host that it asks for is refused: then nothing runs.
   */
  run(request: JailedRequest, context: ToolContext): Promise<JailedEnd>;
  readonly tier: Jail['tier'];
  /** The longest that a call may take by its limits, waiting included. */
  readonly longestMs: number;
  /** Of each process. */
  readonly memoryBytes: number;
}

/** Before a program starts and after it ended its folder is looked through. */
const aroundMs = 30_000;
const maxShown = 2_000;

/** What `shell` and `code_python` share: turns, files and progress. */
export function createJailedCalls(options: JailedToolsOptions): JailedCalls {
  const { jail, clock, timers, limits, observer } = options;
  const { maxJails: places = 4, spareJails: spare = 2, maxWaitMs = 30_000, maxQueued: maxWaiting = 1_000 } = options;
  const shares = createShares({
    ...{ clock, timers, observer, what: 'programs', places, spare, maxWaitMs, maxWaiting },
    settings: { maxWaitMs: 'sandbox.jail.maxWaitMs', maxWaiting: 'sandbox.jail.maxQueued' },
  });
  const networks = createJailNetworks(options.network, { clock, timers });
  return {
    tier: jail.tier,
    longestMs: maxWaitMs + limits.wallMs + aroundMs,
    memoryBytes: limits.memoryBytes,
    async run({ network: wanted = [], ...request }, context) {
      const refusal = await jail.refusal();
      if (refusal !== null) throw new NexusError('sandbox_unavailable', `no process can be jailed here: ${refusal}`, { retryable: false });
      const { tenantId, sessionId, runId, signal } = context;
      const grants = await networks.decide(wanted, context);
      const turn = await shares.enter({ tenantId, sessionId, runId }, signal);
      context.onWait(turn.waitedMs);
      let network: JailNetwork | null = null;
      try {
        await jail.claim(context.workspace);
        const before = await lookAtFiles(context);
        const readOnly = await coveredFiles(context, before);
        const folder = { path: context.workspace, writable: true };
        network = grants.length === 0 ? null : await networks.open(grants, signal);
        const way = network === null ? {} : { proxySocket: network.socketPath };
        const end = await jail.run({ ...request, ...way, folder, readOnly, limits, onOutput: progress(context) }, signal);
        await network?.close();
        const used = network === null ? {} : { network: network.use() };
        if (end.type === 'stopped') throw stoppedError(end, used);
        await requireWritten(context, before);
        return { ...end, ...used };
      } finally {
        try {
          await network?.close();
        } finally {
          turn.leave();
        }
      }
    },
  };
}

/** What it prints, as it prints it; characters that come in two pieces stay whole. */
function progress({ onOutput }: ToolContext): NonNullable<JailRequest['onOutput']> {
  const [ofOutput, ofErrors] = [new TextDecoder(), new TextDecoder()];
  return (stream, bytes) => onOutput((stream === 'stdout' ? ofOutput : ofErrors).decode(bytes, { stream: true }));
}

function stoppedError(
  { error, stdout, stderr }: Extract<JailEnd, { type: 'stopped' }>,
  used: { readonly network?: NetworkUse },
): NexusError {
  const printed = [stdout, stderr]
    .map(printedText)
    .filter((text) => text !== '')
    .join('\n');
  const said = printed === '' ? '' : `\nprinted before: ${cutText(printed, maxShown)}`;
  return new NexusError(error.code, `${error.message}; the files are as they were${said}`, {
    ...(error.retryable === undefined ? {} : { retryable: error.retryable }),
    ...(error.details === undefined && used.network === undefined ? {} : { details: { ...error.details, ...used } }),
  });
}

export function printedText(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

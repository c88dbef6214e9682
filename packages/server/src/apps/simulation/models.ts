import { type AssistantPart, noUsage, type Usage } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import type { ModelPrice, Provider } from '#llm';
import type { Chance } from './chance.ts';
import { turnOf } from './script.ts';
import type { Witness } from './witness.ts';
import type { Owner, World } from './world.ts';

/** How often model servers do what they should not. */
export interface ModelWeather {
  readonly refuse: number;
  readonly cut: number;
  readonly stall: number;
  readonly wrongAccount: number;
  readonly ignoreLimit: number;
  /** It gets to the request late, perhaps after whoever sent it has given up, and does all of it then. */
  readonly late: number;
}

/** What a model server would put on its bill. */
export interface BilledCall {
  readonly idempotencyKey: string;
  readonly inputTokens: number;
  outputTokens: number;
  readonly honest: boolean;
  readonly ignoredLimit: boolean;
}

export interface ModelServers {
  /** The client of one node. */
  connect(owner: Owner): Provider;
  /** In the order of the calls. */
  readonly billed: readonly BilledCall[];
}

const price: ModelPrice = {
  inputMicroUsdPerMillion: 1_000_000,
  outputMicroUsdPerMillion: 4_000_000,
  cacheReadMicroUsdPerMillion: 100_000,
  cacheWriteMicroUsdPerMillion: 1_000_000,
};

const charsPerToken = 4;
const tokensPerDelta = 6;
const lateMs = 45_000;

/** Servers of a model that follows scripts, and their misbehaviour. What they write costs, whether or not anybody reads it. */
export function createModelServers(world: World, weather: ModelWeather, chance: Chance, witness: () => Witness): ModelServers {
  const billed: BilledCall[] = [];

  function connect(owner: Owner): Provider {
    return {
      name: 'sim',
      simulator: true,
      catalogue: null,
      fixedPrice: () => price,
      claims: () => true,
      lists: async () => true,
      unlistedPrice: null,
      serves: () => true,
      defaultModel: async () => 'm',
      models: async () => ['m'],
      trouble: () => null,
      thinksUnseen: () => false,
      mayCut: false,
      limits: () => ({ contextTokens: 200_000, maxOutputTokens: 4_000, templateTokens: 8 }),
      countInput: async () => null,
      close: async () => undefined,
      open({ request, maxOutputTokens, timeoutMs }, events) {
        world.hold(() => witness().asked(request));
        const { script, index, turn } = turnOf(request);
        const inputTokens = Math.ceil(JSON.stringify([request.system, request.messages, request.tools]).length / 6);
        const fate = chance.weighted({ ...weather, answer: 1 });
        const call: BilledCall = {
          ...{ idempotencyKey: request.idempotencyKey, inputTokens, outputTokens: 0 },
          ...{ honest: fate !== 'wrongAccount', ignoredLimit: fate === 'ignoreLimit' },
        };
        const wanted = fate === 'ignoreLimit' ? maxOutputTokens + 40 : Math.min(turn.say, maxOutputTokens);
        const cutAt = fate === 'cut' || fate === 'stall' ? chance.int(0, wanted) : wanted;
        const deltaMs = 5 + chance.next() * 40;
        const text = wordsOf(script, index, wanted);
        let isOpen = true;
        let waits = false;
        let paused = false;
        let received = 0;
        let unread = 0;
        let usage: Usage | null = null;
        let final = false;

        const end = (tell: () => void) => {
          if (!isOpen) return;
          isOpen = false;
          cancelLimit();
          tell();
        };
        const cancelLimit = world.after(timeoutMs, owner, () =>
          end(() => events.failed(new NexusError('provider_timeout', 'the model did not answer in time'))),
        );
        // The server writes whether or not anybody reads, until it notices that nobody does.
        const next = () => {
          if ((!isOpen || owner.gone) && ++unread > 2) return;
          if (paused) {
            waits = true;
            return;
          }
          if (call.outputTokens >= cutAt) return void world.after(1, owner, finish);
          const upTo = Math.min(cutAt, call.outputTokens + tokensPerDelta);
          const piece = text.slice(call.outputTokens * charsPerToken, upTo * charsPerToken);
          call.outputTokens = upTo;
          world.after(1, owner, () => {
            if (!isOpen) return;
            received += piece.length;
            events.delta('text', piece);
            events.progress?.(Math.ceil(received / 2));
          });
          world.after(deltaMs, null, next);
        };
        const finish = () => {
          if (!isOpen || fate === 'stall') return;
          final = true;
          if (fate === 'cut') return end(() => events.failed(new NexusError('provider_stream_cut', 'the answer was cut off')));
          usage =
            fate === 'wrongAccount'
              ? wrongly(inputTokens, call.outputTokens)
              : { ...noUsage, inputTokens, outputTokens: call.outputTokens };
          const isWhole = fate !== 'ignoreLimit' && turn.say <= maxOutputTokens;
          const calls = isWhole ? turn.calls : [];
          const content: AssistantPart[] = [
            ...(received === 0 ? [] : [{ type: 'text' as const, text: text.slice(0, received) }]),
            ...calls.map(({ name, input }, at) => ({ type: 'tool_call' as const, providerCallId: `c${index}_${at}`, name, input })),
          ];
          const finishReason = calls.length > 0 ? 'tool_calls' : isWhole ? 'stop' : 'length';
          end(() => events.done({ content, finishReason, ...(fate === 'ignoreLimit' ? { overran: true } : {}) }));
        };
        const wrongly = (input: number, output: number): Usage => {
          const factor = chance.pick([0, 0.1, 3]);
          return { ...noUsage, inputTokens: Math.floor(input * factor), outputTokens: Math.floor(output * factor) };
        };

        const serve = () => {
          if (!isOpen && fate !== 'late') return;
          if (fate === 'refuse') {
            const retryAfterMs = chance.pick([100, 1_000]);
            const details = { status: 429 };
            return end(() => events.failed(new NexusError('provider_rate_limited', 'too many requests', { retryAfterMs, details })));
          }
          billed.push(call);
          // Nobody hears of it, and it is on the bill.
          if (fate === 'late' && (!isOpen || owner.gone)) call.outputTokens = wanted;
          else next();
        };
        world.after(20 + chance.next() * (fate === 'late' ? lateMs : 200), fate === 'late' ? null : owner, serve);
        return {
          pause() {
            paused = true;
          },
          resume() {
            paused = false;
            if (!waits) return;
            waits = false;
            world.after(0, null, next);
          },
          abort: () => end(() => undefined),
          progress: () => ({
            sent: true,
            usage,
            accounted: usage !== null,
            final,
            begun: received > 0,
            streamedTokens: Math.ceil(received / 2),
            receivedTokens: Math.ceil(received / 8),
          }),
        };
      },
    };
  }
  return { connect, billed };
}

/** The words of a turn, `tokens` of four characters each. */
function wordsOf(script: string, index: number, tokens: number): string {
  const words = `${script}.${index} `;
  return words.repeat(Math.ceil((tokens * charsPerToken) / words.length)).slice(0, tokens * charsPerToken);
}

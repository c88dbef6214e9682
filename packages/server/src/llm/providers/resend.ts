import type { ErrorCode } from '@nexus-agent/protocol';
import { type Clock, createCountedCache, type NexusError } from '#core';
import type { Provider } from '#llm/attempt';
import { type FeatureRefusal, type Omissions, refusedFeature } from '#llm/dialects';

/**
 * The provider, which sends a call again, within the same attempt, without what the server has just refused. A refusal by its
 * status used nothing. A server that fails over it may bill what it did: that attempt ends, and the next one does without. What was
 * taken without it is remembered for the model and the tenant as long as the process lives.
 */
export function resendWithoutRefused(
  provider: Provider,
  { refusals, omissions, clock }: { readonly refusals: readonly FeatureRefusal[]; readonly omissions: Omissions; readonly clock: Clock },
): Provider {
  /** By tenant and model: what the next call does without, since the server failed over it. */
  const suspected = createCountedCache<string, readonly FeatureRefusal[]>(mostSuspected);
  return {
    ...provider,
    countInput: (call, signal) => omissions.trying(omissions.learned(call), () => provider.countInput(call, signal)),
    open(call, events) {
      const deadline = clock.monotonic() + call.timeoutMs;
      const asked = `${call.tenantId ?? ''} ${call.model}`;
      const tried = [...(suspected.get(asked) ?? [])];
      suspected.delete(asked);
      let aborted = false;

      function remember(): void {
        const lasting = tried.splice(0).filter(({ once }) => once !== true);
        if (lasting.length > 0) {
          omissions.remember(
            call,
            lasting.map(({ feature }) => feature),
          );
        }
      }

      function send(timeoutMs: number) {
        const features = tried.map(({ feature }) => feature);
        // Another body under the same key would be a mistake to whoever keeps account of keys.
        const idempotencyKey = [call.request.idempotencyKey, ...features].join('-');
        return omissions.trying([...omissions.learned(call), ...features], () =>
          provider.open(
            { ...call, request: { ...call.request, idempotencyKey }, timeoutMs },
            {
              delta(kind, text) {
                remember();
                events.delta(kind, text);
              },
              ...(events.progress === undefined ? {} : { progress: events.progress }),
              done(answer) {
                remember();
                events.done(answer);
              },
              failed(error) {
                const omitted = new Set([...omissions.of(call.model), ...omissions.learned(call), ...features]);
                const remainingMs = deadline - clock.monotonic();
                const found =
                  refusing.has(error.code) && remainingMs > 0 && !aborted
                    ? refusedFeature(refusals, wordsOf(error), call.request, omitted)
                    : undefined;
                if (found === undefined) return events.failed(error);
                tried.push(found);
                if (mayBill(error)) {
                  suspected.set(asked, [...tried]);
                  return events.failed(error);
                }
                stream = send(remainingMs);
              },
            },
          ),
        );
      }

      let stream = send(call.timeoutMs);
      return {
        pause: () => stream.pause(),
        resume: () => stream.resume(),
        abort() {
          aborted = true;
          stream.abort();
        },
        progress: () => stream.progress(),
      };
    },
  };
}

const mostSuspected = 1_000;

/** Some servers fail over what they do not take. */
const refusing: ReadonlySet<ErrorCode> = new Set(['provider_rejected', 'provider_unavailable']);

/** Above 499 a status is no refusal: the server, or one behind it, may have begun to work. */
function mayBill({ details }: NexusError): boolean {
  return typeof details?.status === 'number' && details.status >= 500;
}

function wordsOf({ message, details }: NexusError) {
  return { status: details?.status, words: `${message} ${String(details?.field ?? '')}` };
}

import type { AdminAction, SystemPart } from '@nexus-agent/protocol';
import { type CallEngine, denialMessage, recordDecision } from '#calls';
import { NexusError } from '#core';
import type { Principal } from '#identity';

/** Who may administer what. */
export interface Administration {
  /**
   * Asks policy whether the principal may do something to a part of the system, with these arguments. What is permitted is recorded
   * before it is done, but for reading; every refusal is recorded. Throws `policy_denied`, and what the store throws when it cannot be
   * recorded: then nothing is done.
   */
  ask(
    principal: Principal,
    question: { readonly action: AdminAction; readonly part: SystemPart },
    input: Readonly<Record<string, unknown>>,
  ): Promise<void>;
}

export function createAdministration({
  engine,
}: {
  readonly engine: Pick<CallEngine, 'store' | 'policy' | 'ids' | 'metrics' | 'clock'>;
}): Administration {
  return {
    async ask(principal, { action, part }, input) {
      const { record, row } = recordDecision(
        engine,
        { runId: null, callId: null },
        {
          principal: { type: 'User', id: principal.id, tenant: principal.tenantId, roles: principal.roles },
          action,
          resource: { type: 'System', id: part },
          context: { arguments: input },
        },
      );
      const isAllowed = record.effect === 'allow';
      // Metrics are read every few seconds.
      if (!isAllowed || action !== 'admin.read') await engine.store.commit({ tenantId: principal.tenantId, decisions: [row] });
      if (isAllowed) return;
      throw new NexusError('policy_denied', denialMessage(record), { details: { decisionId: record.id, reasons: record.reasons } });
    },
  };
}

import { NexusError } from '#core';
import type { ArtifactRow } from '#storage';
import { type ArtifactOfCall, artifactReader, type ToolDescriptor } from '#tools';
import type { ChargeContext } from './charge.ts';

/** What is to be committed of a result that is kept. */
export function artifactRow(
  { tenantId, sessionId, runId }: Pick<ChargeContext, 'tenantId' | 'sessionId' | 'runId'>,
  { callId, tool }: Pick<ArtifactRow, 'callId' | 'tool'>,
  { cut: _cut, ...kept }: ArtifactOfCall,
): ArtifactRow {
  return { tenantId, sessionId, runId, callId, tool, ...kept, createdAt: 0 }; // the commit says when
}

export function readsArtifacts(tools: readonly Pick<ToolDescriptor, 'name'>[]): boolean {
  return tools.some(({ name }) => name === artifactReader);
}

/** No room for it, a content that was removed before it was named, and a session that is gone. */
const refusals: ReadonlySet<string> = new Set(['quota_exceeded', 'storage_unavailable', 'not_found']);

/** The artifact that a commit refused, and would refuse again; null where the error is of something else. */
export function refusedArtifact(error: unknown): string | null {
  if (!(error instanceof NexusError) || !refusals.has(error.code) || error.details?.what !== 'artifact') return null;
  const { artifactId } = error.details;
  return typeof artifactId === 'string' ? artifactId : null;
}

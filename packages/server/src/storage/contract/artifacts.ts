import type { RunId, SessionId, TenantId } from '@nexus-agent/protocol';
import type { PageOf, PageRequest } from './pages.ts';

/** A result of a tool that was too large for a prompt. What it holds is the content of this hash, in UTF-8. */
export interface ArtifactRow {
  readonly tenantId: TenantId;
  readonly artifactId: string;
  readonly sessionId: SessionId;
  /** Null for a call outside a run. */
  readonly runId: RunId | null;
  readonly callId: string;
  readonly tool: string;
  readonly mediaType: string;
  readonly bytes: number;
  /** In units of UTF-16, as limits of results count them. */
  readonly characters: number;
  readonly lines: number;
  /** False where the result was longer than what may be kept of one. */
  readonly whole: boolean;
  /** SHA-256 in hex. */
  readonly sha256: string;
  readonly createdAt: number;
}

/** Results that are kept. They come with commits and go with their sessions; what they hold lies in a {@link BlobStore}. */
export interface ArtifactStore {
  getArtifact(tenantId: TenantId, artifactId: string): Promise<ArtifactRow | null>;
  /** The newest first. */
  listArtifacts(
    tenantId: TenantId,
    filter: { readonly sessionId?: string | undefined; readonly runId?: string | undefined },
    page: PageRequest,
  ): Promise<PageOf<ArtifactRow>>;
}

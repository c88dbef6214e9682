import type { ErrorInfo } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import type { ToolContext } from './tool.ts';

/** Asks about each file that a call reads, as long as some policy speaks of files. */
export interface TouchedFiles {
  /** Null when it may be read, else why not. The path is a plain one. */
  refusal(path: string): Promise<ErrorInfo | null>;
  /** Throws `policy_denied`, or what kept policy from being asked. */
  require(path: string): Promise<void>;
}

export function readingFiles(context: Pick<ToolContext, 'authorize'>): TouchedFiles {
  let always = false;
  async function refusal(path: string): Promise<ErrorInfo | null> {
    if (always) return null;
    const verdict = await context.authorize({ action: 'file.read', resource: path });
    if (!verdict.allowed) return verdict.error;
    always = verdict.always === true;
    return null;
  }
  return {
    refusal,
    async require(path) {
      const error = await refusal(path);
      if (error !== null) throw refusedFile(path, error);
    },
  };
}

export function refusedFile(path: string, { code, message, details }: ErrorInfo): NexusError {
  return new NexusError(code, `${JSON.stringify(path.slice(0, 200))}: ${message}`, details === undefined ? {} : { details });
}

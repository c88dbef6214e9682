import type { ErrorInfo } from '@nexus-agent/protocol';
import type { ToolDescriptor } from './descriptor.ts';
import type { CallFiles } from './files.ts';
import type { AuthorizationRequest, AuthorizationVerdict, Suspension, ToolCall } from './service.ts';

/** What a tool knows of the call that it serves. */
export interface ToolContext extends Omit<ToolCall, 'toolName' | 'toolVersion' | 'input' | 'timeoutMs' | 'filesOf' | 'readsArtifacts'> {
  /**
   * Folder of the session's files, which the file tools never leave; '' for a tool that declares no `fs.*` or `code.*` permission.
   * What a tool with `fs.write` leaves in it is committed with the result, and undone when the call fails.
   */
  readonly workspace: string;
  /** The other way to write files, for a tool with `fs.write`. */
  readonly files: CallFiles;
  /** Fires when the tool must stop, and when the call is over. */
  readonly signal: AbortSignal;
  /** To be asked before the tool touches something outside its own arguments. The answer was decided by policy and recorded. */
  readonly authorize: (request: AuthorizationRequest) => Promise<AuthorizationVerdict>;
  /** Progress for people who watch; bounded, not kept. */
  readonly onOutput: (text: string) => void;
  /** So many of its ms the call waited for something that others have, such as a thread: they are told beside its duration. */
  readonly onWait: (ms: number) => void;
}

/** What a tool gives. `output` is what the model reads; a value other than text is sent as JSON. */
export type ToolResult =
  /** `costMicroUsd`: what the call cost beyond itself; left out, the most that the tool may cost is booked. */
  | { readonly type: 'ok'; readonly output: unknown; readonly costMicroUsd?: number }
  /** Of a tool that calls others. What it has read of files is done with; it has written none. */
  | ({ readonly type: 'suspended' } & Suspension)
  /** A failure that the model can act on: `error.message` says what was wrong and what would be right. */
  | { readonly type: 'error'; readonly error: ErrorInfo };

/** A tool as its author writes it, in the process that runs it. */
export interface Tool extends Omit<ToolDescriptor, 'version'> {
  /**
   * It changes nothing in its folder but by `files`, so that calls of it may use the folder at the same time. Without it a call has
   * the folder to itself, and what it did there is looked for.
   */
  readonly sharesFolder?: true;
  /** It reads artifacts: it needs no folder, and of its own results nothing is kept beside what the model reads. */
  readonly ofArtifacts?: true;
  execute(input: Record<string, unknown>, context: ToolContext): Promise<ToolResult>;
}

/** Where tools come from. */
export interface ToolSource {
  /**
   * The tools of a tenant, always in the same order; the same list until something changes. Descriptions, schemas and limits
   * of a tool object never change.
   */
  tools(tenantId: string): Promise<readonly Tool[]>;
}

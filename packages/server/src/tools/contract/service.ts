import type { ErrorInfo } from '@nexus-agent/protocol';
import type { ArtifactOfCall } from './artifacts.ts';
import type { ToolDescriptor } from './descriptor.ts';
import type { FilesOfCall } from './files.ts';

/** One call of a tool. Plain data. */
export interface ToolCall {
  readonly tenantId: string;
  readonly sessionId: string;
  /** Whose files it works on; the session's own when left out. */
  readonly filesOf?: string;
  readonly runId: string;
  readonly callId: string;
  readonly attempt: number;
  /** The same for every attempt of this call: tools pass it on to systems that support it. */
  readonly idempotencyKey: string;
  readonly toolName: string;
  /** The version that the caller knows; when the tool has another one by now, the call fails with `conflict`. */
  readonly toolVersion?: string;
  readonly input: unknown;
  readonly timeoutMs: number;
  readonly traceparent?: string;
  /** For a tool that calls others, or asks: the names of those that it may call, and for how long it may have to wait for them. */
  readonly calling?: { readonly offered: readonly string[]; readonly waitMs: number };
  /** Whether whoever reads the result can read artifacts, so that it is told how. */
  readonly readsArtifacts?: boolean;
  /** For one that was suspended: where it goes on. */
  readonly resume?: ResumedCall;
  /** This attempt began in another process, by a tool that is `rejoinable`: what became of it is waited for, and nothing is done twice. */
  readonly rejoins?: true;
}

/** Where a call waits for others that it wants made: nothing else is left of it, and any process can go on with it. Plain data. */
export interface Suspension {
  /** The content that it goes on from. */
  readonly state: { readonly sha256: string; readonly bytes: number };
  /** All that it waits for; at least one. */
  readonly calls: readonly CallWanted[];
  /** What it has computed so far, in the unit of its sandbox. */
  readonly fuelUsed: number;
  /** What it printed since it was suspended before. */
  readonly printed: string;
}

export interface CallWanted {
  /** Numbered from 1 over the whole call. */
  readonly id: number;
  readonly name: string;
  /** JSON. */
  readonly input: string;
}

export interface ResumedCall {
  readonly state: Suspension['state'];
  /** Of all calls that it waited for, in the order in which they ended. */
  readonly results: readonly { readonly id: number; readonly isError: boolean; readonly output: string }[];
}

/** Something that a tool is about to touch: a host, a secret, or a file of the session, which no argument need name. */
export interface AuthorizationRequest {
  readonly action: 'net.egress' | 'secret.use' | 'file.read' | 'file.write';
  readonly resource: string;
  readonly context?: Readonly<Record<string, unknown>>;
}

/** What a call says. Plain data. */
export type ToolPart =
  /** Progress for people who watch; bounded, not kept. */
  | { readonly type: 'output'; readonly text: string }
  /** The tool waits until {@link ToolService.authorize} answers, or the call ends. */
  | ({ readonly type: 'authorization.wanted'; readonly authorizationId: string } & AuthorizationRequest)
  | ToolCallEnd;

/** How a call ended, or this attempt of it: the last part, and the only one of its kind. */
export type ToolCallEnd =
  /** It goes on, as another attempt with `resume`, once the calls that it wants have results. */
  | ({ readonly type: 'suspended'; readonly durationMs: number; readonly waitedMs?: number } & Suspension)
  /** `output` is what the model reads. `files`, of a tool that has to do with files, and `artifact`, of a result that was too long, are to be committed with it. */
  | {
      readonly type: 'completed';
      readonly output: string;
      readonly costMicroUsd: number;
      readonly durationMs: number;
      /** How much of that it waited for its turn; left out when it did not. */
      readonly waitedMs?: number;
      readonly files?: FilesOfCall;
      readonly artifact?: ArtifactOfCall;
    }
  /** `error.message` says what was wrong and what would be right. `began`: the tool was called, so that it may have cost and done something. */
  | {
      readonly type: 'failed';
      readonly error: ErrorInfo;
      readonly began: boolean;
      readonly durationMs: number;
      readonly waitedMs?: number;
    };

/** `always`: no policy says anything about such files, so that this call need not ask again for this action. */
export type AuthorizationVerdict =
  | { readonly allowed: true; readonly always?: boolean }
  | { readonly allowed: false; readonly error: ErrorInfo };

export type AuthorizationAnswer = AuthorizationVerdict & {
  readonly callId: string;
  readonly attempt: number;
  readonly authorizationId: string;
};

/** The agent core as its callers see it, wherever it runs: messages go in, promises and parts come out. */
export interface ToolService {
  /** The tools of a tenant, always in the same order. Rejects with `config_invalid` when two of them have one name. */
  list(tenantId: string): Promise<readonly ToolDescriptor[]>;
  /**
   * Runs one call, for one reader: any number of `output` and `authorization.wanted`, then exactly one `completed`, `failed` or
   * `suspended`. Begins with the first read and never throws. The arguments are checked, also when the caller did so.
   *
   * Aborting the signal or leaving the iteration cancels the call, as `timeoutMs` ends it: the tool is told to stop, and
   * one that does not within a short grace is given up and what it does later is dropped. An answer within the grace
   * counts. Where a tool with `effects: once` gives none, the error is `tool_outcome_unknown`, because it may have taken
   * effect. Leaving waits for the end of the call.
   */
  execute(call: ToolCall, options: { readonly signal: AbortSignal }): AsyncIterable<ToolPart>;
  /** Answers an `authorization.wanted`. An answer to what nobody waits for, or for another call, is ignored. */
  authorize(answer: AuthorizationAnswer): Promise<void>;
  /** Cancels what runs and resolves when it has ended. Calls that come later fail with `unavailable`. */
  close(): Promise<void>;
}

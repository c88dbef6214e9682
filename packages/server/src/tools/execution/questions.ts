import { NexusError } from '#core';
import {
  type AuthorizationAnswer,
  type AuthorizationRequest,
  type AuthorizationVerdict,
  type CallFiles,
  refusedFile,
  type ToolCall,
  type ToolPart,
} from '#tools/contract';

export const callIsOver = new NexusError('cancelled', 'the call is over');
const refusedAfterEnd: AuthorizationVerdict = { allowed: false, error: callIsOver.toInfo() };

export interface QuestionsEnvironment {
  /** Who waits for an answer, by the id of the question. */
  readonly asking: Map<string, CallQuestions>;
  readonly nextAuthorizationId: () => string;
}

/** What the tool of one call asks whether it may touch, until each is answered or the call is told to stop. */
export class CallQuestions {
  readonly #environment: QuestionsEnvironment;
  readonly #call: ToolCall;
  readonly #signal: AbortSignal;
  readonly #push: (part: ToolPart) => void;
  #wanted: Map<string, (verdict: AuthorizationVerdict) => void> | undefined;

  constructor(environment: QuestionsEnvironment, call: ToolCall, signal: AbortSignal, push: (part: ToolPart) => void) {
    this.#environment = environment;
    this.#call = call;
    this.#signal = signal;
    this.#push = push;
  }

  async ask({ action, resource, context }: AuthorizationRequest): Promise<AuthorizationVerdict> {
    if (this.#signal.aborted) return refusedAfterEnd;
    const authorizationId = this.#environment.nextAuthorizationId();
    this.#environment.asking.set(authorizationId, this);
    this.#wanted ??= new Map();
    const wanted = this.#wanted;
    return new Promise((resolve) => {
      wanted.set(authorizationId, resolve);
      this.#push({ type: 'authorization.wanted', authorizationId, action, resource, ...(context === undefined ? {} : { context }) });
    });
  }

  answer(answer: AuthorizationAnswer): void {
    const { callId, attempt } = this.#call;
    if (answer.callId !== callId || answer.attempt !== attempt) return;
    this.#settle(answer.authorizationId, answer);
  }

  /** The call was told to stop: it may touch nothing more. */
  refuseAll(): void {
    if (this.#wanted !== undefined) for (const id of [...this.#wanted.keys()]) this.#settle(id, refusedAfterEnd);
  }

  #settle(authorizationId: string, verdict: AuthorizationVerdict): void {
    const resolve = this.#wanted?.get(authorizationId);
    if (resolve === undefined) return;
    this.#wanted?.delete(authorizationId);
    this.#environment.asking.delete(authorizationId);
    // What came over a wire may be anything: only a plain yes lets the tool go on.
    if (verdict.allowed !== true) resolve({ allowed: false, error: verdict.error });
    else resolve(verdict.always === true ? { allowed: true, always: true } : { allowed: true });
  }
}

const refuseFiles = async (): Promise<never> => {
  throw new NexusError('path_not_allowed', 'a tool that does not declare fs.write changes no files');
};
const noFiles: CallFiles = { write: refuseFiles, remove: refuseFiles, move: refuseFiles };

/** What is changed is asked about, whatever argument names it. */
export function askedFiles(files: CallFiles | undefined, ask: (request: AuthorizationRequest) => Promise<AuthorizationVerdict>): CallFiles {
  if (files === undefined) return noFiles;
  const require = async (action: 'file.read' | 'file.write', path: string) => {
    const verdict = await ask({ action, resource: path });
    if (!verdict.allowed) throw refusedFile(path, verdict.error);
  };
  return {
    write: async (path, ...rest) => {
      await require('file.write', path);
      return files.write(path, ...rest);
    },
    remove: async (path, signal) => {
      await require('file.write', path);
      return files.remove(path, signal);
    },
    move: async (from, to, options) => {
      // Under its new name the content may be read by whoever may not read it under this one.
      await require('file.read', from);
      await require('file.write', from);
      await require('file.write', to);
      return files.move(from, to, options);
    },
  };
}

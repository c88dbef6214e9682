import { errno, type GuestMemory, unsigned } from './guest-memory.ts';
import type { HostAnswer, HostQuestion, WasmGrants } from './messages.ts';
import { guarded } from './wasi.ts';
import type { WasiFunction, WasiStreams } from './wasi-files.ts';

export interface NexusCallsOptions {
  readonly grants: WasmGrants;
  readonly input: Uint8Array;
  readonly streams: WasiStreams;
  readonly log: (text: string) => void;
  readonly ask: (question: HostQuestion) => HostAnswer;
}

const maxLogBytes = 4_096;
const maxRequestBytes = 64 * 1024;

/** Host functions of our own, as they are granted. A number below zero says that it failed. */
export function createNexusCalls(memory: GuestMemory, options: NexusCallsOptions): Record<string, WasiFunction> {
  const { grants, input, streams, log, ask } = options;
  let response: Uint8Array = new Uint8Array();
  const copy = (from: Uint8Array, pointer: number, length: number) => {
    const part = from.subarray(0, unsigned(length));
    memory.bytes(pointer, part.length).set(part);
    return part.length;
  };
  const calls: Record<string, WasiFunction> = {
    input_size: () => input.length,
    input_read: (pointer: number, length: number) => copy(input, pointer, length),
    output_write(pointer: number, length: number) {
      streams.write(1, memory.bytes(pointer, length));
      return errno.ok;
    },
    log(pointer: number, length: number) {
      log(new TextDecoder().decode(memory.bytes(pointer, Math.min(unsigned(length), maxLogBytes))));
      return errno.ok;
    },
  };
  if (grants.http) {
    // Gives the size of the answer, which is JSON: `{ ok: true, text }` or `{ ok: false, error: { code, message } }`.
    calls.http_fetch = (pointer: number, length: number) => {
      if (unsigned(length) > maxRequestBytes) return -errno.inval;
      const answer = ask({ kind: 'fetch', request: new TextDecoder().decode(memory.bytes(pointer, length)) });
      const told =
        answer.type === 'text'
          ? { ok: true, text: answer.text }
          : { ok: false, error: answer.type === 'refused' ? { code: answer.error.code, message: answer.error.message } : null };
      response = new TextEncoder().encode(JSON.stringify(told));
      return response.length;
    };
    calls.response_read = (pointer: number, length: number) => copy(response, pointer, length);
  }
  return Object.fromEntries(Object.entries(calls).map(([name, call]) => [name, guarded(call, -errno.fault)]));
}

/** What would grant a function that is there, for whoever wrote the module. */
export function grantFor(name: string): string | null {
  return name === 'http_fetch' || name === 'response_read' ? 'net.egress' : null;
}

import type { EffectsClass } from '@nexus-agent/protocol';
import { canonicalJson, type JsonSchema, sha256 } from '#core';

/**
 * What a tool runs in: `host`, this process with our own code; `T0`, an interpreter in WebAssembly; `T1`, a WebAssembly module; `T2`, a
 * jailed process; `T3`, one with a kernel of its own; `remote`, somebody else's process or server; `person`, nobody's.
 */
export type ToolTier = 'host' | 'T0' | 'T1' | 'T2' | 'T3' | 'remote' | 'person';

/** What is known of a tool without running it. Plain data. */
export interface ToolDescriptor {
  /** 1 to 64 of the characters `A-Z a-z 0-9 _ . -`. */
  readonly name: string;
  /** A hash of everything else here: another version is another description, schema or limit under the same name. */
  readonly version: string;
  readonly description: string;
  /** JSON Schema (2020-12) of the arguments, an object. */
  readonly inputSchema: JsonSchema;
  readonly outputSchema?: JsonSchema;
  readonly effects: EffectsClass;
  /** What it needs to touch, for people and policies: `fs.read`, `fs.write`, `net.egress`, `code.run`, `process.run`, `human`. */
  readonly permissions: readonly string[];
  readonly timeoutMs: number;
  /** Whose it is: `built-in`, `program` for one of the program around the server, else a kind and a name such as `mcp:github`. `program` when left out. */
  readonly source?: string;
  /** Of a tool of an MCP server: what its server is, by which an agent that declares it knows it. */
  readonly serverMark?: string;
  /** Where it runs; `host` when left out. */
  readonly tier?: ToolTier;
  /** Upper bound of what one call costs beyond the call itself; reserved before, settled with the result's cost. */
  readonly maxCostMicroUsd?: number;
  /** It may call the other tools that its agent is offered; never one that does so, too. */
  readonly callsTools?: true;
  /**
   * Its calls go on outside of the processes that ask for them, and are found there by their idempotency key: one whose process was lost is
   * waited for again ({@link ToolCall.rejoins}), whatever its effects.
   */
  readonly rejoinable?: true;
  /**
   * What it may have done in the midst of a call, whatever else its agent is offered: `ask_human`, a person is asked in the words of the
   * tool, and `agent_<name>`, an agent answers that the calling one may call. It ends `suspended` then.
   */
  readonly asks?: readonly string[];
  /**
   * What the engine of runs does in place of executing the tool: `question`, a person is asked; `timer`, the run sleeps; `client`, whoever
   * started the run is to post the result.
   */
  readonly kind?: 'question' | 'timer' | 'client';
}

/** The tool by which people are asked. */
export const askHuman = 'ask_human';

/** Adds the version to everything else. */
export function describeTool(content: Omit<ToolDescriptor, 'version'>): ToolDescriptor {
  return { ...content, version: sha256(canonicalJson(content)) };
}

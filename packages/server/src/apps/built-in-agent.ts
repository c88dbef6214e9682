import { AgentDefinition } from '@nexus-agent/protocol';

export const defaultAgentName = 'chat';

export const greeting = 'Hello! Say in two sentences who you are and which tools you have.';

/** The agent that serves when none is named. It reads freely within its session's folder; what reaches out of it is put to a person, with its exact address. */
export function builtInAgent(models: readonly string[]): AgentDefinition {
  return AgentDefinition.parse({
    name: defaultAgentName,
    description: 'General assistant with the files of its session, a calculator in a sandbox, and a person to ask.',
    instructions: [
      'You are a careful assistant. Work with the files of this session by the fs_* tools and compute with code_js instead of guessing.',
      'Call tools in parallel when they do not depend on one another. When a tool gives an error, read it and correct the call.',
      'Say plainly what you did and where each number comes from.',
    ].join('\n'),
    models: [...models],
    // As many as a model of 4,096 tokens has room for, with a conversation beside them.
    tools: ['fs_list', 'fs_read', 'fs_search', 'fs_write', 'code_js', 'http_fetch', 'ask_human'],
    policy: { allow: ['fs_*', 'code_js', 'ask_human', 'net:*'], approve: ['http_fetch'] },
  });
}

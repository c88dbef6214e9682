import { dictionary } from '@nexus-agent/protocol';

/** What a new plugin begins with, by its language. */
interface Template {
  readonly file: string;
  readonly source: string;
  readonly build: readonly string[];
}

export const languages = ['c', 'rust', 'tinygo', 'node'] as const;
type Language = (typeof languages)[number];

export function isLanguage(text: string): text is Language {
  return (languages as readonly string[]).includes(text);
}

const templates: Readonly<Record<Exclude<Language, 'node'>, Template>> = dictionary({
  c: {
    file: 'plugin.c',
    build: ['clang', '--target=wasm32-wasi', '-Oz', '-Wl,--strip-all', '-o', 'plugin.wasm', 'plugin.c'],
    source: `#include <stdio.h>

/* Reads the arguments as JSON from its input and prints the result as JSON. What it prints to stderr is told when it fails. */
int main(void) {
  static char input[1 << 16];
  size_t length = fread(input, 1, sizeof input, stdin);
  printf("{\\"received\\":%zu}", length);
  return 0;
}
`,
  },
  rust: {
    file: 'plugin.rs',
    build: ['rustc', '--target', 'wasm32-wasip1', '-C', 'opt-level=z', '-C', 'strip=symbols', '-o', 'plugin.wasm', 'plugin.rs'],
    source: `use std::io::Read;

/// Reads the arguments as JSON from its input and prints the result as JSON. What it prints to stderr is told when it fails.
fn main() {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).expect("the input is text");
    print!("{{\\"received\\":{}}}", input.len());
}
`,
  },
  tinygo: {
    file: 'plugin.go',
    build: ['tinygo', 'build', '-target=wasip1', '-scheduler=none', '-no-debug', '-o', 'plugin.wasm', 'plugin.go'],
    source: `package main

import (
	"fmt"
	"io"
	"os"
)

// Reads the arguments as JSON from its input and prints the result as JSON. What it prints to stderr is told when it fails.
func main() {
	input, _ := io.ReadAll(os.Stdin)
	fmt.Printf("{\\"received\\":%d}", len(input))
}
`,
  },
});

/** A program: an MCP server in one file that needs nothing but Node. */
const program = {
  file: 'server.js',
  source: `'use strict';

/* An MCP server over its standard input and output, a message on each line. It runs in a jail: no network, no files but its own. */
const tools = [
  {
    name: 'TOOL',
    description: 'Says how long its arguments are',
    inputSchema: { type: 'object', properties: { text: { type: 'string' } } },
    run: ({ text = '' }) => ({ received: text.length }),
  },
];

const say = (message) => process.stdout.write(\`\${JSON.stringify({ jsonrpc: '2.0', ...message })}\\n\`);

function answer({ method, params = {} }) {
  switch (method) {
    case 'initialize':
      return {
        result: { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'NAME', version: '0.1.0' } },
      };
    case 'ping':
      return { result: {} };
    case 'tools/list':
      return { result: { tools: tools.map(({ run, ...tool }) => tool) } };
    case 'tools/call': {
      const tool = tools.find(({ name }) => name === params.name);
      if (tool === undefined) return { error: { code: -32602, message: 'there is no such tool' } };
      try {
        return { result: { content: [{ type: 'text', text: JSON.stringify(tool.run(params.arguments ?? {})) }] } };
      } catch (error) {
        return { result: { isError: true, content: [{ type: 'text', text: String(error.message) }] } };
      }
    }
    default:
      return { error: { code: -32601, message: 'no such method' } };
  }
}

require('node:readline')
  .createInterface({ input: process.stdin })
  .on('line', (line) => {
    const message = JSON.parse(line);
    if (message.id !== undefined) say({ id: message.id, ...answer(message) });
  });
`,
} as const;

function sourceOfProgram(name: string) {
  const tool = name.replaceAll('-', '_');
  const manifest = `name: ${name}
version: 0.1.0
description: ''
tier: T2
server:
  command: node
  # Files that stand here belong to the plugin; name others under include.
  args: [server.js]
  # At most what the server gives: memoryBytes, cpuMs, processes
  limits: {}
tools:
  # Word for word what the program lists: one that lists otherwise is refused.
  - name: ${tool}
    description: Says how long its arguments are
    effects: none
    permissions: [process.run]
    inputSchema:
      type: object
      properties:
        text: { type: string }
    outputSchema:
      type: object
      required: [received]
`;
  return { manifest, sources: { [program.file]: program.source.replaceAll('TOOL', tool).replaceAll('NAME', name) } };
}

export function sourceOf(
  language: Language,
  name: string,
): { readonly manifest: string; readonly sources: Readonly<Record<string, string>> } {
  if (language === 'node') return sourceOfProgram(name);
  const { file, source, build } = templates[language];
  const manifest = `name: ${name}
version: 0.1.0
description: ''
tier: T1
build: ${JSON.stringify(build)}
tools:
  - name: ${name.replaceAll('-', '_')}
    description: Says how long its arguments are
    module: plugin.wasm
    effects: none
    # What it may touch: fs.read, fs.write, net.egress, clock, random
    permissions: []
    inputSchema:
      type: object
      properties:
        text: { type: string }
    outputSchema:
      type: object
      required: [received]
`;
  return { manifest, sources: { [file]: source } };
}

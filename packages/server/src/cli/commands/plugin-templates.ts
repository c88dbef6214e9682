import { dictionary } from '@nexus-agent/protocol';

/** What a new plugin begins with, by its language. */
interface Template {
  readonly file: string;
  readonly source: string;
  readonly build: readonly string[];
}

export const languages = ['c', 'rust', 'tinygo'] as const;
type Language = (typeof languages)[number];

export function isLanguage(text: string): text is Language {
  return (languages as readonly string[]).includes(text);
}

const templates: Readonly<Record<Language, Template>> = dictionary({
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

export function sourceOf(
  language: Language,
  name: string,
): { readonly manifest: string; readonly sources: Readonly<Record<string, string>> } {
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

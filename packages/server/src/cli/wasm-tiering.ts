import { setFlagsFromString } from 'node:v8';

/**
 * Lets V8 optimize a function of WebAssembly (the parser of HTTP answers, Cedar) after four times as much work as it does by itself.
 * Otherwise it optimizes much of what only runs while a server starts, and a server that then does nothing keeps some 14 MB of it. What is
 * really used reaches that many a little later.
 */
export function optimizeWasmLater(): void {
  setFlagsFromString('--wasm-tiering-budget=50000000');
}

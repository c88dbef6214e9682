/** The part of WebAssembly that the sandbox uses. It is in no library of types for Node, only in the browser's. */
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array<ArrayBuffer>);
  }
  class Memory {
    readonly buffer: ArrayBuffer;
    grow(pages: number): number;
  }
  interface Global {
    value: number;
  }
  interface Table {
    readonly length: number;
  }
}

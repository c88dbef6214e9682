import type { CliIo, Output } from './io.ts';
import { createPrintable } from './style.ts';

/** The same world with outputs that only ever print what a person can see; nothing of the command line writes past them. */
export function withPrintableOutputs(io: CliIo): CliIo {
  return { ...io, stdout: printableOutput(io.stdout), stderr: printableOutput(io.stderr) };
}

function printableOutput(output: Output): Output {
  const printable = createPrintable();
  const decoder = new TextDecoder();
  return {
    isTty: output.isTty,
    control: (text) => output.write(text),
    write(data) {
      if (typeof data === 'string') output.write(printable(data));
      // What is saved or piped is the file itself.
      else output.write(output.isTty ? printable(decoder.decode(data, { stream: true })) : data);
    },
  };
}

/** The words of an error of the command line without what may be secret in them. */
export function withoutArguments(text: string, argv: readonly string[]): string {
  const plain = text.replace(/(unknown option '--?[\w-]+)=[^']*'/g, "$1'");
  return argv
    .flatMap((word) => [word, word.replace(/^--?[\w-]+=/, '')])
    .filter((word) => /:\/\/|[:=].*@|password|secret|token/i.test(word))
    .sort((one, other) => other.length - one.length)
    .reduce((shown, word) => shown.replaceAll(word, '…'), plain);
}

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { loadSync, type MethodDefinition } from '@grpc/proto-loader';

export const serviceName = 'nexus.tools.v1.ToolService';

type Method = MethodDefinition<object, object>;

/** The service as its `.proto` states it, read when a process first has to do with gRPC: that file is all there is of it. */
export interface Definition {
  readonly service: Readonly<Record<'ListTools' | 'Execute' | 'Authorize' | 'Cancel', Method>>;
  readonly errorInfo: WireMessage;
  readonly status: WireMessage;
}

export interface WireMessage {
  serialize(value: object): Buffer;
  deserialize(bytes: Buffer): unknown;
}

let loaded: Definition | undefined;

export function loadDefinition(): Definition {
  loaded ??= load();
  return loaded;
}

function load(): Definition {
  const path = protoFile('nexus/tools/v1/tool_service.proto');
  const whole = loadSync(path, { longs: Number, enums: String, defaults: true, arrays: true, oneofs: true });
  const find = <T>(name: string): T => {
    const found = whole[name];
    if (found === undefined) throw new TypeError(`${path} says nothing of ${name}`);
    return found as T; // Safe: what each name stands for is stated by the file, which belongs to this version.
  };
  return {
    service: find(serviceName),
    errorInfo: find('nexus.tools.v1.ErrorInfo'),
    status: find('nexus.tools.v1.Status'),
  };
}

/**
 * The descriptor of each file, encoded, as buf made them of the same `.proto`: what the library makes of it by itself lacks names and
 * marks that strict clients want.
 */
export function readDescriptors(): Buffer[] {
  const set = readFileSync(protoFile('descriptors.binpb'));
  const files: Buffer[] = [];
  for (let at = 0; at < set.length; ) {
    if (set[at] !== fileTag) throw new TypeError('descriptors.binpb is no set of descriptors');
    let [length, shift] = [0, 0];
    let byte: number;
    do {
      at += 1;
      byte = set[at] ?? 0;
      length |= (byte & 0x7f) << shift;
      shift += 7;
    } while (byte >= 0x80);
    at += 1;
    files.push(set.subarray(at, at + length));
    at += length;
  }
  return files;
}

/** The only field of a set, with a length before it. */
const fileTag = 0x0a;

/** In the package of the server it lies beside what was built, in the repository with the protocol. */
function protoFile(name: string): string {
  const beside = fileURLToPath(new URL(`./proto/${name}`, import.meta.url));
  return existsSync(beside) ? beside : createRequire(import.meta.url).resolve(`@nexus-agent/protocol/proto/${name}`);
}

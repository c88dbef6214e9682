import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { type ErrorInfo, errorTable } from '@nexus-agent/protocol';
import { ZodError, z } from 'zod';
import { NexusError, toErrorInfo } from '#core';
import { loadDefinition } from './definition.ts';
import { errorFromWire, errorToWire } from './messages.ts';

/** Where clients of every language look for the details of a status. */
const detailsKey = 'grpc-status-details-bin';
const typeUrl = 'type.googleapis.com/nexus.tools.v1.ErrorInfo';

/** Trailers are headers, which clients take few kilobytes of. */
const maxMessageChars = 1_000;
const maxDetailsChars = 2_000;

export interface CallStatus {
  readonly code: status;
  readonly details: string;
  readonly metadata: Metadata;
}

/** What a refused call ends with. Anything but a {@link NexusError} tells nothing of itself. */
export function statusOf(error: unknown): CallStatus {
  const info = error instanceof ZodError ? unfit(error) : toErrorInfo(error);
  const code = grpcCodeOf(info);
  const message = info.message.slice(0, maxMessageChars).toWellFormed();
  const { details, ...rest } = info;
  const carried = details !== undefined && JSON.stringify(details).length <= maxDetailsChars ? { details } : {};
  const { errorInfo, status: body } = loadDefinition();
  const value = errorInfo.serialize(errorToWire({ ...rest, message, ...carried }));
  const metadata = new Metadata();
  metadata.set(detailsKey, body.serialize({ code, message, details: [{ type_url: typeUrl, value }] }));
  return { code, details: message, metadata };
}

function unfit(error: ZodError): ErrorInfo {
  const issues = error.issues.slice(0, 10).map(({ path, message }) => ({ path: path.join('.'), message }));
  const message = `the request does not fit: ${issues.map((issue) => `${issue.path}: ${issue.message}`).join('; ')}`;
  return new NexusError('invalid_request', message, { details: { issues } }).toInfo();
}

function grpcCodeOf({ code }: ErrorInfo): status {
  const name: string = errorTable[code].grpcStatus;
  return status[name as keyof typeof status]; // a test holds the table against the names that there are
}

/** The library knows `Any` under the names that its `.proto` gives the fields. */
const Carried = z.object({ details: z.array(z.object({ type_url: z.string(), value: z.instanceof(Uint8Array) })) });

/** The error that the agent core itself answered with; undefined where the status came from something else, or says nothing. */
export function errorOf(error: Pick<ServiceError, 'metadata'>): ErrorInfo | undefined {
  const { errorInfo, status: body } = loadDefinition();
  try {
    const [bytes] = error.metadata.get(detailsKey);
    if (!(bytes instanceof Buffer)) return undefined;
    const detail = Carried.parse(body.deserialize(bytes)).details.find((each) => each.type_url === typeUrl);
    return detail === undefined ? undefined : errorFromWire(errorInfo.deserialize(Buffer.from(detail.value)));
  } catch {
    return undefined; // what cannot be read says nothing
  }
}

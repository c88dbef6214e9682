import { createSecretValues } from '#core';
import type { OnAsked } from './asked.ts';
import type { McpConnection } from './connection.ts';

/** Tokens that a server was shown over one connection. */
export interface HiddenTokens {
  add(token: string): void;
  /** The same conversation, in which whatever the server says of its tokens is taken out: results, lists, and errors. */
  within(connection: McpConnection): McpConnection;
  /** For what was thrown before there was a connection. */
  inError<Thrown>(error: Thrown): Thrown;
}

/** A server that lives long is shown many, one after the other; it is the last ones that are worth something. */
const maxTokens = 3;
const maxCauses = 5;

export function createHiddenTokens(): HiddenTokens {
  let tokens: readonly string[] = [];
  let secrets = createSecretValues();

  function inError<Thrown>(error: Thrown): Thrown {
    for (let each: unknown = error, depth = 0; each instanceof Error && depth < maxCauses; each = each.cause, depth++) {
      each.message = secrets.inForeign(each.message);
      if (each.stack !== undefined) each.stack = secrets.inErrors(each.stack);
    }
    return error;
  }

  const clean = async <Result>(work: Promise<Result>): Promise<Result> => {
    try {
      return secrets.inData(await work);
    } catch (error) {
      throw inError(error);
    }
  };

  return {
    inError,
    add(token) {
      if (tokens.includes(token)) return;
      tokens = [...tokens, token].slice(-maxTokens);
      secrets = createSecretValues(tokens);
    },
    within: (connection) => {
      const heard = <How extends { readonly onProgress?: (text: string) => void }>(how: How): How => {
        const { onProgress } = how;
        return onProgress === undefined ? how : { ...how, onProgress: (text: string) => onProgress(secrets.inText(text)) };
      };
      return {
        ...connection,
        server: secrets.inText(connection.server),
        listTools: (signal) => clean(connection.listTools(signal)),
        listPrompts: (signal) => clean(connection.listPrompts(signal)),
        listResources: (signal) => clean(connection.listResources(signal)),
        callTool(tool, input, how) {
          const { onAsked } = how;
          // What it asks is shown to people and to models.
          const asked: OnAsked | null =
            onAsked === null ? null : (request) => onAsked({ ...request, params: secrets.inData(request.params) });
          return clean(connection.callTool(tool, input, { ...heard(how), onAsked: asked }));
        },
        readResource: (uri, how) => clean(connection.readResource(uri, heard(how))),
        getPrompt: (name, input, how) => clean(connection.getPrompt(name, input, heard(how))),
      };
    },
  };
}
